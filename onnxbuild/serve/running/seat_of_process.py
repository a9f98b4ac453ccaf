"""The place of one process of a model, which another one takes when it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from onnxbuild.serve.failed_requests import lost
from onnxbuild.serve.running.model_process import ModelProcess, start_process
from onnxbuild.serve.running.work import Work
from onnxbuild.serve.unusable_folder import UnusableFolderError
from onnxbuild.serve.wire import About, Cancel, FromModel, Piece, Refusal, Rows


class Seat:
    """A process and its works by number. `on_room` is called when it can take more, `on_end` when it has ended."""

    def __init__(
        self, folder: Path, threads: int | None, on_room: Callable[[], None], on_end: Callable[[Seat], None]
    ) -> None:
        self._folder, self._threads, self._on_room, self._on_end = folder, threads, on_room, on_end
        self.process: ModelProcess | None = None
        self.works: dict[int, Work] = {}

    async def fill(self) -> About:
        """Start a process and wait until it has opened the model. Errors: UnusableFolderError."""
        process = await start_process(self._folder, self._threads, self._take, self._lose)
        try:
            about = await process.about()
        except BaseException:
            process.kill()
            await process.close()
            raise
        if process.has_ended:
            await process.close()
            raise UnusableFolderError(self._folder, "the process ended as soon as it had opened the model")
        self.process = process
        return about

    def give(self, number: int, work: Work) -> None:
        """Send a work to the process."""
        assert self.process is not None, "BUG: the seat is free"
        self.works[number] = work
        self.process.send(work.frame(number))

    def cancel(self, work: Work) -> None:
        """Let the process forget a work, if it has it."""
        number = next((number for number, one in self.works.items() if one is work), None)
        if number is not None and self.process is not None:
            del self.works[number]
            self.process.send(Cancel(number))

    def _take(self, frame: FromModel) -> None:
        assert isinstance(frame, Rows | Piece | Refusal), "BUG: the process takes the others"
        work = self.works.get(frame.id)  # none if it was cancelled
        if work is not None and work.take(frame):
            del self.works[frame.id]
            self._on_room()

    def _lose(self) -> None:
        """What the process had is lost."""
        if self.process is None:
            return
        self.process = None
        works, self.works = self.works, {}
        for work in works.values():
            work.fail(lost())
        self._on_end(self)

    async def close(self) -> None:
        """End the process."""
        if self.process is not None:
            await self.process.close()
