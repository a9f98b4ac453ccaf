"""`subject_to` of OpenVINO: products in int8, but for as few operations as the bounds need in float.

How much each operation costs in accuracy is measured once, with that operation alone in int8. Then operations are left
in float in the order of their loss, as many as the bounds need, found by doubling and halving.

What is measured is noted, so that a search that was killed measures the rest. An operation is noted by its place in the
graph: OpenVINO invents the names of some, and other ones in another process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.quantizing.bounds_of_search import all_reached, bounds, check_measured
from onnxbuild.workers.compile.openvino.openvino_compiler import Feeds, Noted, Order, find_anew, products_in_int8
from onnxbuild.workers.measuring.output_scores import (
    WORST,
    Outputs,
    fewest,
    holds_cache,
    judged,
    loss_of,
    noted_scores,
    scores,
)

_PROBES = 16  # passes on which the loss of one operation is measured
_EXACT = {"INFERENCE_PRECISION_HINT": "f32"}
_ROUNDS = "FakeQuantize"  # the node of OpenVINO that rounds to integers, between an operation and what it reads
# Nodes that move numbers and compute none: what rounds before them rounds for the operation after them.
_MOVES = frozenset({
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split", "VariadicSplit", "Concat", "StridedSlice", "Slice",
    "Broadcast", "Tile", "Convert", "Gather",
})  # fmt: skip


class Trial(NamedTuple):
    """What a model with some operations in float gives on the rows that judge."""

    left: tuple[str, ...]
    found: Mapping[str, float]
    holds: bool

    @property
    def facts(self) -> dict[str, Any]:
        """The trial as facts: what is in float is counted."""
        return {"in_float": len(self.left), **_short(self.found), "holds": self.holds}


class _Search(NamedTuple):
    """What a search is given. `places`: the place of each operation in the order of the model, by name."""

    model: Any
    places: Mapping[str, int]
    order: Order
    feeds: Sequence[Feeds]
    tell: Callable[[str], Any]
    noted: Noted


class _Trials:
    """Makes trials and keeps them, with the model of the last one that holds."""

    def __init__(self, search: _Search, judges: Sequence[Feeds]) -> None:
        """Measure the model itself. Errors: CheckFailed OBE116 for a bound on what the model does not have."""
        self._search, self._judges = search, judges
        self._subject_to = search.order.settings["subject_to"]
        self._exact = self._judged(search.model, _EXACT)
        self._made: Any = None
        self._held: tuple[tuple[str, ...], Any] | None = None
        self.ended: list[Trial] = []
        check_measured(bounds(self._subject_to), scores(self._exact, self._exact))

    def of(self, names: Sequence[str]) -> Trial:
        """The trial with these operations in float."""
        left, self._made = tuple(names), None
        which = sorted(self._search.places[name] for name in left)
        found = noted_scores(self._search.noted(f"scores without the operations {which}", partial(self._scores, left)))
        holds = all(one.holds(found[one.figure]) for one in bounds(self._subject_to))
        self._held = (left, self._made) if holds else self._held
        self.ended.append(Trial(left, found, holds))
        return self.ended[-1]

    def model_of(self, chosen: Trial) -> Any:
        """The model of a trial. It is made again if the trial was measured before a kill."""
        left, made = self._held or ((), None)
        return made if made is not None and left == chosen.left else self._in_int8(chosen.left)

    def _scores(self, left: tuple[str, ...]) -> dict[str, float]:
        self._search.tell(f"trial {len(self.ended) + 1}: {len(left)} operations in float")
        self._made = self._in_int8(left)
        return scores(self._exact, self._judged(self._made, self._search.order.properties))

    def _in_int8(self, left: tuple[str, ...]) -> Any:
        return products_in_int8(self._search.model, self._search.feeds, self._search.order.settings, left)

    def _judged(self, model: Any, properties: Mapping[str, str]) -> Outputs:
        with_losses = "perplexity_ratio" in self._subject_to
        return _outputs(model, self._search.order, properties, self._judges, with_losses=with_losses)


class _Sensitivity:
    """What it costs to have single operations in int8. The models for it are made once a cost is not known."""

    def __init__(self, search: _Search) -> None:
        self._search = search

    def rounds(self) -> dict[str, int]:
        """How many nodes round what an operation reads, by its place in the graph; without those in float."""
        places = self._search.places
        return {str(places[name]): len(nodes) for name, nodes in self._rounders.items() if name in places}

    def loss(self, name: str) -> float:
        """How far outputs are from those of fp32 with one operation alone in int8."""
        loss = loss_of(scores(self._exact, self._probed(_rounding_only(self._rounded, self._rounders[name]))))
        return loss if math.isfinite(loss) else WORST

    @cached_property
    def _rounded(self) -> Any:
        return products_in_int8(self._search.model, self._search.feeds, self._search.order.settings, packed=False)

    @cached_property
    def _rounders(self) -> dict[str, frozenset[str]]:
        return _rounders(self._rounded)

    @cached_property
    def _exact(self) -> Outputs:
        return self._probed(self._search.model)

    def _probed(self, model: Any) -> Outputs:
        return _outputs(model, self._search.order, _EXACT, self._search.feeds[:_PROBES])


def searched(
    model: Any,
    order: Order,
    feeds: Sequence[Feeds],
    judges: Sequence[Feeds],
    tell: Callable[[str], Any],
    noted: Noted = find_anew,
) -> tuple[Any, dict[str, Any]]:
    """The model with the fewest operations in float that keeps the bounds.

    `noted`: gives what was measured before the search was killed, and keeps what is measured now.
    Facts: `in_int8` counts the products of the result in int8, `left_in_float` names what is not, `trials`, and the
    metrics that are reached.
    Errors: CheckFailed OBE115 if no mix keeps the bounds, OBE116 for a bound on what the model does not have.
    """
    if not feeds or not judges:
        raise CheckFailed("OBE116", "a search needs at least two rows of text: one to measure on, and one to judge by")
    places = {one.get_friendly_name(): place for place, one in enumerate(model.get_ordered_ops())}
    search = _Search(model, places, order, feeds, tell, noted)
    trials = _Trials(search, judges)
    first = trials.of(())
    chosen = first if first.holds else _taking_back(search, trials)
    if chosen is None:
        raise _nothing_holds(trials.ended, order.settings["subject_to"])
    result = trials.model_of(chosen)
    return result, _facts(chosen, result, trials.ended, places.keys())


def _taking_back(search: _Search, trials: _Trials) -> Trial | None:
    """The trial that holds with the fewest operations in float, of which at least one product stays in int8."""
    names = {str(place): name for name, place in search.places.items()}
    costs = _Sensitivity(search)
    rounds = {names[place]: count for place, count in search.noted("nodes that round", costs.rounds).items()}
    ranked = _ranked(rounds, search, costs)
    most = max((place for place, name in enumerate(ranked) if rounds[name] > 1), default=0)
    return fewest(lambda count: trials.of(ranked[:count]), most) if most else None


def _ranked(names: Collection[str], search: _Search, costs: _Sensitivity) -> list[str]:
    """The operations that int8 changes, those first that lose most with that operation alone in int8."""

    def loss(number: int, name: str) -> float:
        search.tell(f"sensitivity of operation {number} of {len(names)}")
        return costs.loss(name)

    losses = {
        name: search.noted(f"loss of the operation {search.places[name]}", partial(loss, number, name))
        for number, name in enumerate(names, 1)
    }
    return sorted(losses, key=lambda name: (-losses[name], name))


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


def _facts(chosen: Trial, model: Any, trials: Sequence[Trial], own: Collection[str]) -> dict[str, Any]:
    return {
        "in_int8": len(_rounders(model).keys() & set(own)),
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
