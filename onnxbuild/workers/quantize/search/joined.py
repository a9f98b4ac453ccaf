"""The graphs of an encoder-decoder as one graph, so that a search has one bound over the whole model.

The encoder's states feed the decoder, and the decoder's cache feeds the decoder with past: what a quantized encoder
gets wrong reaches the logits, as it does when the model generates. After the search each file gets its part back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from onnx import ModelProto, compose, helper

from onnxbuild.workers.calibrate.feeds import Feeds
from onnxbuild.workers.graphs.nodes import remove_dead_nodes, replace_messages, replace_nodes
from onnxbuild.workers.graphs.walk import opset_of
from onnxbuild.workers.graphs.weights import Content, content_of, drop_unused_weights
from onnxbuild.workers.measuring.output_scores import OF_FILE
from onnxbuild.workers.quantize.search.mixed import Part, weight_of

_STATES, _CACHE = "encoder_hidden_states", "past_key_values."


class Joined(NamedTuple):
    """The graph of all files. `links`: inputs of files (with their prefix) that are outputs of an earlier one."""

    model: ModelProto
    files: tuple[str, ...]  # in the order in which they run
    links: Mapping[str, str]


def joined(models: Mapping[str, ModelProto]) -> Joined | None:
    """The graphs of files as one; None if a file reads nothing of those that run before it: they are several models."""
    if len({opset_of(model) for model in models.values()}) > 1:
        return None
    files = tuple(sorted(models, key=lambda name: _place(models[name])))
    links = dict(_links(models, files))
    if any(not any(one.startswith(_prefix(file)) for one in links) for file in files[1:]):
        return None
    whole = compose.add_prefix(models[files[0]], _prefix(files[0]))
    for file in files[1:]:
        _append(whole, compose.add_prefix(models[file], _prefix(file)), links)
    return Joined(whole, files, links)


def _prefix(file: str) -> str:
    return f"{file}{OF_FILE}"


def _place(model: ModelProto) -> tuple[bool, bool]:
    """The encoder runs first, then the decoder without a cache, then the one with it."""
    names = [value.name for value in model.graph.input]
    return any(name.startswith(_CACHE) for name in names), _STATES in names


def _links(models: Mapping[str, ModelProto], files: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    made: dict[str, str] = {}
    for file in files:
        for value in models[file].graph.input:
            source = made.get(value.name)
            if source is not None:
                yield f"{_prefix(file)}{value.name}", source
        for value in models[file].graph.output:
            name = _STATES if value.name == "last_hidden_state" else value.name.replace("present.", _CACHE, 1)
            made.setdefault(name, f"{_prefix(file)}{value.name}")


def _append(whole: ModelProto, part: ModelProto, links: Mapping[str, str]) -> None:
    """Add a graph whose links read what the graphs before it return."""
    for value in part.graph.input:
        if value.name in links:
            whole.graph.node.append(helper.make_node("Identity", [links[value.name]], [value.name], name=value.name))
        else:
            whole.graph.input.append(value)
    whole.graph.node.extend(part.graph.node)
    whole.graph.initializer.extend(part.graph.initializer)
    whole.graph.output.extend(part.graph.output)
    whole.graph.value_info.extend(part.graph.value_info)
    known = {one.domain for one in whole.opset_import}
    whole.opset_import.extend(one for one in part.opset_import if one.domain not in known)


def joined_feeds(one: Joined, feeds: Callable[[str], Iterable[Feeds]]) -> Iterator[Feeds]:
    """What the graph of all files is fed for each text: what each file is fed, without the links."""
    for together in zip(*(feeds(file) for file in one.files), strict=True):
        named = {
            f"{_prefix(file)}{name}": value
            for file, fed in zip(one.files, together, strict=True)
            for name, value in fed.items()
        }
        yield {name: value for name, value in named.items() if name not in one.links}


def split(model: ModelProto, file: str, original: ModelProto) -> ModelProto:
    """The part of a changed graph that belongs to a file, with the names and the interface that the file had."""
    prefix = _prefix(file)
    given = {f"{prefix}{value.name}" for value in original.graph.input}
    found = ModelProto()
    found.CopyFrom(model)
    replace_nodes(found.graph, [node for node in found.graph.node if given.isdisjoint(node.output)])
    replace_messages(found.graph.output, [one for one in model.graph.output if one.name.startswith(prefix)])
    remove_dead_nodes(found)
    drop_unused_weights(found)
    _rename(found, prefix)
    for field in ("input", "output", "value_info"):
        replace_messages(getattr(found.graph, field), getattr(original.graph, field))
    found.graph.name = original.graph.name
    return found


def _rename(model: ModelProto, prefix: str) -> None:
    """Take the name of the file off every name in a graph."""
    for node in model.graph.node:
        node.name = node.name.replace(prefix, "")
        for names in (node.input, node.output):
            names[:] = [name.replace(prefix, "") for name in names]
    for tensor in model.graph.initializer:
        tensor.name = tensor.name.replace(prefix, "")


def of_file(file: str, names: Iterable[str]) -> list[str]:
    """The names that belong to a file, without its name."""
    prefix = _prefix(file)
    return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]


def in_file(file: str, name: str) -> str:
    """The name of a node of a file in the graph of all files."""
    return f"{_prefix(file)}{name}"


def twins(model: ModelProto, parts: Iterable[Part]) -> list[Part]:
    """The parts, each with the nodes of other files that have the same weight: both decoders hold most of them."""
    contents = {tensor.name: content_of(tensor) for tensor in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}
    groups: dict[tuple[str, Content], list[Part]] = {}
    for part in parts:
        groups.setdefault((part.operator, contents[weight_of(nodes[part.name])]), []).append(part)
    return [same[0]._replace(twins=tuple(other.name for other in same[1:])) for same in groups.values()]
