"""The items of requests that wait for a process of their model, and the batches that they become."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from onnxbuild.serve.wire import Ability, Item, Row


class Request(Struct, eq=False):
    """The items of one HTTP request, and the future of their answers."""

    ability: Ability
    items: Sequence[Item]
    answered: asyncio.Future[list[Row]]
    rows: dict[int, Row] = {}

    def fill(self, number: int, row: Row) -> None:
        """Add the answer of one item; the last one completes the request."""
        self.rows[number] = row
        if len(self.rows) == len(self.items) and not self.answered.done():
            self.answered.set_result([self.rows[number] for number in range(len(self.items))])

    def fail(self, error: Exception) -> None:
        """End the request without an answer."""
        if not self.answered.done():
            self.answered.set_exception(error)


Place = tuple[Request, int]  # one item of a request


class Waiting:
    """Items in the order in which they came."""

    def __init__(self) -> None:
        self._places: deque[Place] = deque()

    def __len__(self) -> int:
        """How many items wait."""
        return len(self._places)

    def add(self, request: Request) -> None:
        """Let every item of a request wait."""
        self._places.extend((request, number) for number in range(len(request.items)))

    def forget(self, request: Request) -> None:
        """Drop the items of a request that nobody waits for."""
        self._places = deque(place for place in self._places if place[0] is not request)

    def take(self, most: int) -> list[Place]:
        """The next items that may run together: of one ability, at most `most`; nobody's items are dropped."""
        taken: list[Place] = []
        while self._places and len(taken) < most:
            request, _ = self._places[0]
            if request.answered.done():  # it failed with another of its items
                self._places.popleft()
            elif taken and taken[0][0].ability != request.ability:
                break
            else:
                taken.append(self._places.popleft())
        return taken

    def fail(self, error: Exception) -> None:
        """End every request that waits."""
        while self._places:
            self._places.popleft()[0].fail(error)
