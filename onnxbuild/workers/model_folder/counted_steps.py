"""Progress in steps that become known one after another: files, the rows that one of them reads, its nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from onnxbuild.protocol import Tell

T = TypeVar("T")


class CountedSteps:
    """Counts steps as they begin, of those that are expected so far."""

    def __init__(self, tell: Tell, expected: int) -> None:
        """Begin none of the steps that are `expected`."""
        self._tell, self._expected, self._begun = tell, expected, 0

    def expect(self, more: int) -> None:
        """Add steps to those that are left; fewer than expected before if `more` is negative."""
        self._expected += more

    def begin(self, text: str) -> None:
        """Report that one step begins, and all steps before it are done."""
        self._expected = max(self._expected, self._begun + 1)
        self._tell(text, self._begun, self._expected)
        self._begun += 1

    def reading(self, rows: Iterable[T], text: str, *, expected: int) -> Iterator[T]:
        """The rows one by one, each as a step; `{row}` in the text is its number."""
        self.expect(expected)
        number = 0
        for number, row in enumerate(rows, 1):
            if number > expected:
                self.expect(1)
            self.begin(text.format(row=number))
            yield row
        self.expect(-max(expected - number, 0))
