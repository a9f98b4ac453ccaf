"""Texts per second by the number of workers: one panel for each way of reading the texts, one line for each engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from onnxbuild.report.evidence.evidence import Throughput, VariantEvidence
from onnxbuild.report.page.canvas import COLOURS, INK, LINE, new_figure
from onnxbuild.report.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = dict[int, Throughput]  # by the number of workers
Panels = Mapping[str, Mapping[str, Points]]  # by what is read, and by engine

_WIDTH = 7.2  # inches
_HEIGHT = 2.3  # of a panel
_BESIDE = 2  # panels beside each other
_MOST_PANELS = 8  # further settings are in the table
_BASELINE_DASHES = ("--", ":", "-.")


def panels_of(variants: Sequence[VariantEvidence]) -> Panels:
    """What to draw. The baselines are measured beside every variant: their line is the one beside the first."""
    found: dict[str, dict[str, Points]] = {}
    several = len({one.threads for variant in variants for one in variant.throughputs}) > 1
    for variant in variants:
        for one in variant.throughputs:
            name = variant.target if one.own else one.engine
            panel = f"{one.fed}, {counted(one.threads, 'thread')}" if several else one.fed
            found.setdefault(panel, {}).setdefault(name, {}).setdefault(one.workers, one)
    return found


def figure_of(panels: Panels) -> Figure:
    """The lines, with a whisker from the slowest pass to the fastest."""
    shown = dict(list(panels.items())[:_MOST_PANELS])
    down = -(-len(shown) // _BESIDE)
    figure = new_figure(_WIDTH, _HEIGHT * down + 0.5)
    grid = figure.subplots(down, min(_BESIDE, len(shown)), squeeze=False, sharey="all")
    places: list[Axes] = [place for row in grid for place in row]
    for place, (title, lines) in zip(places, shown.items(), strict=False):
        _draw(place, title, lines)
    for place in places[len(shown) :]:
        place.set_visible(False)
    lines_of = [place.get_legend_handles_labels() for place in places]
    named = {name: handle for handles, names in lines_of for handle, name in zip(handles, names, strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=4, frameon=False, labelcolor=INK)
    return figure


def words_of(panels: Panels) -> str:
    """The highest rate of each engine, and where, for those who cannot see the lines."""
    best: dict[str, tuple[float, str]] = {}
    for panel, lines in panels.items():
        for name, points in lines.items():
            one = max(points.values(), key=lambda one: one.texts_per_second)
            where = f"{panel}, {counted(one.workers, 'worker')}"
            best[name] = max(best.get(name, (0.0, "")), (one.texts_per_second, where))
    words = "; ".join(f"{name} {value:.1f} ({where})" for name, (value, where) in best.items())
    more = f" {len(panels) - _MOST_PANELS} more settings are in the table." if len(panels) > _MOST_PANELS else ""
    return f"The highest rates in texts per second: {words}.{more}"


def _draw(axes: Axes, title: str, lines: Mapping[str, Points]) -> None:
    targets = [name for name, points in lines.items() if next(iter(points.values())).own]
    others = [name for name in lines if name not in targets]
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[targets.index(name) % len(COLOURS)] if name in targets else LINE
        style = "-" if name in targets else _BASELINE_DASHES[others.index(name) % len(_BASELINE_DASHES)]
        workers = sorted(points)
        rates = [points[worker].texts_per_second for worker in workers]
        below = [rate - points[worker].least_per_second for worker, rate in zip(workers, rates, strict=True)]
        above = [points[worker].most_per_second - rate for worker, rate in zip(workers, rates, strict=True)]
        # Whiskers that stand beside each other, rather than in one place.
        places = [worker + 0.03 * (number - len(lines) / 2) for worker in workers]
        axes.errorbar(
            places, rates, yerr=[below, above], label=name, color=colour, linestyle=style, marker="o", markersize=4,
            elinewidth=0.8,
        )  # fmt: skip
    axes.set_xticks(sorted({worker for points in lines.values() for worker in points}))
    axes.set_ylim(bottom=0)
    axes.set_title(title, loc="left", fontsize=9, color=INK)
    axes.set_xlabel("workers")
    axes.set_ylabel("texts/s")
