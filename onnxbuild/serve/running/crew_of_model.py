"""The processes of one folder: work is shared out among them, and a process that ends is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from msgspec import Struct

from onnxbuild.serve.failed_requests import lost, too_many
from onnxbuild.serve.limits_of_server import Limits
from onnxbuild.serve.running.seat_of_process import Seat
from onnxbuild.serve.running.waiting import Request, Waiting
from onnxbuild.serve.running.work import BatchWork, PromptWork
from onnxbuild.serve.unusable_folder import UnusableFolderError
from onnxbuild.serve.wire import Ability, About, Item

_LOG = logging.getLogger("onnxbuild.serve")
_LONGEST_PAUSE = 10.0
# While a process computes one batch, the next one already stands in its pipe.
_BATCHES_AHEAD = 2


class Counted(Struct):
    """Callbacks that count for the metrics."""

    batch: Callable[[int], None] = lambda _items: None
    restart: Callable[[], None] = lambda: None


class Crew:
    """All processes of one folder. `about` is what the model can do."""

    def __init__(self, folder: Path, threads: int | None, limits: Limits, counted: Counted) -> None:
        self.folder, self._threads, self._limits, self._counted = folder, threads, limits, counted
        self._waiting = Waiting()
        self._prompts: deque[PromptWork] = deque()
        self._seats: list[Seat] = []
        self._numbers = count(1)
        self._timer: asyncio.TimerHandle | None = None
        self._restarts: set[asyncio.Task[None]] = set()
        self._closing = False
        self.about: About

    async def open(self, workers: int) -> None:
        """Start the processes and wait until each has opened the model. Errors: UnusableFolderError."""
        self._seats = [Seat(self.folder, self._threads, self.share_out, self._ended) for _ in range(workers)]
        try:
            async with asyncio.TaskGroup() as group:  # one that fails ends the others
                abouts = [group.create_task(seat.fill()) for seat in self._seats]
        except ExceptionGroup as errors:
            await self.close()
            raise errors.exceptions[0] from None
        except BaseException:
            await self.close()
            raise
        self.about = abouts[0].result()

    # -- requests ---------------------------------------------------------------------------------------------------

    def ask(self, ability: Ability, items: Sequence[Item]) -> Request:
        """Let items wait for a process; the request's future has the answers. Errors: RequestError if too many wait."""
        self._check_room(len(items))
        request = Request(ability, items, asyncio.get_running_loop().create_future())
        self._waiting.add(request)
        self._share_out_soon()
        return request

    def forget(self, request: Request) -> None:
        """Nobody waits for the answers any more."""
        if not request.answered.done():
            request.answered.cancel()
            self._waiting.forget(request)

    def write(self, work: PromptWork) -> None:
        """Let a prompt wait for a process. Errors: RequestError if too many wait."""
        self._check_room(1)
        self._prompts.append(work)
        self.share_out()

    def cancel(self, work: PromptWork) -> None:
        """Nobody waits for a completion any more."""
        if work.is_over:
            return
        work.is_over = True
        if work in self._prompts:
            self._prompts.remove(work)
        for seat in self._seats:
            seat.cancel(work)
        self.share_out()

    def _check_room(self, more: int) -> None:
        if self.waits + more > self._limits.queue:
            raise too_many(f"{self.waits} texts are waiting, and at most {self._limits.queue} may")

    @property
    def waits(self) -> int:
        """How many items and prompts wait."""
        return len(self._waiting) + len(self._prompts)

    @property
    def pids(self) -> list[int]:
        """The numbers of the processes that are ready."""
        return [seat.process.pid for seat in self._seats if seat.process is not None]

    @property
    def runs(self) -> int:
        """How many batches and completions the processes have."""
        return sum(len(seat.works) for seat in self._seats)

    @property
    def is_idle(self) -> bool:
        """Whether no request waits or is being computed."""
        return not self.waits and not self.runs

    # -- sharing out ------------------------------------------------------------------------------------------------

    def _share_out_soon(self) -> None:
        """Share out at once if a batch is full, else when the wait is over."""
        if len(self._waiting) >= self._limits.batch or not self._limits.wait:
            self.share_out()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._limits.wait, self.share_out)

    def share_out(self) -> None:
        """Give what waits to the processes that have the least to do."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting and (seat := self._free_seat(_BATCHES_AHEAD)) is not None:
            if places := self._waiting.take(self._limits.batch):
                self._counted.batch(len(places))
                seat.give(next(self._numbers), BatchWork(places))
        while self._prompts and (seat := self._free_seat(self._limits.sequences)) is not None:
            seat.give(next(self._numbers), self._prompts.popleft())

    def _free_seat(self, most: int) -> Seat | None:
        seats = [seat for seat in self._seats if seat.process is not None and len(seat.works) < most]
        return min(seats, key=lambda seat: len(seat.works), default=None)

    # -- processes --------------------------------------------------------------------------------------------------

    def _ended(self, seat: Seat) -> None:
        """A new process takes the seat of one that ended."""
        if not self._closing:
            _LOG.error("a process of %s ended; another one is started", self.folder)
            self._counted.restart()
            task = asyncio.create_task(self._refill(seat))
            self._restarts.add(task)
            task.add_done_callback(self._restarts.discard)

    async def _refill(self, seat: Seat) -> None:
        pause = 0.1
        while not self._closing:
            try:
                await seat.fill()
            except (UnusableFolderError, OSError) as error:
                _LOG.error("no process for %s: %s", self.folder, error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self.share_out()
                return

    async def drain(self) -> None:
        """Wait until every request has its answer."""
        while not self.is_idle:  # noqa: ASYNC110 - once per new build
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """End the processes; requests that still wait are lost."""
        self._closing = True
        self._waiting.fail(lost())
        for work in self._prompts:
            work.fail(lost())
        for task in self._restarts:
            task.cancel()
        with contextlib.suppress(OSError):
            await asyncio.gather(*(seat.close() for seat in self._seats))
