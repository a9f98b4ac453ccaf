"""`subject_to` of OpenVINO: products in int8, but for as few operations as the bounds need in float.

How much each operation costs in accuracy is measured once, with that operation alone in int8. Then operations are left
in float in the order of their loss, as many as the bounds need, found by doubling and halving.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.quantizing.bounds_of_search import all_reached, bounds, check_measured
from onnxbuild.workers.compile.openvino.openvino_compiler import Feeds, Order, products_in_int8
from onnxbuild.workers.measuring.output_scores import Outputs, fewest, holds_cache, judged, loss_of, scores

_PROBES = 16  # passes on which the loss of one operation is measured
_EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
_ROUNDS = "FakeQuantize"  # the node of OpenVINO that rounds to integers, between an operation and what it reads
# Nodes that move numbers and compute none: what rounds before them rounds for the operation after them.
_MOVES = frozenset({
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split", "VariadicSplit", "Concat", "StridedSlice", "Slice",
    "Broadcast", "Tile", "Convert", "Gather",
})  # fmt: skip
_WORST = 1e30  # the loss of an operation that makes an output infinite or not a number


class Trial(NamedTuple):
    """A model with some operations in float, and what it gives on the rows that judge."""

    left: tuple[str, ...]
    model: Any
    found: Mapping[str, float]
    holds: bool

    @property
    def facts(self) -> dict[str, Any]:
        """The trial without its model."""
        return {"in_float": len(self.left), **_short(self.found), "holds": self.holds}


class _Passes(NamedTuple):
    """What a model is fed, and what it gives in fp32."""

    feeds: Sequence[Feeds]
    exact: Outputs


def searched(
    model: Any, order: Order, feeds: Sequence[Feeds], judges: Sequence[Feeds], tell: Callable[[str], Any]
) -> tuple[Any, dict[str, Any]]:
    """The model with the fewest operations in float that keeps the bounds.

    Facts: `in_int8` counts the products of the result in int8, `left_in_float` names what is not, `trials`, and the
    metrics that are reached.
    Errors: CheckFailed OBE115 if no mix keeps the bounds, OBE116 for a bound on what the model does not have.
    """
    if not feeds or not judges:
        raise CheckFailed("OBE116", "a search needs at least two rows of text: one to measure on, and one to judge by")
    subject_to = order.settings["subject_to"]
    with_losses = "perplexity_ratio" in subject_to
    exact = _outputs(model, order, _EXACT, judges, with_losses=with_losses)
    check_measured(bounds(subject_to), scores(exact, exact))
    trials: list[Trial] = []

    def trial(left: Sequence[str]) -> Trial:
        tell(f"trial {len(trials) + 1}: {len(left)} operations in float")
        made = products_in_int8(model, feeds, order.settings, left)
        outputs = _outputs(made, order, order.properties, judges, with_losses=with_losses)
        found = scores(exact, outputs)
        now = Trial(tuple(left), made, found, all(one.holds(found[one.figure]) for one in bounds(subject_to)))
        trials.append(now._replace(model=None))  # only the one that holds is kept
        return now

    first = trial(())
    chosen = first if first.holds else _taking_back(model, order, feeds, trial, tell)
    if chosen is None:
        raise _nothing_holds(trials, subject_to)
    return chosen.model, _facts(chosen, trials, _names(model))


def _taking_back(
    model: Any,
    order: Order,
    feeds: Sequence[Feeds],
    trial: Callable[[Sequence[str]], Trial],
    tell: Callable[[str], Any],
) -> Trial | None:
    """The trial that holds with the fewest operations in float, of which at least one product stays in int8."""
    rounded = products_in_int8(model, feeds, order.settings, packed=False)
    own = _names(model)
    rounders = {name: nodes for name, nodes in _rounders(rounded).items() if name in own}
    ranked = _ranked(
        rounded, rounders, order, _Passes(feeds[:_PROBES], _outputs(model, order, _EXACT, feeds[:_PROBES])), tell
    )
    most = max((place for place, name in enumerate(ranked) if len(rounders[name]) > 1), default=0)
    return fewest(lambda count: trial(ranked[:count]), most) if most else None


def _ranked(
    rounded: Any, rounders: Mapping[str, Collection[str]], order: Order, probes: _Passes, tell: Callable[[str], Any]
) -> list[str]:
    """The operations that int8 changes, those first that lose most with that operation alone in int8."""
    losses: dict[str, float] = {}
    for number, (name, kept) in enumerate(rounders.items()):
        tell(f"sensitivity of operation {number + 1} of {len(rounders)}")
        alone = _rounding_only(rounded, kept)
        loss = loss_of(scores(probes.exact, _outputs(alone, order, _EXACT, probes.feeds)))
        losses[name] = loss if math.isfinite(loss) else _WORST
    return sorted(losses, key=lambda name: (-losses[name], name))


def _names(model: Any) -> set[str]:
    """The names of what a model consisted of before NNCF added anything."""
    return {one.get_friendly_name() for one in model.get_ops()}


def _rounders(model: Any) -> dict[str, frozenset[str]]:
    """The nodes that round what each operation reads, by the name of the operation; none for one in float."""
    found = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() != _ROUNDS and not _moves(node):
            before = frozenset(_rounding(node))
            if before:
                found[node.get_friendly_name()] = before
    return found


def _rounding(node: Any) -> Iterator[str]:
    for place in range(node.get_input_size()):
        source = node.input_value(place).get_node()
        if source.get_type_name() == _ROUNDS:
            yield source.get_friendly_name()
        elif _moves(source):
            yield from _rounding(source)


def _moves(node: Any) -> bool:
    """Whether a node moves numbers and computes none. A look into a table that is rounded is an operation."""
    kind = str(node.get_type_name())
    if kind == "Gather" and node.input_value(0).get_node().get_type_name() == _ROUNDS:
        rounded = node.input_value(0).get_node().input_value(0).get_node()
        return str(rounded.get_type_name()) != "Constant"
    return kind in _MOVES


def _rounding_only(model: Any, kept: Collection[str]) -> Any:
    """A copy of a model in which only these nodes round."""
    copy = model.clone()
    for node in copy.get_ordered_ops():
        if node.get_type_name() == _ROUNDS and node.get_friendly_name() not in kept:
            for reader in node.output(0).get_target_inputs():
                reader.replace_source_output(node.input_value(0))
    copy.validate_nodes_and_infer_types()
    return copy


def _outputs(
    model: Any, order: Order, properties: Mapping[str, str], feeds: Sequence[Feeds], *, with_losses: bool = False
) -> Outputs:
    """What a model gives for each feed, without the cache of a decoder."""
    import openvino

    compiled = openvino.Core().compile_model(model, order.device, dict(properties))
    taken = {name for port in compiled.inputs for name in port.names}
    names = [name for name in order.outputs if not holds_cache(name) and _is_float(compiled.output(name))]

    def run(fed: Feeds) -> dict[str, np.ndarray]:
        results = compiled({name: fed[name] for name in taken & fed.keys()})
        return {name: np.array(results[name]) for name in names}

    return [judged(run(fed), fed, with_losses=with_losses) for fed in feeds]


def _is_float(port: Any) -> bool:
    return bool(port.get_element_type().get_type_name() == "f32")


def _facts(chosen: Trial, trials: Sequence[Trial], own: set[str]) -> dict[str, Any]:
    return {
        "in_int8": len(own & _rounders(chosen.model).keys()),
        "in_float": len(chosen.left),
        "left_in_float": sorted(chosen.left),
        "trials": [one.facts for one in trials],
        **_short(chosen.found),
    }


def _short(found: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.6g}") for name, value in found.items()}


def _nothing_holds(trials: Sequence[Trial], subject_to: Mapping[Any, str]) -> CheckFailed:
    wanted = bounds(subject_to)
    best = max(trials, key=lambda one: (sum(b.holds(one.found[b.figure]) for b in wanted), -loss_of(one.found)))
    nearest = all_reached(subject_to, best.found)
    message = f"no mix of int8 and float keeps the bounds; the nearest of {len(trials)} gives {nearest}"
    facts = {"trials": [one.facts for one in trials]}
    return CheckFailed("OBE115", message, notes=[("hint", "loosen the bound, or use `precision: bf16`")], facts=facts)
