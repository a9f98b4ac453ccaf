"""Located faults: what was found, where, what would be right, and the likely repair.

Everything that a person's doing can cause reaches that person as a `Diagnostic`; what cannot happen is an assertion
that begins with `BUG:`. Rendering (text, JSON, SARIF, GitHub) stands in `onnxbuild.report.render_diagnostics`.
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
        """Line `number` (from 1) without its end, or the empty string past the last one."""
        lines = _lines(self.text)
        return lines[number - 1] if 0 < number <= len(lines) else ""


@functools.lru_cache(maxsize=16)
def _lines(text: str) -> list[str]:
    """Kept, since a thousand faults of one text would split it a thousand times."""
    return text.splitlines()


class Span(Struct, frozen=True):
    """A stretch of one line of a source; line and column count from 1, length in characters."""

    source: Source
    line: int
    column: int
    length: int = 1

    def __str__(self) -> str:
        return f"{self.source.path}:{self.line}:{self.column}"


class Diagnostic(Struct, frozen=True, kw_only=True):
    """One fault. `notes` are further lines, each with its label (`hint`, `log`, `again`, `ran because`)."""

    code: str
    message: str
    severity: Severity = "error"
    span: Span | None = None
    subject: str | None = None  # the action id, where a fault belongs to an action rather than to a place in a text
    notes: tuple[tuple[str, str], ...] = ()


class DiagnosticError(Exception):
    """One or more faults that end what was being done; `exit_code` as in the command-line reference."""

    def __init__(self, diagnostics: Diagnostic | Iterable[Diagnostic], *, exit_code: int = 2) -> None:
        """Carry one fault or many."""
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
    """A `Diagnostic` with at most a hint: the common case."""
    notes = (("hint", hint),) if hint else ()
    return Diagnostic(code=code, message=message, severity=severity, span=span, subject=subject, notes=notes)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The known word nearest to `word`, as a hint in words, or None where nothing is near."""
    near = nearest(word, known)
    return f"did you mean `{near}`?" if near is not None else None


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word nearest to `word`, or None where nothing is near."""
    import difflib

    near = difflib.get_close_matches(word, _likely(word, list(known)), n=1, cutoff=0.6)
    return near[0] if near else None


# difflib takes some 20 microseconds a pair: a thousand typos among a thousand names took 25 seconds.
_MOST_COMPARED = 50


def _likely(word: str, known: list[str]) -> list[str]:
    """The known words that agree with `word` in most places, counted from either end."""
    if len(known) <= _MOST_COMPARED:
        return known
    import heapq
    from operator import eq

    backwards = word[::-1]
    return heapq.nlargest(
        _MOST_COMPARED, known, key=lambda one: max(sum(map(eq, word, one)), sum(map(eq, backwards, reversed(one))))
    )
