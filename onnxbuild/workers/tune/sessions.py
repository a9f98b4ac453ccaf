"""Sessions in processes of their own, as the worker sees them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

import msgspec

import onnxbuild
from onnxbuild.tables.sessions.session_settings import Values, as_session
from onnxbuild.workers.engines import timing
from onnxbuild.workers.tune.session_process import Answer, Opening, Request, Work

# The interpreter of a toolchain need not have onnxbuild installed: the process registers it from its own folder.
_START = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("onnxbuild", sys.argv[1] + "/__init__.py",
                                              submodule_search_locations=[sys.argv[1]])
module = importlib.util.module_from_spec(spec)
sys.modules["onnxbuild"] = module
spec.loader.exec_module(module)
sys.path[:] = sys.argv[2:]
from onnxbuild.workers.tune.session_process import serve
serve()
"""

_PATIENCE = 30  # seconds in which a process ends after its input has ended


class Refused(Exception):  # noqa: N818 - a setting that ONNX Runtime does not take
    """A session could not be opened or run; the message says why."""


class Session(Protocol):
    """A session that can be timed."""

    def time(self, work: int, calls: int) -> timing.Series:
        """Time a work: one round of calls, after one that is not timed."""


class SessionProcess:
    """A session in a process of its own. Errors: Refused if ONNX Runtime does not open it."""

    def __init__(self, folder: Path, values: Values, works: Sequence[Work]) -> None:
        options, entries = as_session(values)
        opening = Opening(folder=str(folder), options=options, entries=entries, works=tuple(works))
        self.values, self.resident_bytes = values, 0
        package = str(Path(onnxbuild.__file__).parent)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, package, *sys.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            self.load_seconds = self._exchange(opening).load_seconds
        except Refused:
            self.close()
            raise

    def warm_up(self, work: int, calls: int) -> None:
        """Run a work until its times settle."""
        self._exchange(Request(work=work, warmup=calls))

    def time(self, work: int, calls: int) -> timing.Series:
        """Time a work: one round of calls, after one that is not timed."""
        answer = self._exchange(Request(work=work, calls=calls))
        assert answer.series is not None, "BUG: a process answers with a series"
        self.resident_bytes = max(self.resident_bytes, answer.resident_bytes or 0)
        return answer.series

    def write_outputs(self, path: Path) -> None:
        """Write the outputs of all works to an `.npz` file."""
        self._exchange(Request(outputs=str(path)))

    def close(self) -> None:
        """End the process."""
        self._input.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None, "BUG: the input is a pipe"
        return self._process.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None, "BUG: the output is a pipe"
        return self._process.stdout

    def _exchange(self, message: Opening | Request) -> Answer:
        try:
            self._input.write(msgspec.json.encode(message) + b"\n")
            self._input.flush()
        except BrokenPipeError:
            raise Refused("its process ended") from None
        line = self._output.readline()
        if not line:
            raise Refused(f"its process ended with {self._process.wait()}")
        answer = msgspec.json.decode(line, type=Answer)
        if answer.error:
            raise Refused(answer.error.strip().splitlines()[0])
        return answer


@contextmanager
def opened(folder: Path, values: Values, works: Sequence[Work], *, warmup: int) -> Iterator[SessionProcess]:
    """A session that is warm, and ends with the block. Errors: Refused."""
    session = SessionProcess(folder, values, works)
    try:
        for number in range(len(works)):
            session.warm_up(number, warmup)
        yield session
    finally:
        session.close()
