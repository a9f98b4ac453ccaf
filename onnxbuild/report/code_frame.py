"""A diagnostic as lines for people: headline, place, the line of the manifest with the fault marked, notes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

from onnxbuild.diagnostics import Diagnostic, Span
from onnxbuild.report.wording import cells, folded, printable
from onnxbuild.secrets import redacted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_WIDEST = 160  # characters of a source line that are shown
_BEFORE_CARET = 40  # of which at most this many come before the fault, if the line is cut
_COPIED = frozenset({"again", "log"})  # notes that a person copies: a line break would spoil them
_TINTS = {"error": "red", "warning": "yellow", "info": "yellow"}
_RULE = "blue"

Parts = tuple[tuple[str, str], ...]  # text and style, as rich names styles


class Line(Struct, frozen=True):
    """One line: how it starts, and its text; where the text wraps, it is indented by the width of the start."""

    start: Parts
    text: Parts = ()
    wraps: bool = True

    @property
    def plain(self) -> str:
        """The line without styles."""
        return "".join(text for text, _ in (*self.start, *self.text))

    def wrapped(self, width: int | None) -> str:
        """The same in lines of `width` cells, if the line wraps."""
        return folded(self.plain, width, sum(cells(text) for text, _ in self.start)) if self.wraps else self.plain


def diagnostic_lines(one: Diagnostic, widest: int = _WIDEST) -> Iterator[Line]:
    """The lines of a diagnostic; a line of source is cut to `widest` characters around the fault."""
    tint = _TINTS[one.severity]
    first, *rest = headline(one).split("\n")
    code, _, message = first.partition(" ")
    yield Line(((code, f"bold {tint}"), (" ", "")), ((message, "bold"),))
    for more in rest:
        yield Line((("    ", ""),), ((more, "bold"),))
    # Without a frame the notes are indented as below a frame with one-digit line numbers.
    margin = len(str(one.span.line)) if one.span else 1
    if one.span:
        yield from _frame(one.span, margin, tint, widest)
    for label, text in one.notes:
        first, *rest = printable(redacted(text), keep="\n").split("\n")
        wraps = label not in _COPIED
        yield Line(((f"{' ' * margin} ", ""), ("=", _RULE), (f" {label}: ", "")), ((first, ""),), wraps=wraps)
        for more in rest:
            # An indented line is code, such as YAML.
            indent = " " * (margin + len(label) + 5)
            yield Line(((indent, ""),), ((more, ""),), wraps=wraps and not more.startswith(" "))


def headline(one: Diagnostic) -> str:
    """Code, the action that it belongs to, message. The severity `error` is not spelled out."""
    kind = "" if one.severity == "error" else f"{one.severity}: "
    subject = ""
    if one.subject is not None:
        subject = printable(f"{one.subject} failed: " if one.severity == "error" else f"{one.subject}: ")
    message = printable(redacted(one.message), keep="\n")
    return f"{one.code} {kind}{subject}{message}"


def coloured(one: Diagnostic, console: Console) -> list[Text]:
    """The lines of a diagnostic in colour, wrapped to the console's width."""
    from rich.text import Text

    rows: list[Text] = []
    for line in diagnostic_lines(one, widest=min(_WIDEST, max(console.width - 8, 20))):
        start = Text.assemble(*line.start)
        room = max(console.width - start.cell_len, 20)
        wrapped = Text.assemble(*line.text).wrap(console, room) if line.wraps else [Text.assemble(*line.text)]
        indent = Text(" " * start.cell_len)
        rows += [(indent if number else start).copy().append_text(text) for number, text in enumerate(wrapped)]
    return rows


def _frame(span: Span, margin: int, tint: str, widest: int) -> Iterator[Line]:
    # Mask secrets before a line is cut or wrapped: half a secret would not be recognized.
    before, line = (redacted(span.source.line(number), keep_length=True) for number in (span.line - 1, span.line))
    start = span.column - 1
    cut = max(0, start - min(_BEFORE_CARET, widest // 2)) if len(line) > widest else 0
    yield Line(((" " * margin, ""), ("-->", _RULE), (f" {printable(str(span))}", "")), wraps=False)
    yield Line(((f"{' ' * margin} ", ""), ("|", _RULE)), wraps=False)
    if before.strip():
        yield _source_line(span.line - 1, margin, _shown(before, cut, widest))
    shown = _shown(line, cut, widest)
    yield _source_line(span.line, margin, shown)
    marked = shown[start - cut : start - cut + span.length]
    carets = "^" * max(1, min(cells(marked) or 1, widest))
    pad = _blank(shown[: start - cut])
    yield Line(((f"{' ' * margin} ", ""), ("|", _RULE), (f" {pad}", "")), ((carets, tint),), wraps=False)


def _source_line(number: int, margin: int, shown: str) -> Line:
    return Line(((str(number).rjust(margin), _RULE), (" ", ""), ("|", _RULE), (" ", "")), ((shown, ""),), wraps=False)


def _shown(line: str, cut: int, widest: int) -> str:
    """The part of a line that is shown. An ellipsis takes the place of one character where the line is cut."""
    line = line.rstrip()
    part = line[cut : cut + widest]
    if cut and line:
        part = "…" + part[1:]
    if len(line) > cut + widest:
        part = part[:-1] + "…"
    return printable(part, keep="\t").rstrip()


def _blank(text: str) -> str:
    """Blanks as wide as a text, with its tabs: the caret is in the right place whatever the width of a tab is."""
    return "".join("\t" if one == "\t" else " " * cells(one) for one in text)
