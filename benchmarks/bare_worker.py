"""The work of one chain without the engine: one worker process, started as onnxbuild starts it.

`python bare_worker.py WORLD` speaks the protocol of workers with nothing but the standard library.
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
    """A fetch and three toy steps. Each reads the output of the previous one."""
    steps = [("onnxbuild.workers.fetch.worker:run", {"origin": "files", "files": ["model.onnx"]}, "files")]
    steps += [("onnxbuild_toy.work:run", {"line": line}, "model") for line in "abc"]
    at = next((world / "sources").iterdir())
    messages = []
    for number, (worker, params, port) in enumerate(steps):
        to = scratch / str(number)
        to.mkdir()
        messages.append(
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
    return messages


def main() -> None:
    """Run the chain and check that every action succeeded."""
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
