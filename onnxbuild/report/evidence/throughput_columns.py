"""Every measured throughput as a table that fits a terminal: one row per setting, the engines side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.report.evidence.configurations import column, configuration_columns, ratio_to
from onnxbuild.report.evidence.evidence import Throughput
from onnxbuild.report.evidence.throughputs import throughputs_of
from onnxbuild.report.result.figures import NONE, rate
from onnxbuild.report.result.result_table import CONTENDED, drawn
from onnxbuild.report.result.table_layout import Column
from onnxbuild.report.wording import folded

Measured = tuple[str, Mapping[str, Throughput]]  # the variant, and each engine in one setting

# What a row says about its setting. A property that is the same in all rows is left out, except the batch.
_ABOUT: Mapping[str, Callable[[Throughput], str]] = {
    "characters": lambda one: f"> {one.longer_than}" if one.longer_than else "any",
    "tokenizer": lambda one: "timed" if one.tokenized == "within" else "before",
    "order": lambda one: one.order,
    "batch": lambda one: str(one.batch),
    "workers": lambda one: str(one.workers),
    "threads": lambda one: str(one.threads),
    "padding": lambda one: f"{one.padding_ratio:.2f}×",
}


def measured_texts(
    graph: ActionGraph, outcomes: Mapping[str, Outcome], width: int | None, *, noted: bool, colour: bool = False
) -> list[str]:
    """The tables of what was measured besides what the table of variants shows, and what their mark means.

    `noted`: whether a table above has said that.
    """
    tables = [table for table in (configuration_columns(graph, outcomes), throughput_columns(graph, outcomes)) if table]
    marked = any(cell.text.endswith("*") for table in tables for one in table for cell in one.cells)
    texts = [drawn(table, width, colour=colour) for table in tables]
    return [*texts, folded(CONTENDED, width, hang=2)] if marked and not noted else texts


def throughput_columns(graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> list[Column]:
    """The columns; none where no throughput was measured."""
    rows = [row for variant in graph.variants for row in _rows(variant.name, variant.measures, outcomes)]
    return [column("variant", [name for name, _ in rows]), *_about(rows), *_engines(rows)] if rows else []


def _rows(name: str, measures: Iterable[str], outcomes: Mapping[str, Outcome]) -> list[Measured]:
    found: dict[tuple[int, str, str, int, int, int], dict[str, Throughput]] = {}
    for action in measures:
        for one in throughputs_of(outcomes[action]) if action in outcomes else ():
            found.setdefault(one.setting, {})[one.engine] = one
    return [(name, engines) for engines in found.values()]


def _about(rows: Sequence[Measured]) -> list[Column]:
    firsts = [next(iter(engines.values())) for _, engines in rows]
    columns = {name: [words(one) for one in firsts] for name, words in _ABOUT.items()}
    return [column(name, texts) for name, texts in columns.items() if name == "batch" or len(set(texts)) > 1]


def _engines(rows: Sequence[Measured]) -> list[Column]:
    names = dict.fromkeys(name for _, engines in rows for name, one in engines.items() if not one.own)
    own = [next((one for one in engines.values() if one.own), None) for _, engines in rows]
    columns = [column("texts/s", map(_rate, own)), column("tokens/s", [_tokens(one) for one in own])]
    for name in names:
        columns.append(column(f"{name} texts/s", [_rate(_beside(engines, name)) for _, engines in rows]))
        columns.append(column("speed-up", [ratio_to(name, one.ratios if one else ()) for one in own]))
    return [*columns, column("best of", [_best_of(engines) for _, engines in rows])]


def _beside(engines: Mapping[str, Throughput], name: str) -> Throughput | None:
    """What was measured of a baseline."""
    one = engines.get(name)
    return None if one is None or one.own else one


def _best_of(engines: Mapping[str, Throughput]) -> str:
    """The engines that are fastest in this setting."""
    return ", ".join(name for name, one in engines.items() if one.best) or NONE


def _rate(one: Throughput | None) -> str:
    return NONE if one is None else rate(one.texts_per_second) + ("*" if one.contended else "")


def _tokens(one: Throughput | None) -> str:
    return NONE if one is None else f"{one.tokens_per_second:.0f}"
