"""The processes of one folder: items are shared out among them in batches, and a process that ends is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from msgspec import Struct

from onnxbuild.serve.failed_requests import failed, lost, too_many
from onnxbuild.serve.limits_of_server import Limits
from onnxbuild.serve.running.model_process import ModelProcess, start_process
from onnxbuild.serve.running.waiting import Place, Request, Waiting
from onnxbuild.serve.unusable_folder import UnusableFolderError
from onnxbuild.serve.wire import Ability, About, Batch, FromModel, Item, Refusal, Rows

_LOG = logging.getLogger("onnxbuild.serve")
_LONGEST_PAUSE = 10.0
# While a process computes one batch, the next one already stands in its pipe.
_BATCHES_AHEAD = 2


class Counted(Struct):
    """What the metrics are told."""

    batch: Callable[[int], None] = lambda _items: None
    restart: Callable[[], None] = lambda: None


class Seat:
    """The place of one process, which others may take after it."""

    def __init__(self) -> None:
        self.process: ModelProcess | None = None
        self.batches: dict[int, list[Place]] = {}
        self.pause = 0.1


class Crew:
    """All processes of one folder. `about` is what the model can do."""

    def __init__(self, folder: Path, threads: int | None, limits: Limits, counted: Counted) -> None:
        self.folder, self._threads, self._limits, self._counted = folder, threads, limits, counted
        self._waiting = Waiting()
        self._seats: list[Seat] = []
        self._numbers = count(1)
        self._timer: asyncio.TimerHandle | None = None
        self._restarts: set[asyncio.Task[None]] = set()
        self._closing = False
        self.about: About

    async def open(self, workers: int) -> None:
        """Start the processes and wait until each has opened the model. Errors: UnusableFolderError."""
        self._seats = [Seat() for _ in range(workers)]
        try:
            self.about = (await asyncio.gather(*map(self._fill, self._seats)))[0]
        except BaseException:
            await self.close()
            raise

    # -- requests ---------------------------------------------------------------------------------------------------

    def ask(self, ability: Ability, items: Sequence[Item]) -> Request:
        """Let items wait for a process; the request's future has the answers. Errors: RequestError if too many wait."""
        if len(self._waiting) + len(items) > self._limits.queue:
            raise too_many(f"{len(self._waiting)} items are waiting, and at most {self._limits.queue} may")
        request = Request(ability, items, asyncio.get_running_loop().create_future())
        self._waiting.add(request)
        self._soon()
        return request

    @property
    def waits(self) -> int:
        """How many items wait."""
        return len(self._waiting)

    @property
    def pids(self) -> list[int]:
        """The numbers of the processes that are ready."""
        return [seat.process.pid for seat in self._seats if seat.process is not None]

    @property
    def is_idle(self) -> bool:
        """Whether no request waits or is being computed."""
        return not self._waiting and not any(seat.batches for seat in self._seats)

    def _soon(self) -> None:
        """Share out at once if a batch is full, else when the wait is over."""
        if len(self._waiting) >= self._limits.batch or not self._limits.wait:
            self._share_out()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._limits.wait, self._share_out)

    def _share_out(self) -> None:
        """Give waiting items to the processes that have the least to do."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and (seat := self._free_seat()) is not None:
            if places := self._waiting.take(self._limits.batch):
                self._send(seat, places)

    def _free_seat(self) -> Seat | None:
        seats = [seat for seat in self._seats if seat.process is not None and len(seat.batches) < _BATCHES_AHEAD]
        return min(seats, key=lambda seat: len(seat.batches), default=None)

    def _send(self, seat: Seat, places: list[Place]) -> None:
        assert seat.process is not None, "BUG: the seat is free"
        number = next(self._numbers)
        seat.batches[number] = places
        self._counted.batch(len(places))
        items = tuple(request.items[item] for request, item in places)
        seat.process.send(Batch(number, places[0][0].ability, items))

    # -- answers ----------------------------------------------------------------------------------------------------

    def _take(self, seat: Seat, frame: FromModel) -> None:
        if isinstance(frame, Rows):
            for (request, number), row in zip(seat.batches.pop(frame.id), frame.rows, strict=True):
                request.fill(number, row)
        elif isinstance(frame, Refusal):
            for request, _ in seat.batches.pop(frame.id):
                request.fail(failed(frame.message))
        self._share_out()

    # -- processes --------------------------------------------------------------------------------------------------

    async def _fill(self, seat: Seat) -> About:
        """Start a process for a seat. Errors: UnusableFolderError."""
        process = await start_process(
            self.folder, self._threads, lambda frame: self._take(seat, frame), lambda: self._ended(seat)
        )
        try:
            about = await process.about()
        except BaseException:
            process.kill()
            raise
        if process.has_ended:
            raise UnusableFolderError(self.folder, "the process ended as soon as it had opened the model")
        seat.process, seat.pause = process, 0.1
        return about

    def _ended(self, seat: Seat) -> None:
        """Its requests are lost, and a new process takes the seat."""
        if seat.process is None:
            return
        seat.process = None
        for places in seat.batches.values():
            for request, _ in places:
                request.fail(lost())
        seat.batches.clear()
        if not self._closing:
            _LOG.error("a process of %s ended; another one is started", self.folder)
            self._counted.restart()
            self._replace(seat)

    def _replace(self, seat: Seat) -> None:
        task = asyncio.create_task(self._refill(seat))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _refill(self, seat: Seat) -> None:
        while not self._closing:
            try:
                await self._fill(seat)
            except (UnusableFolderError, OSError) as error:
                _LOG.error("no process for %s: %s", self.folder, error)
                await asyncio.sleep(seat.pause)
                seat.pause = min(2 * seat.pause, _LONGEST_PAUSE)
            else:
                self._share_out()
                return

    async def drain(self) -> None:
        """Wait until every request has its answer."""
        while not self.is_idle:
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """End the processes; requests that still wait are lost."""
        self._closing = True
        self._waiting.fail(lost())
        for task in self._restarts:
            task.cancel()
        processes = [seat.process for seat in self._seats if seat.process is not None]
        with contextlib.suppress(OSError):
            await asyncio.gather(*(process.close() for process in processes))
