"""The process of one model: `python -m onnxbuild.serve.inference FOLDER [THREADS]`.

Frames come on stdin and leave on stdout; what libraries print goes to stderr. The process ends when stdin does, so it
never outlives the server, however that ends.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import BinaryIO

from onnxbuild.serve.wire import Ready, Unusable, framed

_FAILED = 1


def main(folder: str, threads: int | None) -> int:
    """Open the model and answer until stdin ends; return the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides when its processes end
    frames = _own_stdout()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the threads belong to the graph
    from onnxbuild.serve.inference.model_folder import ModelFolder, UnusableModelError
    from onnxbuild.serve.inference.opened_model import opened_model
    from onnxbuild.serve.inference.serving_loop import serve_frames

    try:
        model = opened_model(ModelFolder(Path(folder)), threads)
    except UnusableModelError as error:
        frames.write(framed(Unusable(str(error))))
        return _FAILED
    frames.write(framed(Ready(model.about)))
    serve_frames(model, sys.stdin.buffer, frames)
    return 0


def _own_stdout() -> BinaryIO:
    """Where frames are written, unbuffered; afterwards, file 1 is stderr."""
    frames = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return frames


if __name__ == "__main__":
    code = main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None)  # noqa: PLR2004
    sys.stdout.flush()
    os._exit(code)  # a thread may still wait for stdin
