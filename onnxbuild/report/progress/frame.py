"""One frame of the live view, as lines of text: what runs, for how long, how far it is, and what is left."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

from msgspec import Struct

from onnxbuild.report.progress.lines import one_printable_line_each, seconds_in_words

_ORDER = ("hit", "built", "unchanged", "failed", "blocked", "skipped")
_COLOURS: Mapping[str, str] = {"built": "32", "unchanged": "36", "hit": "36", "failed": "31", "blocked": "33"}
_BAR_CELLS = 16
# Below this width a bar would leave no room for the names.
_WIDTH_FOR_BAR = 72
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PLAIN_SPINNER = "|/-\\"


class Running(Struct, kw_only=True):
    """An action that a worker has: when it began, and the last that it told."""

    id: str
    since: float
    text: str = ""
    done: float | None = None
    total: float | None = None


class Style(Struct, frozen=True, kw_only=True):
    """What the terminal can show. `width` and `height` are in cells."""

    width: int = 80
    height: int = 24
    unicode: bool = True
    colour: bool = False


def frame(
    running: Sequence[Running], counts: Mapping[str, int], total: int, *, now: float, start: float, style: Style
) -> list[str]:
    """The lines to draw, none wider than the terminal less one cell, and fewer than it has rows."""
    width = max(style.width - 1, 10)
    room = max(style.height - 3, 1)
    shown = running if len(running) <= room else running[: room - 1]
    names = min(max((cells(r.id) for r in shown), default=0), max(width // 2, 8))
    lines = [_running(r, names, width, now, style) for r in shown]
    if len(shown) < len(running):
        lines.append(cut(f"  and {len(running) - len(shown)} more", width, style))
    return [*lines, _status(counts, total, len(running), elapsed=now - start, width=width, style=style)]


def paint(outcome: str, text: str, *, colour: bool) -> str:
    """The text in the colour of an outcome."""
    code = _COLOURS.get(outcome)
    return f"\x1b[{code}m{text}\x1b[0m" if colour and code else text


def cells(text: str) -> int:
    """How many cells a text takes on a terminal: East Asian wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_cells_of(c) for c in text)


def cut(text: str, width: int, style: Style) -> str:
    """The text, or its beginning with an ellipsis where it is too wide."""
    if cells(text) <= width:
        return text
    end = "…" if style.unicode else "."
    kept, used = "", 0
    for character in text:
        used += _cells_of(character)
        if used > width - 1:
            break
        kept += character
    return kept + end


def _cells_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _running(running: Running, names: int, width: int, now: float, style: Style) -> str:
    spinner = _SPINNER if style.unicode else _PLAIN_SPINNER
    turn = spinner[int((now - running.since) * 4) % len(spinner)]
    name = cut(running.id, names, style)
    name += " " * (names - cells(name))
    line = f"{turn} {name} {seconds_in_words(now - running.since):>6}"
    if running.done is not None and running.total:
        share = min(max(running.done / running.total, 0.0), 1.0)
        if width >= _WIDTH_FOR_BAR:
            line += f"  {_bar(share, style)}"
        line += f" {share:>4.0%}"
    text = " ".join(one_printable_line_each(running.text))
    return cut(f"{line}  {text}".rstrip(), width, style)


def _bar(share: float, style: Style) -> str:
    full, empty = ("━", "╌") if style.unicode else ("#", ".")
    filled = round(share * _BAR_CELLS)
    return full * filled + empty * (_BAR_CELLS - filled)


def _status(counts: Mapping[str, int], total: int, running: int, *, elapsed: float, width: int, style: Style) -> str:
    finished = sum(counts.values())
    words = [(name, f"{counts[name]} {name}") for name in _ORDER if counts.get(name)]
    left = total - finished - running
    parts = [("", f"{finished}/{total} done"), ("", f"{running} running"), ("", f"{left} left"), *words]
    plain = f"  {seconds_in_words(elapsed)}  " + ", ".join(text for _, text in parts)
    if cells(plain) > width or not style.colour:
        return cut(plain, width, style)
    return f"  {seconds_in_words(elapsed)}  " + ", ".join(paint(name, text, colour=True) for name, text in parts)
