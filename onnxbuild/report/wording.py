"""Text for logs and terminals: printable characters, widths in terminal cells, durations."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_KILOBYTE, _MEGABYTES_FROM = 1_000, 100_000  # from here on, one decimal of a megabyte is not zero
_SHOWN_OF_MODEL = 4  # cells of the name of a model that an id keeps where it is shortened
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


def counted(number: int, noun: str) -> str:
    """A number with its noun, in the plural where it is one: `1 file`, `2 files`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def size_in_words(size: float) -> str:
    """A number of bytes in the unit that shows more than zero: `22.8 MB`, `3.1 kB`, `0 bytes`."""
    if size < _KILOBYTE:
        return counted(int(size), "byte")
    return f"{size / 1e3:.1f} kB" if size < _MEGABYTES_FROM else f"{size / 1e6:.1f} MB"


def age_in_words(seconds: float) -> str:
    """An age in days, or in hours or minutes where it is less than one: `2.5 days`, `0 minutes`."""
    if seconds < _HOUR:
        return counted(int(seconds // _MINUTE), "minute")
    return f"{seconds / _HOUR:.1f} hours" if seconds < _DAY else f"{seconds / _DAY:.1f} days"


def path_from_here(path: str | os.PathLike[str]) -> str:
    """A path as a person would type it: relative where it is in or below the current folder."""
    path = os.path.abspath(path)
    here = os.path.join(os.getcwd(), "")
    return path.removeprefix(here)


def folder_from_here(folder: str | os.PathLike[str]) -> str:
    """A folder as every line of a run shows it: relative where it is below the current folder, and with a separator."""
    return os.path.join(path_from_here(folder), "")


def cells(text: str) -> int:
    """The number of terminal cells of a text: two per East Asian wide character, none per combining character."""
    # rich has this function too, but a run with nothing to do does not import rich.
    if text.isascii():
        return len(text)
    return sum(_cells_of(one) for one in text)


def shortened_id(name: str, width: int, mark: str = "…") -> str:
    """The id of an action in at most `width` cells: the model loses its end first, so that target and step stay."""
    if cells(name) <= width:
        return name
    model = name.rpartition("/" if "/" in name else ":")[0]
    step = cells(name.rpartition(":")[2]) + 1
    least = min(_SHOWN_OF_MODEL, cells(model), max(width - cells(mark) - step, 0))
    kept = _from_end(name[len(model) :], width - least - cells(mark))
    return _from_start(model, width - cells(mark) - cells(kept)) + mark + kept


def _from_start(text: str, width: int) -> str:
    """As many characters from the beginning as fit."""
    used = 0
    for number, character in enumerate(text):
        used += _cells_of(character)
        if used > width:
            return text[:number]
    return text


def _from_end(text: str, width: int) -> str:
    return _from_start(text[::-1], width)[::-1]


def folded(text: str, width: int | None, hang: int | None = None) -> str:
    """The text with lines of at most `width` cells, broken at spaces: a path or a word is never broken.

    The continuation of a line is indented by `hang` cells; by default, by two more than the line itself.
    """
    if width is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in _folded(line, width, hang))


def _folded(line: str, width: int, hang: int | None) -> Iterator[str]:
    blank = len(line) - len(line.lstrip(" "))
    start = " " * min(blank + 2 if hang is None else hang, width // 2)
    first, *words = line[blank:].split(" ")
    current = line[:blank] + first
    for word in words:
        if cells(current) + 1 + cells(word) > width and current.strip():
            yield current.rstrip(" ")
            current = start + word
        else:
            current += f" {word}"
    yield current


def cropped(text: str, width: int) -> str:
    """The text, or its beginning with an ellipsis if it is wider than `width` cells."""
    return text if cells(text) <= width else _from_start(text, width - 1) + "…"


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
