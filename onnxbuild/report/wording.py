"""Text for logs and terminals: printable characters, widths in terminal cells, durations."""

from __future__ import annotations

import os
import unicodedata

_MINUTE, _HOUR = 60, 3600
_TENTHS_BELOW = 10  # seconds from which tenths are left out


def printable(text: str, keep: str = "") -> str:
    """The text with each control character replaced: a manifest must not control the terminal that shows it."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else "\ufffd" for one in text)


def printable_lines(text: str) -> list[str]:
    """The lines of a text, with a blank for each control character; an empty text is one empty line."""
    return ["".join(c if c.isprintable() else " " for c in line) for line in text.splitlines()] or [""]


def on_one_line(text: str) -> str:
    """The text without line breaks and control characters."""
    return " ".join(printable_lines(text))


def path_from_here(path: str | os.PathLike[str]) -> str:
    """A path as a person would type it: relative where it is in or below the current folder."""
    path = os.path.abspath(path)
    here = os.path.join(os.getcwd(), "")
    return path.removeprefix(here)


def cells(text: str) -> int:
    """The number of terminal cells of a text: two per East Asian wide character, none per combining character."""
    # rich has this function too, but a run with nothing to do does not import rich.
    if text.isascii():
        return len(text)
    return sum(_cells_of(one) for one in text)


def cropped(text: str, width: int) -> str:
    """The text, or its beginning with an ellipsis if it is wider than `width` cells."""
    if cells(text) <= width:
        return text
    kept, used = "", 0
    for character in text:
        used += _cells_of(character)
        if used > width - 1:
            break
        kept += character
    return kept + "…"


def _cells_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def seconds_in_words(seconds: float) -> str:
    """A duration in its shortest readable form: `0.4s`, `41s`, `3m07s`, `1h02m`."""
    if seconds < _TENTHS_BELOW - 0.05:
        return f"{seconds:.1f}s"
    return whole_seconds_in_words(round(seconds))


def whole_seconds_in_words(seconds: int) -> str:
    """A duration without fractions of a second: `4s`, `41s`, `3m07s`, `1h02m`."""
    if seconds < _MINUTE:
        return f"{seconds}s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE}m{seconds % _MINUTE:02d}s"
    return f"{seconds // _HOUR}h{seconds % _HOUR // _MINUTE:02d}m"
