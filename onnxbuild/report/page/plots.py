"""The plots of a report, drawn by matplotlib: as SVG for the page, and as files for a README.

Nothing random is in them: equal evidence gives equal files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from onnxbuild.report.evidence.evidence import Evidence, VariantEvidence
from onnxbuild.report.evidence.front import ROUNDING, Point, Tradeoff, tradeoffs
from onnxbuild.report.page import throughput_plots
from onnxbuild.report.page.canvas import COLOURS, INK, LINE, drawing, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 7.2  # inches
_BAR = 0.24  # inches per bar
_MOST_PANELS = 6  # further configurations are in the table


class Plot(NamedTuple):
    """A figure with the words for those who cannot see it. `name` is a file's name without its suffix."""

    name: str
    title: str
    description: str
    figure: Figure


class Bar(NamedTuple):
    """One bar: the value, a whisker up to `most`, and whether it stands for a baseline."""

    name: str
    value: float
    most: float | None = None
    baseline: bool = False


def plots(evidence: Evidence) -> list[Plot]:
    """Every plot that the evidence has the figures for."""
    models = dict.fromkeys(variant.model for variant in evidence.variants)
    with drawing():
        return [
            *(_of_tradeoff(one) for one in tradeoffs(evidence.variants)),
            *(plot for model in models for plot in _of_model(model, _of(evidence, model))),
        ]


def _of(evidence: Evidence, model: str) -> list[VariantEvidence]:
    return [variant for variant in evidence.variants if variant.model == model]


def _of_model(model: str, variants: Sequence[VariantEvidence]) -> Iterator[Plot]:
    latencies = _latency_bars(variants)
    if latencies:
        beside = next(variant.target for variant in variants if variant.measurements) if variants[1:] else ""
        yield _latency_plot(model, latencies, beside)
    panels = throughput_plots.panels_of(variants)
    if panels:
        title = f"{model}: texts per second by workers"
        figure = throughput_plots.figure_of(panels)
        yield Plot(f"throughput-{_file(model)}", title, throughput_plots.words_of(panels), figure)
    sizes = [
        Bar(variant.target, variant.row.size_bytes / 1e6) for variant in variants if variant.row.size_bytes is not None
    ]
    if sizes:
        title = f"{model}: size of the graphs and their weights"
        words = ", ".join(f"{bar.name} {bar.value:.1f} MB" for bar in sizes)
        yield Plot(f"size-{_file(model)}", title, words, _bars({"": sizes}, "MB"))


# -- accuracy against latency -----------------------------------------------------------------------------------------


def _of_tradeoff(one: Tradeoff) -> Plot:
    figure = new_figure(_WIDTH, 3.6)
    axes = figure.add_subplot()
    front = sorted((point for point in one.points if point.name in one.front), key=lambda point: point.milliseconds)
    axes.step(
        [point.milliseconds for point in front],
        [_shown(point.deviation) for point in front],
        where="post", color=LINE, linewidth=1.5, zorder=1,
    )  # fmt: skip
    for number, point in enumerate(one.points):
        marker = "o" if point.name in one.front else "X"
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(point.milliseconds, _shown(point.deviation), marker, color=colour, markersize=8, zorder=2)
    for label, point in _labels(one.points):
        place = (point.milliseconds, _shown(point.deviation))
        axes.annotate(label, place, xytext=(6, 5), textcoords="offset points", color=INK, fontsize=9)
    axes.set_yscale("log")
    axes.set_ylim(*_room([_shown(point.deviation) for point in one.points]))
    axes.set_xlim(0, 1.18 * max(point.milliseconds for point in one.points))
    axes.set_xlabel(one.unit)
    axes.set_ylabel(one.words)
    best = ", ".join(point.name for point in front)
    words = f"Lower and further left is better. No variant that passed beats these in both: {best or '(none passed)'}."
    return Plot(f"accuracy-{_file(one.model)}", f"{one.model}: accuracy against latency", words, figure)


def _labels(points: Sequence[Point]) -> list[tuple[str, Point]]:
    """The label of each point; points that nearly coincide share one."""
    most = max(point.milliseconds for point in points)
    groups: list[list[Point]] = []
    for point in points:
        near = (group for group in groups if _nearly_equal(group[0], point, most))
        group = next(near, None)
        if group is None:
            groups.append([point])
        else:
            group.append(point)
    return [(", ".join(point.name.partition("/")[2] for point in group), group[0]) for group in groups]


