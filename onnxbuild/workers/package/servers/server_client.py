"""Checks the package `server`: its app is started on loopback, and has to give the recorded answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.packaging.package_kind import ClientParams
from onnxbuild.workers.package.client_checks import absent_module, reported, skipped, unequal

# The app runs in a process in which the folder and what is installed can be imported, and onnxbuild cannot.
_SERVE = """
import os, sys
sys.modules["onnxbuild"] = None
sys.path.insert(0, os.getcwd())
import uvicorn
uvicorn.run("app:app", host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
"""
_LOG = "server.txt"
_POLL_SECONDS = 0.2


def run(
    params: ClientParams,  # noqa: ARG001 - every check with a client is called with it
    inputs: Mapping[str, Path],
    outputs: Mapping[str, Path],
    progress: Tell,
) -> Facts:
    """Start the app, and let the folder's own test ask it.

    Errors: CheckFailed OBE190 for other answers, OBE191 for an app that does not start.
    """
    missing = absent_module("fastapi", "uvicorn", "onnxruntime", "tokenizers", "msgspec")
    if missing is not None:
        return skipped(f"needs {missing}", outputs)
    progress("starting the server")
    log = Path(_LOG).absolute()  # in the action's own folder
    with _server(inputs["model"], log) as (url, server):
        code, result, errors = _asked(inputs["model"], url, server)
        if code:
            raise _failure(errors, log, is_running=server.poll() is None)
    found = json.loads(result)["max_difference"]
    golden = json.loads((inputs["model"] / "golden.json").read_text(encoding="utf-8"))
    name = f"fastapi {metadata.version('fastapi')} on uvicorn {metadata.version('uvicorn')}"
    facts = {"client": name, "max_difference": {"golden.json": found}, "bound": golden["tolerance"]}
    return reported(facts, outputs)


@contextmanager
def _server(package: Path, log: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-B", "-c", _SERVE, str(port)]
    with log.open("wb") as writing:
        server = subprocess.Popen(
            command, cwd=package, stdout=writing, stderr=writing, env={**os.environ, "THREADS": "1"}
        )
    try:
        yield f"http://127.0.0.1:{port}", server
    finally:
        server.terminate()
        server.wait()


def _asked(package: Path, url: str, server: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """How the folder's own test ends: its exit code, and what it writes. It ends with the server."""
    command = [sys.executable, "-B", "test_golden.py", url]
    with subprocess.Popen(command, cwd=package, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as test:
        while True:
            try:
                result, errors = test.communicate(timeout=_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                if server.poll() is not None:
                    test.kill()
            else:
                return test.returncode, result, errors


def _failure(errors: str, log: Path, *, is_running: bool) -> CheckFailed:
    """OBE190 with what the test says, or OBE191 with what the app says where it has ended."""
    said = log.read_text(encoding="utf-8", errors="replace")
    print(said)
    reason = (errors.strip().splitlines() or ["no reason was given"])[-1].removeprefix("AssertionError: ")
    if is_running and "the model cannot be opened" not in reason:
        return unequal(f"the server does not give the recorded answers: {reason}", {})
    cause = reason if is_running else (said.strip().splitlines() or [reason])[-1]
    return CheckFailed("OBE191", "the server of the package does not start", notes=[("cause", cause[:500])])
