"""One process of a model, as the server sees it: frames to it and from it, and the news of its end."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path

from onnxbuild.serve.unusable_folder import UnusableFolderError
from onnxbuild.serve.wire import FROM_MODEL, LENGTH, About, FromModel, Ready, ToModel, Unusable, framed

_LINE = 1 << 20  # bytes that asyncio buffers of a pipe


class ModelProcess:
    """A running process. `on_frame` is called with each frame, and `on_end` once when the process has ended."""

    def __init__(
        self, folder: Path, process: Process, on_frame: Callable[[FromModel], None], on_end: Callable[[], None]
    ) -> None:
        self.folder = folder
        self._process, self._on_frame, self._on_end = process, on_frame, on_end
        self._about: asyncio.Future[About] = asyncio.get_running_loop().create_future()
        self.has_ended = False
        self._reader = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    async def about(self) -> About:
        """What the model can do, once it is open. Errors: UnusableFolderError."""
        return await asyncio.shield(self._about)

    def send(self, frame: ToModel) -> None:
        """Send a frame; a process that has ended is reported by `on_end`."""
        pipe = self._process.stdin
        assert pipe is not None, "BUG: stdin is a pipe"
        if not pipe.is_closing():
            pipe.write(framed(frame))

    async def close(self) -> None:
        """Let the process end: by itself when its input ends, and with force if it does not."""
        pipe = self._process.stdin
        assert pipe is not None, "BUG: stdin is a pipe"
        with contextlib.suppress(OSError):
            pipe.close()
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        except TimeoutError:
            self.kill()
            await self._process.wait()
        await self._reader

    def kill(self) -> None:
        """End the process at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _read(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None, "BUG: stdout is a pipe"
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                (length,) = LENGTH.unpack(await pipe.readexactly(LENGTH.size))
                self._take(FROM_MODEL.decode(await pipe.readexactly(length)))
        if not self._about.done():
            self._about.set_exception(UnusableFolderError(self.folder, "the process ended while it opened the model"))
            self._about.exception()  # somebody may have stopped waiting
        self.has_ended = True
        self._on_end()

    def _take(self, frame: FromModel) -> None:
        if isinstance(frame, Ready):
            self._about.set_result(frame.about)
        elif isinstance(frame, Unusable):
            self._about.set_exception(UnusableFolderError(self.folder, frame.message))
        else:
            self._on_frame(frame)


async def start_process(
    folder: Path, threads: int | None, on_frame: Callable[[FromModel], None], on_end: Callable[[], None]
) -> ModelProcess:
    """Start a process for a folder; it is not ready yet."""
    # `-P`: without it, a module in the current folder, which may be that of the model, would hide an installed one.
    module = ["-P", "-m", "onnxbuild.serve.inference"]
    command = [sys.executable, *module, str(folder), *([str(threads)] if threads else [])]
    # A session of its own: Ctrl-C in a terminal reaches the server alone, which lets requests in flight end.
    process = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, limit=_LINE, start_new_session=sys.platform != "win32"
    )
    return ModelProcess(folder, process, on_frame, on_end)
