"""Checks that the server still gives the recorded answers.

    pytest test_golden.py                          starts the server of this folder
    python test_golden.py http://127.0.0.1:8000    asks one that runs, for example in a container

`golden.json` has the requests, the answers, and how far a number may be from the recorded one.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
GOLDEN = json.loads((HERE / "golden.json").read_text(encoding="utf-8"))
SECONDS = 300  # until the model is open


def test_the_server_gives_the_recorded_answers() -> None:
    """Start the server on a free port, and send every request."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "app:app", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, cwd=HERE, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    try:
        _check(f"http://127.0.0.1:{port}", server)
    finally:
        server.terminate()
        server.wait()


def largest_difference(recorded: Any, given: Any, place: str = "answer") -> float:
    """The largest difference of two numbers at the same place. All else has to be equal. Errors: AssertionError."""
    if isinstance(recorded, dict):
        assert isinstance(given, dict), f"{place}: {given!r} is no object"
        assert recorded.keys() == given.keys(), f"{place}: {sorted(given)} instead of {sorted(recorded)}"
        return max([largest_difference(recorded[key], given[key], f"{place}.{key}") for key in recorded], default=0.0)
    if isinstance(recorded, list):
        assert isinstance(given, list), f"{place}: {given!r} is no list"
        assert len(recorded) == len(given), f"{place}: {len(given)} values instead of {len(recorded)}"
        pairs = enumerate(zip(recorded, given, strict=True))
        return max([largest_difference(*pair, f"{place}[{number}]") for number, pair in pairs], default=0.0)
    if isinstance(recorded, float) and isinstance(given, int | float):
        return abs(recorded - given)
    assert recorded == given, f"{place}: {given!r} instead of {recorded!r}"
    return 0.0


def _check(url: str, server: subprocess.Popen[bytes] | None = None) -> float:
    _wait(url, server)
    far = [
        largest_difference(case["answer"], _asked(url, case["path"], case["body"]), case["path"])
        for case in GOLDEN["cases"]
    ]
    assert max(far) <= GOLDEN["tolerance"], f"a number differs by {max(far):.3g}, more than {GOLDEN['tolerance']}"
    return max(far)


def _asked(url: str, path: str, body: Any = None) -> Any:
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}{path}", content, {"content-type": "application/json"})  # noqa: S310 - the user's own server
    with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - as above
        return json.load(answer)


def _wait(url: str, server: subprocess.Popen[bytes] | None) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            _asked(url, "/readyz")
        except OSError as error:
            assert server is None or server.poll() is None, "the server has ended"
            has_failed = _has_failed(url)
            assert not has_failed, f"the model cannot be opened: {has_failed}"
            if time.monotonic() > deadline:
                raise AssertionError(f"{url}/readyz does not answer") from error
            time.sleep(0.1)
        else:
            return


def _has_failed(url: str) -> str:
    """What `/healthz` says of a model that cannot be opened; empty while there is hope."""
    try:
        _asked(url, "/healthz")
    except urllib.error.HTTPError as error:
        return error.read().decode() if error.code == 500 else ""  # noqa: PLR2004 - a status of HTTP
    except OSError:
        pass
    return ""


if __name__ == "__main__":
    print(json.dumps({"max_difference": _check(sys.argv[1].rstrip("/"))}))
