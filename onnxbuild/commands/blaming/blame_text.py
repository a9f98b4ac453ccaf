"""The answer of `blame` as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from onnxbuild.commands.blaming.verdict import Blame, Graph, Node, Output, Stand
from onnxbuild.deliver.variant_rows import Metric
from onnxbuild.printable import printable
from onnxbuild.protocol import json_text
from onnxbuild.report.result.figures import NONE, beside_bound, significant
from onnxbuild.report.result.result_table import drawn
from onnxbuild.report.result.table_layout import Cell, Column
from onnxbuild.report.wording import folded
from onnxbuild.tables.thresholds import side_of


def as_json(blame: Blame) -> str:
    """One JSON object."""
    return json_text(blame, indent=2)


def as_text(blame: Blame, width: int | None = None) -> str:
    """The metrics after each step, the first that breaks it, and the nodes that do. `width`: cells of a terminal."""
    parts = [_steps(blame.steps, width), folded(_verdict(blame), width)]
    parts += [folded(_output(one), width) for one in blame.outputs]
    parts += [_graph(graph, width) for graph in blame.graphs]
    parts += [f"{blame.pasted.param}: {_list(blame.pasted.names)}"] if blame.pasted else []
    return printable("\n\n".join(parts))


def _steps(steps: Sequence[Stand], width: int | None) -> str:
    """A table with a row per step, and a column per metric with its bound."""
    metrics = {name: metric for stand in steps for name, metric in stand.metrics.items()}
    columns = [Column("step", tuple(Cell(_row_name(stand)) for stand in steps))]
    columns += [
        Column(_heading(name, metric), tuple(_cell(stand.metrics.get(name)) for stand in steps))
        for name, metric in metrics.items()
    ]
    return drawn(columns, width)


def _row_name(stand: Stand) -> str:
    return stand.step if stand.label == stand.step else f"{stand.step} ({stand.label})"


def _heading(name: str, metric: Metric) -> str:
    sign = "≥" if side_of(name) == "min" else "≤"
    return name if metric.bound is None else f"{name} {sign} {metric.bound:g}"


def _cell(metric: Metric | None) -> Cell:
    if metric is None:
        return Cell(NONE)
    return Cell(_figure(metric) + ("" if metric.passed else " ✗"), wrong=not metric.passed)


def _figure(metric: Metric) -> str:
    """A value with enough digits to show on which side of its bound it is."""
    return significant(metric.value) if metric.bound is None else beside_bound(metric.value, metric.bound)[0]


def _verdict(blame: Blame) -> str:
    if blame.first is None:
        return f"nothing breaks: `{blame.variant}` passes its validation after every step"
    lines = [f"first step that breaks it: {blame.first}{_values(blame)}"]
    lines += [stand.why for stand in blame.steps if stand.step == blame.first and stand.why]
    if blame.steps[-1].why is None:
        lines.append(f"the steps after it make up for it: `{blame.variant}` passes its validation")
    if blame.outputs:
        lines.append("there is no graph before an export to compare nodes with; these outputs differ from PyTorch's:")
    return "\n".join(lines)


def _values(blame: Blame) -> str:
    """` (cosine_mean: export 1.0000, O2 1.0000, int8 0.9710)`."""
    metrics = ((stand.label, stand.metrics.get(blame.metric or "")) for stand in blame.steps)
    texts = [f"{label} {_figure(metric)}" for label, metric in metrics if metric is not None]
    return f" ({blame.metric}: {', '.join(texts)})" if texts else ""


def _output(output: Output) -> str:
    return f"  {output.name}: {', '.join(f'{name} {significant(value)}' for name, value in output.metrics.items())}"


def _list(names: Sequence[str]) -> str:
    """Names as YAML, on one line that is not folded: it is made to be copied."""
    return json.dumps(list(names), ensure_ascii=False)


def _graph(graph: Graph, width: int | None) -> str:
    if not graph.nodes:
        return folded(f"{graph.file}: {graph.because or 'no node of this graph was changed'}", width)
    words = f"{graph.file}: the nodes that cost most; {graph.compared} tensors were compared"
    return f"{folded(words, width)}\n{drawn(_columns(graph.nodes), width)}"


def _columns(nodes: Sequence[Node]) -> list[Column]:
    texts = {
        "node": [node.name for node in nodes],
        "operator": [node.operator for node in nodes],
        "error before": [_share(node.error_before) for node in nodes],
        "error after": [_share(node.error_after) for node in nodes],
        "adds": [_amount(node.added) for node in nodes],
    }
    return [Column(heading, tuple(map(Cell, column))) for heading, column in texts.items()]


def _share(error: float) -> str:
    """A relative error: `1.24%`."""
    least, most = 1e-4, 100.0
    if error > most:
        return "> 10000%"
    return f"{error:.2%}" if error == 0 or error >= least else "< 0.01%"


def _amount(value: float) -> str:
    """What a node adds, in the unit of its output: `0.0636`."""
    most = 1e6
    return "> 1e6" if value > most else significant(value)
