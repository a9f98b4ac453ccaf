"""Gives graphs of transformers' exporter the names that loaders know: optimum's inputs, outputs and axes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

_CACHE = re.compile(
    r"(?:past_key_values|cache_params)\.(?:(self|cross)_attention_cache\.)?layers\.(\d+)\."
    r"(key|value|indexer_key|conv_state|recurrent_state)s(?:\.(\d+))?"
)
_SIDES: Mapping[str | None, str] = {None: "", "self": "decoder.", "cross": "encoder."}
_SYMBOL = re.compile(r"\b[su]\d+\b")

_TOKENS = ("batch_size", "sequence_length")
_IN_DECODER: Mapping[str, str] = {
    "decoder_input_ids": "input_ids",
    "encoder_outputs.last_hidden_state": "encoder_hidden_states",
    "attention_mask": "encoder_attention_mask",
}
# Names of the dynamic axes, by input. The exporter itself finds sums ("past + new").
_AXES: Mapping[str, tuple[str, ...]] = {
    "input_ids": _TOKENS,
    "position_ids": _TOKENS,
    "token_type_ids": _TOKENS,
    "attention_mask": _TOKENS,
    "encoder_hidden_states": ("batch_size", "encoder_sequence_length"),
    "encoder_attention_mask": ("batch_size", "encoder_sequence_length"),
    "pixel_values": ("batch_size", "num_channels", "height", "width"),
    "input_features": ("batch_size", "feature_size", "encoder_sequence_length"),
    "input_values": _TOKENS,
}


def rename(model: ir.Model, keep: Sequence[str], *, bins: int | None = None) -> None:
    """Give a graph the names of optimum's exports, and drop the outputs that do not start with one of `keep`.

    `bins` is the size of each frame of a spectrum whose frames come first: the exporter leaves it free.
    """
    graph = model.graph
    decoding = any(value.name == "decoder_input_ids" for value in graph.inputs)
    _keep_outputs(graph, keep)
    RemoveUnusedNodesPass()(model)
    for value in list(graph.inputs):
        if not value.uses():
            graph.inputs.remove(value)
    for value in graph.inputs:
        value.name = _input_name(str(value.name), decoding=decoding)
    for value in graph.outputs:
        value.name = _cache_name(str(value.name).removeprefix("output."), "present")
    for values in (graph.inputs, graph.outputs):
        ordered = sorted(values, key=lambda value: _place(str(value.name)))
        values.clear()
        values.extend(ordered)
    _name_axes(graph, bins)


def _keep_outputs(graph: ir.Graph, keep: Sequence[str]) -> None:
    for value in list(graph.outputs):
        name = str(value.name).removeprefix("output.")
        if not any(name == wanted or _is_cache(name, wanted) for wanted in keep):
            graph.outputs.remove(value)


def _is_cache(name: str, wanted: str) -> bool:
    """Whether an output is a key or a value below a prefix; a cache also has the size of a sliding window."""
    return wanted.endswith(".") and name.startswith(wanted) and _CACHE.fullmatch(name) is not None


def _input_name(name: str, *, decoding: bool) -> str:
    name = _cache_name(name.removeprefix("input."), "past_key_values")
    return _IN_DECODER.get(name, name) if decoding else name


def _cache_name(name: str, prefix: str) -> str:
    """`past_key_values.layers.0.keys` as `present.0.key`; a side of an encoder-decoder as `present.0.decoder.key`.

    A layer without attention may have several states, which are numbered from the second on: `present.0.conv_state.1`.
    """
    match = _CACHE.fullmatch(name)
    if match is None:
        return name
    number = f".{match[4]}" if match[4] and match[4] != "0" else ""
    return f"{prefix}.{match[2]}.{_SIDES[match[1]]}{match[3]}{number}"


def _place(name: str) -> tuple[int, list[str]]:
    """The sort key of a value: caches last, layer by layer, because optimum's loaders read them by position."""
    _, _, rest = name.partition(".")
    number, _, part = rest.partition(".")
    is_cache = name.startswith(("past_key_values.", "present.")) and number.isdigit()
    return (int(number) + 1, part.split(".")) if is_cache else (0, [])


def _name_axes(graph: ir.Graph, bins: int | None) -> None:
    """Replace the exporter's symbols (`s43`) by names, in every shape of the graph."""
    names = _fix_bins(graph, bins) | _symbol_names(graph)
    for value in _values(graph):
        if value.shape is not None:
            axes = (_renamed(_dimension(axis), names) for axis in value.shape)
            value.shape = ir.Shape([int(axis) if isinstance(axis, str) and axis.isdigit() else axis for axis in axes])


def _fix_bins(graph: ir.Graph, bins: int | None) -> dict[str, str]:
    """The number of bins by its symbol, and fixed in the input itself."""
    value = next((one for one in graph.inputs if one.name == "input_features"), None)
    if bins is None or value is None or value.shape is None:
        return {}
    *before, last = (_dimension(axis) for axis in value.shape)
    value.shape = ir.Shape([*before, bins])
    return {last: str(bins)} if isinstance(last, str) else {}


def _symbol_names(graph: ir.Graph) -> dict[str, str]:
    has_past = any(str(value.name).startswith("past_key_values.") for value in graph.inputs)
    two_towers = {"input_ids", "pixel_values"} <= {str(value.name) for value in graph.inputs}
    names: dict[str, str] = {}
    for value in graph.inputs:
        for axis, name in zip(value.shape or (), _axes_of(str(value.name), value), strict=False):
            symbol = _dimension(axis)
            if isinstance(symbol, str):
                names.setdefault(symbol, _adapted(name, str(value.name), has_past=has_past, two_towers=two_towers))
    return names


def _axes_of(name: str, value: ir.Value) -> tuple[str, ...]:
    if name.startswith("past_key_values."):
        return _axes_of_past(name)
    axes = _AXES.get(name, tuple(f"{name}_{number}" for number in range(len(value.shape or ()))))
    if name == "input_features" and isinstance(_dimension(value.shape[-1]), int):  # frames come first
        return ("batch_size", "encoder_sequence_length")
    if axes == _TOKENS and len(value.shape or ()) == len(axes) + 1:  # multiple choice
        return (axes[0], "num_choices", *axes[1:])
    return axes


def _axes_of_past(name: str) -> tuple[str, ...]:
    length = "encoder_sequence_length" if ".encoder." in name else "past_sequence_length"
    if name.endswith(".indexer_key"):
        return ("batch_size", length, "head_size")
    # Only the rows of a state are dynamic.
    return ("batch_size",) if "_state" in name else ("batch_size", "num_heads", length, "head_size")


def _adapted(axis: str, name: str, *, has_past: bool, two_towers: bool) -> str:
    if two_towers and axis == "batch_size":
        return "image_batch_size" if name == "pixel_values" else "text_batch_size"
    if has_past and name == "attention_mask" and axis == "sequence_length":
        return "past_sequence_length + sequence_length"
    return axis


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    for node in graph.all_nodes():
        yield from node.outputs


def _dimension(axis: Any) -> int | str | None:
    """A dimension as a number, a symbol or None; the exporter writes some fixed ones as a symbol named `2`."""
    value = axis.value if isinstance(axis, ir.SymbolicDim) else axis
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _renamed(axis: int | str | None, names: Mapping[str, str]) -> int | str | None:
    if not isinstance(axis, str):
        return axis
    return _SYMBOL.sub(lambda symbol: names.get(symbol[0], symbol[0]), axis)
