"""Every measured configuration as a table that fits a terminal: one row each, the engines side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.report.evidence.evidence import Measurement, Ratio
from onnxbuild.report.evidence.gathering import measurements_of
from onnxbuild.report.result.figures import AS_FAST, NONE, milliseconds, times
from onnxbuild.report.result.table_layout import Cell, Column

Measured = tuple[str, Mapping[str, Measurement]]  # the variant, and each engine in one configuration


def configuration_columns(graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> list[Column]:
    """The columns; none where the table of variants already shows all that was measured."""
    rows = [row for variant in graph.variants for row in _rows(variant.name, variant.measures, outcomes)]
    is_one_each = len({name for name, _ in rows}) == len(rows) and all(len(engines) <= 2 for _, engines in rows)  # noqa: PLR2004 - the variant and one baseline
    if is_one_each and not any(_ran_as(engines) for _, engines in rows):
        return []
    return [column("variant", [name for name, _ in rows]), *_about(rows), *_engines(rows)]


def _rows(name: str, measures: Sequence[str], outcomes: Mapping[str, Outcome]) -> list[Measured]:
    found: dict[tuple[str, int, int, int], dict[str, Measurement]] = {}
    for action in measures:
        for one in measurements_of(outcomes[action]) if action in outcomes else ():
            found.setdefault(one.configuration, {})[one.engine] = one
    return [(name, engines) for engines in found.values()]


def _about(rows: Sequence[Measured]) -> list[Column]:
    """What was fed, and with how many threads; a property that is the same everywhere is left out, except the shape."""
    firsts = [next(iter(engines.values())) for _, engines in rows]
    columns = {
        "stage": [one.stage for one in firsts],
        "batch": [str(one.batch) for one in firsts],
        "tokens": [str(one.sequence) for one in firsts],
        "ran as": [_ran_as(engines) or NONE for _, engines in rows],
        "threads": [str(one.threads) for one in firsts],
    }
    shown = {"batch", "tokens"} | {name for name, texts in columns.items() if len(set(texts)) > 1}
    shown |= {"ran as"} if any(text != NONE for text in columns["ran as"]) else set()
    return [column(name, texts) for name, texts in columns.items() if name in shown]


def _engines(rows: Sequence[Measured]) -> list[Column]:
    names = dict.fromkeys(name for _, engines in rows for name, one in engines.items() if not one.own)
    columns = [column("p50", [_p50(_own(engines)) for _, engines in rows])]
    for name in names:
        columns.append(column(f"{name} p50", [_p50(_beside(engines, name)) for _, engines in rows]))
        columns.append(column("speed-up", [_speedup(_own(engines), name) for _, engines in rows]))
    return columns


def _own(engines: Mapping[str, Measurement]) -> Measurement | None:
    """What was measured of the variant itself."""
    return next((one for one in engines.values() if one.own), None)


def _ran_as(engines: Mapping[str, Measurement]) -> str:
    """The shape that the variant ran, where that is another one than what was asked for."""
    own = _own(engines)
    return "" if own is None or own.ran_as is None else own.ran_as.words


def _beside(engines: Mapping[str, Measurement], name: str) -> Measurement | None:
    """What was measured of a baseline."""
    one = engines.get(name)
    return None if one is None or one.own else one


def _p50(one: Measurement | None) -> str:
    return NONE if one is None else milliseconds(one.p50_ms, marked=one.contended and one.own)


def _speedup(one: Measurement | None, baseline: str) -> str:
    return ratio_to(baseline, one.ratios if one is not None else ())


def ratio_to(baseline: str, ratios: Iterable[Ratio]) -> str:
    """The ratio to one of the baselines, in short."""
    ratio = next((ratio for ratio in ratios if ratio.baseline == baseline), None)
    return NONE if ratio is None else ratio_in_short(ratio)


def ratio_in_short(ratio: Ratio) -> str:
    """`1.48×`, or `≈ 1` where the range of the rounds includes 1."""
    return AS_FAST if ratio.least <= 1 <= ratio.most else times(ratio.median)


def column(heading: str, texts: Iterable[str]) -> Column:
    """A column of plain texts."""
    return Column(heading, tuple(map(Cell, texts)))
