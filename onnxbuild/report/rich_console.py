"""The rich console that writes what a person watches. Imported only if there is something to draw (45 ms of CPU)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from onnxbuild.printable import printable
from onnxbuild.report.outlet import Canvas

_UNBOUNDED = 100_000  # cells: wider than any line


class _SafeConsole(Console):
    """A console whose text cannot control the terminal: only rich itself adds control sequences."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of anything that is printed."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


class TerminalConsole(_SafeConsole):
    """A console on a stream that is a terminal; it writes text as it is, without markup or highlighting."""

    def __init__(self, stream: TextIO, *, colour: bool, width: int | None = None) -> None:
        """Write to `stream`; `width` in cells replaces the width of the terminal."""
        super().__init__(
            file=cast("TextIO", Canvas(stream)),
            width=width,
            force_terminal=True,
            color_system="auto" if colour else None,
            no_color=not colour,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def on_broken_pipe(self) -> None:
        """Raise the BrokenPipeError: rich would end the process, and with it the build."""
        raise  # noqa: PLE0704 - rich calls this while it handles the error


class AnsiConsole(_SafeConsole):
    """A console that keeps what it writes, in the 16 colours that every terminal has."""

    def __init__(self, width: int) -> None:
        """Wrap to `width` cells."""
        self._text = io.StringIO()
        super().__init__(
            file=self._text, width=width, force_terminal=True, color_system="standard", no_color=False,
            legacy_windows=False, highlight=False, markup=False, emoji=False,
        )  # fmt: skip

    def written(self) -> str:
        """All that was written."""
        return self._text.getvalue()


def ansi_console(width: int | None) -> AnsiConsole:
    """A console for text in colour; without a width nothing is wrapped."""
    return AnsiConsole(width or _UNBOUNDED)


def wrapped(text: str, console: Console, indent: int) -> list[Text]:
    """The text wrapped to the console's width, each line indented by `indent` cells."""
    lines = Text(text).wrap(console, max(console.width - indent, 10))
    return [Text(" " * indent).append_text(line) for line in lines]


def painted(head: Sequence[tuple[str, str]], details: Sequence[str], console: Console) -> list[Text]:
    """A headline of (text, style) pairs, and below it indented lines that keep their indentation where they wrap."""
    lines = [Text.assemble(*head)]
    for detail in details:
        indent = len(detail) - len(detail.lstrip())
        lines += wrapped(detail.strip(), console, indent)
    return lines
