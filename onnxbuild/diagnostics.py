"""Faults with a location: what is wrong, where, what is expected, and the likely fix.

Everything that a user can cause is reported as a `Diagnostic`; what cannot happen is an assertion that begins with
`BUG:`. `onnxbuild.report.render_diagnostics` renders diagnostics (text, JSON, SARIF, GitHub).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Struct

Severity = Literal["error", "warning", "info"]


class Source(Struct, frozen=True):
    """A text that spans point into: a manifest as it was read."""

    path: str
    text: str

    def line(self, number: int) -> str:
        """Line `number` (from 1) without its line end; the empty string after the last line."""
        lines = _lines(self.text)
        return lines[number - 1] if 0 < number <= len(lines) else ""


@functools.lru_cache(maxsize=16)
def _lines(text: str) -> list[str]:
    """The lines of a text, cached: a thousand faults would otherwise split it a thousand times."""
    return text.splitlines()


class Span(Struct, frozen=True):
    """Part of one line of a source. Line and column count from 1; the length is in characters."""

    source: Source
    line: int
    column: int
    length: int = 1

    def __str__(self) -> str:
        return f"{self.source.path}:{self.line}:{self.column}"


class Diagnostic(Struct, frozen=True, kw_only=True):
    """One fault. `notes` are more lines, each with a label (`hint`, `log`, `again`, `ran because`)."""

    code: str
    message: str
    severity: Severity = "error"
    span: Span | None = None
    subject: str | None = None  # the id of the action, for a fault of an action rather than of a place in a text
    notes: tuple[tuple[str, str], ...] = ()


class DiagnosticError(Exception):
    """One or more faults that end a command; `exit_code` is explained in the command-line reference."""

    def __init__(self, diagnostics: Diagnostic | Iterable[Diagnostic], *, exit_code: int = 2) -> None:
        """Take one fault or several."""
        self.diagnostics: Sequence[Diagnostic] = (
            (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        )
        self.exit_code = exit_code
        super().__init__("; ".join(f"{d.code} {d.message}" for d in self.diagnostics))


def fault(
    code: str,
    message: str,
    *,
    span: Span | None = None,
    hint: str | None = None,
    severity: Severity = "error",
    subject: str | None = None,
) -> Diagnostic:
    """A `Diagnostic` with at most one note, a hint: the common case."""
    notes = (("hint", hint),) if hint else ()
    return Diagnostic(code=code, message=message, severity=severity, span=span, subject=subject, notes=notes)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint with the known word that is most similar to `word`, or None if none is similar."""
    near = nearest(word, known)
    return f"did you mean `{near}`?" if near is not None else None


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most similar to `word`, or None if none is similar."""
    import difflib

    near = difflib.get_close_matches(word, _likely(word, list(known)), n=1, cutoff=0.6)
    return near[0] if near else None


# difflib takes about 20 microseconds per pair: a thousand typos among a thousand names took 25 seconds.
_MOST_COMPARED = 50


def _likely(word: str, known: list[str]) -> list[str]:
    """The known words that have the most characters in the same place as `word`, counted from either end."""
    if len(known) <= _MOST_COMPARED:
        return known
    import heapq
    from operator import eq

    backwards = word[::-1]
    return heapq.nlargest(
        _MOST_COMPARED, known, key=lambda one: max(sum(map(eq, word, one)), sum(map(eq, backwards, reversed(one))))
    )
