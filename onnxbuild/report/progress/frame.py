"""One frame of the live view, as lines of styled text: what runs, for how long, how far it is, and what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from rich.text import Text

from onnxbuild.report.wording import cells, on_one_line, shortened_id, whole_seconds_in_words
from onnxbuild.secrets import redacted

STYLES: Mapping[str, str] = {
    "built": "green", "unchanged": "cyan", "hit": "cyan", "failed": "red", "blocked": "yellow", "skipped": "dim",
}  # fmt: skip
_ORDER = ("hit", "built", "unchanged", "failed", "blocked", "skipped")
_BAR_CELLS = 16
# Below this width a bar would leave no room for the names.
_WIDTH_FOR_BAR = 72


class Running(Struct, kw_only=True):
    """An action that a worker runs: when it began, and the last progress that it reported."""

    id: str
    since: float
    text: str = ""
    done: float | None = None
    total: float | None = None

    @property
    def share(self) -> float | None:
        """The finished share, from 0 to 1; None if the step cannot count it."""
        if self.done is None or not self.total:
            return None
        return min(max(self.done / self.total, 0.0), 1.0)


class Screen(Struct, frozen=True, kw_only=True):
    """What the terminal can show. `width` and `height` are in cells."""

    width: int = 80
    height: int = 24
    unicode: bool = True


def frame(
    running: Sequence[Running], counts: Mapping[str, int], total: int, *, now: float, start: float, screen: Screen
) -> list[Text]:
    """The lines to draw, none wider than the terminal less one cell, and fewer than it has rows."""
    # Lines of text instead of a `rich.table.Table`: measured, 0.2 ms per frame of four actions against 1.3 ms.
    width = max(screen.width - 1, 10)
    room = max(screen.height - 3, 1)
    shown = running if len(running) <= room else running[: room - 1]
    names = min(max((cells(one.id) for one in shown), default=0), max(width // 2, 8))
    lines = [_running(one, names, width, now, screen) for one in shown]
    if len(shown) < len(running):
        lines.append(Text(f"  and {len(running) - len(shown)} more"))
    lines.append(_status(counts, total, len(running), elapsed=now - start))
    for line in lines:
        _crop(line, width, screen)
    return lines


def _running(running: Running, names: int, width: int, now: float, screen: Screen) -> Text:
    line = Text("  ")
    name = Text(shortened_id(running.id, names, "…" if screen.unicode else ".."))
    name.pad_right(names - name.cell_len)
    line.append_text(name).append(f" {whole_seconds_in_words(int(now - running.since)):>6}")
    if running.share is not None:
        if width >= _WIDTH_FOR_BAR:
            line.append("  ").append_text(_bar(running.share, screen))
        line.append(f" {running.share:>4.0%}")
    if running.text:
        line.append("  ").append(on_one_line(redacted(running.text)))
    return line


def _bar(share: float, screen: Screen) -> Text:
    full, empty = ("━", "╌") if screen.unicode else ("#", ".")
    filled = round(share * _BAR_CELLS)
    return Text.assemble((full * filled, "green"), (empty * (_BAR_CELLS - filled), "dim"))


def _status(counts: Mapping[str, int], total: int, running: int, *, elapsed: float) -> Text:
    finished = sum(counts.values())
    line = Text(f"  {whole_seconds_in_words(int(elapsed))}  {finished}/{total} done, {running} running")
    line.append(f", {total - finished - running} left")
    for outcome in _ORDER:
        if counts.get(outcome):
            line.append(", ").append(f"{counts[outcome]} {outcome}", style=STYLES[outcome])
    return line


def _crop(text: Text, width: int, screen: Screen) -> None:
    text.truncate(width, overflow="ellipsis" if screen.unicode else "crop")