def _nearly_equal(one: Point, other: Point, most: float) -> bool:
    near = abs(one.milliseconds - other.milliseconds) < most / 25
    return near and abs(math.log10(_shown(one.deviation) / _shown(other.deviation))) < 0.25  # noqa: PLR2004 - of a decade


def _shown(deviation: float) -> float:
    """A deviation on a logarithmic axis, which has no zero."""
    return max(ROUNDING, deviation)


def _room(values: Sequence[float]) -> tuple[float, float]:
    return min(values) / 3, max(values) * 3


# -- latency ----------------------------------------------------------------------------------------------------------


def _latency_bars(variants: Sequence[VariantEvidence]) -> dict[str, list[Bar]]:
    """The bars of each configuration: the baselines, then the variants."""
    measured = [
        (variant.target, one) for variant in variants for one in variant.measurements if math.isfinite(one.p50_ms)
    ]
    several = len({one.stage for _, one in measured}) > 1
    found: dict[str, dict[str, Bar]] = {}
    for target, one in measured:
        name = target if one.own else one.engine
        bar = Bar(name, one.p50_ms, one.p90_ms if math.isfinite(one.p90_ms) else None, baseline=not one.own)
        found.setdefault(f"{one.stage}: {one.fed}" if several else one.fed, {}).setdefault(name, bar)
    return {words: sorted(bars.values(), key=lambda bar: not bar.baseline) for words, bars in found.items()}


def _latency_plot(model: str, bars: Mapping[str, Sequence[Bar]], beside: str) -> Plot:
    """The bars of each configuration. `beside`: the variant whose baselines are shown; each one has its own."""
    shown = dict(list(bars.items())[:_MOST_PANELS])
    words = "; ".join(f"{name}: {', '.join(f'{bar.name} {bar.value:.2f} ms' for bar in shown[name])}" for name in shown)
    more = f" {len(bars) - len(shown)} more configurations are in the table." if len(bars) > len(shown) else ""
    if beside and any(bar.baseline for panel in shown.values() for bar in panel):
        more += f" The baselines are those measured beside {beside}; the table has those of each variant."
    title = f"{model}: latency p50, whiskers to p90"
    return Plot(f"latency-{_file(model)}", title, words + "." + more, _bars(shown, "ms"))


def _bars(panels: Mapping[str, Sequence[Bar]], unit: str) -> Figure:
    """One panel of horizontal bars for each name, one below the other."""
    heights = [max(1, len(bars)) * _BAR + 0.35 for bars in panels.values()]
    figure = new_figure(_WIDTH, sum(heights) + 0.55)
    grid = figure.add_gridspec(len(panels), 1, height_ratios=heights, hspace=0.42)
    for number, (name, bars) in enumerate(panels.items()):
        _draw(figure.add_subplot(grid[number]), name, bars, unit, labelled=number == len(panels) - 1)
    return figure


def _draw(axes: Axes, name: str, bars: Sequence[Bar], unit: str, *, labelled: bool) -> None:
    places = range(len(bars))
    colours = [LINE if bar.baseline else COLOURS[0] for bar in bars]
    axes.barh(places, [bar.value for bar in bars], color=colours, height=0.72)
    most = max(max(bar.value, bar.most or 0) for bar in bars)
    for place, bar in zip(places, bars, strict=True):
        if bar.most is not None:
            axes.plot([bar.value, bar.most], [place, place], color=INK, linewidth=1)
        axes.text(
            max(bar.value, bar.most or 0) + most / 100, place, _figure(bar.value), color=INK, va="center", fontsize=8
        )
    axes.set_yticks(places, [bar.name for bar in bars])
    axes.invert_yaxis()
    axes.set_xlim(0, most * 1.12)
    axes.set_title(name, loc="left", fontsize=9, color=INK)
    if labelled:
        axes.set_xlabel(unit)


def _figure(value: float) -> str:
    return f"{value:.{max(0, 2 - int(math.log10(value))) if value >= 1 else 3}f}" if value > 0 else "0"


def _file(model: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in model)
