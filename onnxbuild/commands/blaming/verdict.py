"""What the checks of a chain say: the metrics after each step, and the first step whose result breaks a bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from onnxbuild.commands.blaming.chain import Chain, Stage
from onnxbuild.deliver.variant_rows import Metric, judged_metrics
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.report.result.failed_actions import OF_THE_GRAPH
from onnxbuild.steps.precision import PRECISION
from onnxbuild.steps.quantize import QUANTIZE
from onnxbuild.tables.thresholds import is_within

# The param of a step that names the nodes that it leaves as they are.
_LEAVES: Mapping[str, str] = {QUANTIZE.name: "exclude", PRECISION.name: "keep_fp32"}


class Stand(Struct, frozen=True, kw_only=True):
    """A step with the metrics of its result. `why` says what is wrong with the result, None if nothing is."""

    step: str
    label: str
    metrics: Mapping[str, Metric] = {}
    why: str | None = None


class Node(Struct, frozen=True, kw_only=True):
    """A node of the graph before a step, with relative errors: the largest of its inputs, and that of its output.

    `added` is what the step adds in this node: the RMS of the difference of its output, given the same inputs.
    """

    name: str
    operator: str
    error_before: float
    error_after: float
    added: float
    named: bool = True  # whether the graph has a name for it that a manifest can use
    quantized: bool = False


class Graph(Struct, frozen=True, kw_only=True):
    """The nodes of one graph that cost most."""

    file: str
    compared: int = 0
    nodes: tuple[Node, ...] = ()
    because: str | None = None  # why there are none


class Output(Struct, frozen=True, kw_only=True):
    """An output of the model that breaks a bound, with the metrics that do."""

    name: str
    metrics: Mapping[str, float]


class Pasted(Struct, frozen=True, kw_only=True):
    """A param of the step that leaves nodes as they were, with the nodes that it already names, and those shown."""

    param: str
    names: tuple[str, ...]


class Blame(Struct, frozen=True, kw_only=True):
    """The answer. `first` is the first step that breaks the validation; None if none does."""

    variant: str
    steps: tuple[Stand, ...]
    first: str | None = None
    metric: str | None = None  # the one that it breaks, None for a failure of another kind
    outputs: tuple[Output, ...] = ()  # of an export
    graphs: tuple[Graph, ...] = ()  # of any other step
    pasted: Pasted | None = None


def is_measured(outcome: Outcome) -> bool:
    """Whether a check says something about the graph, good or bad."""
    if outcome.failure is not None:
        return outcome.failure.code in OF_THE_GRAPH
    return outcome.outcome in SUCCEEDED


def blame_of(chain: Chain, outcomes: Mapping[str, Outcome]) -> Blame:
    """The verdict of checks that all say something about the graph."""
    steps = tuple(_stand(stage, outcomes[stage.check.id]) for stage in chain.stages)
    first = next((number for number, stand in enumerate(steps) if stand.why is not None), None)
    if first is None:
        return Blame(variant=chain.variant.name, steps=steps)
    stage, broken = chain.stages[first], steps[first]
    return Blame(
        variant=chain.variant.name,
        steps=steps,
        first=broken.step,
        metric=next((name for name, metric in broken.metrics.items() if not metric.passed), None),
        outputs=() if stage.nodes else tuple(_outputs(outcomes[stage.check.id], broken.metrics)),
    )


def first_broken(chain: Chain, blame: Blame) -> Stage | None:
    """The stage that a verdict names."""
    return next((stage for stage in chain.stages if name_of(stage) == blame.first), None)


def pasted(stage: Stage, graphs: Sequence[Graph]) -> Pasted | None:
    """What to write into the step to leave the nodes that cost most as they were; None if it has no such param."""
    param = _LEAVES.get(stage.kind)
    nodes = [node for graph in graphs for node in graph.nodes if node.named]
    names = [node.name for node in nodes if node.quantized or stage.kind != QUANTIZE.name]
    if param is None or not names:
        return None
    written = stage.params.get(param, ())
    already = [written] if isinstance(written, str) else [str(one) for one in written]
    return Pasted(param=param, names=tuple(dict.fromkeys((*already, *names))))


def name_of(stage: Stage) -> str:
    """The name of a step within its target: its kind, with a number if the target has it twice."""
    return stage.check.id.rpartition(":validate-after-")[2]


def _stand(stage: Stage, check: Outcome) -> Stand:
    if check.failure is not None:
        why: str | None = f"{check.failure.code} {check.failure.message}"
    else:
        why = next(iter(_texts(check.facts.get("failures"))), None)
    return Stand(step=name_of(stage), label=stage.label, metrics=_bounded(check), why=why)


def _bounded(check: Outcome) -> Mapping[str, Metric]:
    return {name: metric for name, metric in judged_metrics(check).items() if metric.bound is not None}


def _outputs(check: Outcome, metrics: Mapping[str, Metric]) -> Iterator[Output]:
    """The outputs of the model that are outside of a bound, by `stage/name`."""
    facts = check.failure.facts if check.failure else check.facts
    measured: Any = facts.get("outputs")
    for name, values in measured.items() if isinstance(measured, Mapping) else ():
        broken = {metric: values[metric] for metric in metrics if _breaks(metric, values, metrics[metric])}
        if broken:
            yield Output(name=name, metrics=broken)


def _breaks(name: str, values: Mapping[str, float], metric: Metric) -> bool:
    value = values.get(name)
    return value is not None and metric.bound is not None and not is_within(name, value, metric.bound)


def _texts(value: Any) -> Sequence[str]:
    return [str(one) for one in value] if isinstance(value, list | tuple) else []
