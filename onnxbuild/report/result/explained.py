"""What `explain` shows about an action: params with their origin, metrics beside their bounds, the parts of its key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from onnxbuild.diagnostics import Span
from onnxbuild.manifest.spec import Manifest
from onnxbuild.planning.action_graph import Action, Variant
from onnxbuild.protocol import json_text
from onnxbuild.report.progress.lines import warning_lines
from onnxbuild.report.result.origins import written_params
from onnxbuild.report.wording import cells, on_one_line, printable_lines
from onnxbuild.secrets import redacted
from onnxbuild.steps import Kinds
from onnxbuild.steps.kind import Kind, meanings
from onnxbuild.tables.thresholds import side_of

_LONGEST = 60  # characters of a value that are shown
_NARROWEST = 20  # cells of a column that wraps
_SHOWN_OF_DIGEST = 12
_BOUND = {"min": "at least", "max": "at most"}


def params_lines(
    action: Action, kinds: Kinds, manifest: Manifest, *, in_full: bool = True, width: int | None = None
) -> Iterator[str]:
    """Each param with its value and its origin: a line of the manifest, `default`, or `derived`.

    `in_full`: also the params that have their default, and what each param means, wrapped to `width`.
    """
    kind = kinds[action.kind]
    written, meaning = written_params(action, kind, manifest), meanings(kind.params) if in_full else {}
    rows = [
        (name, _value(value), _origin(name, value, kind, written), meaning.get(name, ""))
        for name, value in action.params.items()
    ]
    shown = [row for row in rows if in_full or row[2] != "default"]
    yield from _table("params:", shown, width)


def facts_lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """The metrics of a validation beside their bounds and intervals, the headline of a measurement, and warnings."""
    metrics, bounds = _mapping(facts.get("metrics")), _mapping(facts.get("thresholds"))
    intervals = _mapping(facts.get("intervals"))
    table = [
        (name, _number(value), _bound(name, bounds) + _interval(name, intervals)) for name, value in metrics.items()
    ]
    yield from _table("metrics:", table)
    yield from _rows_line(_mapping(facts.get("rows")))
    headline = _mapping(facts.get("headline"))
    yield from _table("measured:", [(name, _measured(value), "") for name, value in headline.items()])
    because = facts.get("because")
    if isinstance(because, str):
        yield from (f"chosen: {line}" for line in printable_lines(because))
    yield from warning_lines(facts)


def key_lines(parts: Mapping[str, Any]) -> Iterator[str]:
    """The parts of a key besides the params: what a rebuild would be explained by."""
    rows = [("version of the step", _value(parts.get("version")), "")]
    rows += [
        (f"input {port}", str(digest)[:_SHOWN_OF_DIGEST], "") for port, digest in _mapping(parts["inputs"]).items()
    ]
    rows += [(name, _value(version), "") for name, version in _mapping(parts.get("packages")).items()]
    rows += [(f"toolchain {name}", _value(value), "") for name, value in _mapping(parts.get("toolchain")).items()]
    rows += [(f"machine {name}", _value(value), "") for name, value in _mapping(parts.get("machine")).items()]
    yield from _table("key parts:", rows)


def variant_lines(variant: Variant) -> Iterator[str]:
    """Where to read on."""
    last = variant.steps[-1]
    yield f"more: `onnxbuild explain {last}` shows every param, the key and the reasons of an action"


def _table(title: str, rows: Sequence[tuple[str, ...]], width: int | None = None) -> Iterator[str]:
    """The title and the rows with aligned columns; nothing without rows. The last column wraps to `width`."""
    if not rows:
        return
    widths = [max(map(cells, column)) for column in zip(*rows, strict=True)]
    yield title
    for *first, last in rows:
        start = (
            "".join(f"  {cell}{' ' * (most - cells(cell))}" for cell, most in zip(first, widths, strict=False)) + "  "
        )
        for number, line in enumerate(_wrapped(last, width, cells(start))):
            yield f"{' ' * cells(start) if number else start}{line}".rstrip()


def _wrapped(text: str, width: int | None, indent: int) -> list[str]:
    """The lines of a text beside columns of `indent` cells; in too little room it is left to the terminal."""
    if width is None or width - indent < _NARROWEST:
        return [text]
    import textwrap

    return textwrap.wrap(text, width - indent, break_long_words=False, break_on_hyphens=False) or [""]


# -- where params come from -------------------------------------------------------------------------------------------


def _origin(name: str, value: Any, kind: Kind, written: Mapping[str, Span]) -> str:
    if name in written:
        return f"{written[name].source.path}:{written[name].line}"
    return "default" if value == _default(name, kind) else "derived"


def _default(name: str, kind: Kind) -> Any:
    field = next((one for one in msgspec.structs.fields(kind.params) if one.encode_name == name), None)
    if field is None or field.required:
        return msgspec.UNSET
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return msgspec.json.decode(msgspec.json.encode(default)) if default is not msgspec.UNSET else default


# -- values -----------------------------------------------------------------------------------------------------------


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _bound(metric: str, bounds: Mapping[str, Any]) -> str:
    # Not rounded as a measured value is: 0.999999 would be shown as 1.
    return f"{_BOUND[side_of(metric)]} {bounds[metric]}" if metric in bounds else "no bound"


def _interval(metric: str, intervals: Mapping[str, Any]) -> str:
    if metric not in intervals:
        return ""
    low, high = intervals[metric]
    return f", {_number(low)} to {_number(high)} with 95 %"


def _rows_line(rows: Mapping[str, Any]) -> Iterator[str]:
    """Which rows the metrics of the task were measured on."""
    if rows:
        languages = ", ".join(f"{name} {count}" for name, count in _mapping(rows.get("languages")).items())
        beside = f": {languages}" if languages else ""
        yield f"rows: {_value(rows.get('count'))} of {_value(rows.get('of'))}, {_value(rows.get('name'))}{beside}"


def _measured(value: Any) -> str:
    """A number or a word, or the figures of a mapping in one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_number(one)}" for name, one in value.items())
    return _number(value)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else _value(value)


def _value(value: Any) -> str:
    text = value if isinstance(value, str) and value else json_text(value)
    line = on_one_line(redacted(text))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
