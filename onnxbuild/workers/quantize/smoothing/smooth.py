"""Smooths the products of a graph before dynamic int8: one vector of scales for each group of products.

An activation is quantized with one range for all channels. Where a few channels are a hundred times larger than the
others, as behind the GELU of a feed-forward block, the others are left with one or two steps. Scales move that size
into the weight, which has a range for each output. Measured on MiniLM in docs/reference/quantize.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from onnx import ModelProto, numpy_helper

from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.calibrate.feeds import Counted, Feeds, calibrating
from onnxbuild.workers.graphs.weights import Content, content_of
from onnxbuild.workers.quantize.quantizers import PRESETS
from onnxbuild.workers.quantize.smoothing.activations import Activation, observe
from onnxbuild.workers.quantize.smoothing.folding import put_scales
from onnxbuild.workers.quantize.smoothing.groups import Group, groups_in
from onnxbuild.workers.quantize.smoothing.scales import STRENGTHS, Choice, choose, fixed

NOT_READ = "no text reaches it"
NOT_FINITE = "its input is not finite"

# What was chosen for each weight of the files before: the two passes of a decoder share their weights, and a merged
# decoder stores equal ones once.
Known = dict[Content, Choice]


def smooth(
    model: ModelProto, params: QuantizeParams, feeds: Callable[[], Iterable[Feeds]], scratch: Path, known: Known
) -> dict[str, Any]:
    """Smooth every group whose error becomes smaller, or with the strength of the params. `model` is changed.

    Facts: `passes` of the graph over text, `strengths` by the first node of a group (None: not smoothed), the mean of
    the groups' errors before and after, how many inverses were folded and how many Muls were added, what was left, by
    reason.
    `auto` is not worth a failure: where the model cannot be run on text, the facts are `skipped`, with the reason.
    """
    groups, left = groups_in(model, params)
    counted = Counted(feeds())
    try:
        activations = _observed(model, groups, counted, scratch)
    except Exception as error:
        if params.smooth != "auto":
            raise
        return {"skipped": str(error)}
    choices, put = _smooth_groups(model, groups, _Search(params, activations, known), left)
    named_left = {why: sorted(names) for why, names in sorted(left.items())}
    return {"passes": counted.count, **_facts(choices), **put, "left": named_left}


class _Search(NamedTuple):
    """What decides on the strength of a group."""

    params: QuantizeParams
    activations: Mapping[str, Activation]
    known: Known


def _smooth_groups(
    model: ModelProto, groups: Iterable[Group], search: _Search, left: dict[str, list[str]]
) -> tuple[dict[str, Choice], Counter[str]]:
    """The choice for each group by the name of its first node, and what was added to the graph. `left` is added to."""
    contents = {tensor.name: content_of(tensor) for tensor in model.graph.initializer if _is_read(tensor.name, groups)}
    choices: dict[str, Choice] = {}
    put: Counter[str] = Counter()
    for group in groups:
        choice = _known(group, contents, search.known) or _chosen(model, group, search)
        if choice is None:
            left.setdefault(_why_not(group, search.activations), []).extend(one.name for one in group.products)
            continue
        choices[group.name] = choice
        search.known.update((contents[weight], choice) for weight in group.weights)
        if choice.strength is not None:
            put.update(put_scales(model, group, choice.scales, per_channel=search.params.per_channel))
    return choices, put


def not_smoothed(facts: Mapping[str, Any]) -> list[str]:
    """A warning for each file in which `smooth: auto` could not run the model, though it reads text."""
    skipped = {name: file.get("smoothing", {}).get("skipped") for name, file in facts["files"].items()}
    return [f"{name} is not smoothed: {why}" for name, why in skipped.items() if why and not why.startswith("OBE59")]


def _observed(
    model: ModelProto, groups: Iterable[Group], feeds: Iterable[Feeds], scratch: Path
) -> dict[str, Activation]:
    with calibrating():
        return observe(model, sorted({name for group in groups for name in group.activations}), feeds, scratch)


def _facts(choices: Mapping[str, Choice]) -> dict[str, Any]:
    errors = {
        "error_before": [choice.plain_error for choice in choices.values()],
        "error_after": [choice.error for choice in choices.values()],
    }
    means = {name: float(f"{np.mean(values):.4g}") for name, values in errors.items() if values}
    return {"strengths": {name: choice.strength for name, choice in choices.items()}, **means}


def _is_read(weight: str, groups: Iterable[Group]) -> bool:
    return any(weight in group.weights for group in groups)


def _known(group: Group, contents: Mapping[str, Content], known: Known) -> Choice | None:
    """What an earlier file chose for all weights of a group; None if it chose nothing or several things for them."""
    found = [known.get(contents[weight]) for weight in group.weights]
    return found[0] if all(one is found[0] for one in found) else None


def _chosen(model: ModelProto, group: Group, search: _Search) -> Choice | None:
    """The choice for a group, None if its activations were not seen or are not numbers."""
    params, activations = search.params, search.activations
    if not all(name in activations and np.isfinite(activations[name].largest).all() for name in group.activations):
        return None
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    weights = {name: numpy_helper.to_array(stored[name]) for name in group.weights}
    signed = PRESETS[params.preset].signed_weights
    if isinstance(params.smooth, float):
        return fixed(group, activations, weights, params.smooth, signed=signed)
    return choose(group, activations, weights, STRENGTHS, signed=signed)


def _why_not(group: Group, activations: Mapping[str, Activation]) -> str:
    return NOT_FINITE if all(name in activations for name in group.activations) else NOT_READ
