"""The actions themselves: one worker process, started as onnxbuild starts it, and one chain's actions, without engine.

`python bare_worker.py WORLD`. Drives the worker's protocol with the standard library alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def requests(world: Path, scratch: Path) -> list[dict[str, object]]:
    """A fetch and three toy steps, each on the output of the one before."""
    steps = [("onnxbuild.workers.fetch.worker:run", {"origin": "files", "files": ["model.onnx"]}, "files")]
    steps += [("onnxbuild_toy.work:run", {"line": line}, "model") for line in "abc"]
    at = next((world / "sources").iterdir())
    found = []
    for number, (worker, params, port) in enumerate(steps):
        to = scratch / str(number)
        to.mkdir()
        found.append(
            {
                "id": str(number),
                "worker": worker,
                "params": params,
                "inputs": {port: str(at)},
                "outputs": {"model": str(to)},
                "log": str(scratch / f"{number}.txt"),
            }
        )
        at = to
    return found


def main() -> None:
    """Run the chain and check that it was done."""
    with tempfile.TemporaryDirectory() as folder:
        worker = subprocess.Popen(
            [sys.executable, "-P", str(PACKAGE / "onnxbuild" / "workers" / "__main__.py"), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        for request in requests(Path(sys.argv[1]), Path(folder)):
            worker.stdin.write(json.dumps(request).encode() + b"\n")
            worker.stdin.flush()
            answer: dict[str, object] = {}
            while answer.get("type") != "response":
                answer = json.loads(worker.stdout.readline())
            assert answer.get("failure") is None, answer
        worker.stdin.close()
        worker.wait()


main()
