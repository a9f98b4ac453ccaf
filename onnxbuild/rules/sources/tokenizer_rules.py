"""The rule that looks for steps that read text, behind a source that is known to have no tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.diagnostics import Diagnostic, fault
from onnxbuild.planning.action_graph import Action, ActionGraph, FilesSource
from onnxbuild.rules.rule import Rule, World, rule
from onnxbuild.steps.quantize import QuantizeParams, each_module
from onnxbuild.tables.checkpoint_files import has_processor
from onnxbuild.tables.tasks import file_role, reads_text_rows

_BESIDE_WEIGHTS = "save a tokenizer beside the weights with `tokenizer.save_pretrained`"

_BESIDE_GRAPHS = "put `tokenizer.json` and `tokenizer_config.json` beside the graphs"


@rule("OB331", "step-needs-tokenizer")
def step_needs_tokenizer(world: World) -> Iterator[Diagnostic]:
    """A step reads text, and the source of its model has no tokenizer.

    Why: the step would fail, but only after the export. Without a tokenizer, a model can be compared and timed on token
    ids. It cannot generate text, read the rows of a dataset, or be calibrated with text.
    Bad:
        models: {m: {source: "random:gpt2", task: text-generation-with-past, targets: [a], generate: {prompts: [b]}}}
    Good:
        models: {m: {source: "random:gpt2", task: text-generation-with-past, targets: [a], benchmark: true}}
    """
    ways = _ways_to_a_tokenizer(world.expansion.graph)
    for action in world.expansion.graph.actions.values():
        way, reading = ways[action.id], _Reading.of(action)
        if way and reading is not None:
            message = f"{reading.what}, and the source of the model has no tokenizer"
            yield fault("OB331", message, span=action.span, hint=f"{way}, or {reading.otherwise}")


class _Reading(Struct, frozen=True):
    """What reads text, and what can be written instead."""

    what: str
    otherwise: str

    @classmethod
    def of(cls, action: Action) -> _Reading | None:
        """The reading of an action; None if it reads no text, or does without."""
        kind, params = action.kind, action.params
        if kind == "generate":
            return cls("`generate` reads text", "remove `generate:`")
        if kind == "benchmark" and "throughput" in params:
            return cls("`throughput` reads texts", "remove `throughput:`")
        if kind == "validate" and params.get("dataset") and _rows_are_text(params):
            return cls("the rows of `dataset` are text", "remove `dataset:`")
        if kind == "quantize":
            return cls._of_quantization(msgspec.convert(params, QuantizeParams))
        calibrates, otherwise = _OF_BACKENDS.get(kind, ({}, ""))
        if otherwise and all(params.get(name) == value for name, value in calibrates.items()):
            return cls("the backend calibrates with text", otherwise)
        return None

    @classmethod
    def _of_quantization(cls, params: QuantizeParams) -> _Reading | None:
        modules = list(each_module(params))
        if any(one.needs_rows or one.searches for one in modules):
            name = next(one.algorithm if one.method == "weight-only" else one.method for one in modules)
            return cls(f"`quantize` with `{name}` reads text", "write `method: dynamic`, which does without")
        if any(one.smooths and one.smooth != "auto" for one in modules):
            return cls("smoothing is measured on text", "remove `smooth:`")
        return None


# By kind: the params with which a backend reads text, and what can be written instead.
_OF_BACKENDS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "compile-openvino": ({"quantize": "int8"}, "use `weights: int8`, which needs no data"),
    "compile-tensorrt": ({"precision": "int8"}, "write `precision: fp16`, which needs no data"),
    "compile-qnn": ({}, "choose another backend"),
}


def _rows_are_text(params: Mapping[str, Any]) -> bool:
    task = params.get("task")
    return reads_text_rows(task) and not file_role(task)


def _ways_to_a_tokenizer(graph: ActionGraph) -> Mapping[str, str]:
    """By action: how its model can get a tokenizer; empty if it has one, or may have one."""
    fetches: dict[str, frozenset[str]] = {}
    for action in graph.actions.values():  # each stands after those that it needs
        above = frozenset[str]().union(*(fetches.get(need, frozenset()) for need in action.needs))
        fetches[action.id] = above | {action.id} if action.kind == "fetch" or "exporter" in action.inputs else above
    ways = {name: _way(action) for name, action in graph.actions.items()}
    return {
        name: next((ways[one] for one in sorted(above)), "") if all(ways[one] for one in above) else ""
        for name, above in fetches.items()
    }


def _way(action: Action) -> str:
    """How a source can get a tokenizer; empty where it has one or that is not known, as of a custom exporter."""
    if action.kind != "fetch":
        return ""
    if action.params.get("origin") == "random":
        architecture, has_one = action.params["architecture"], action.params.get("tokenizer_vocabulary", 0) > 0
        return "" if has_one else f'write `{{random: {architecture}, tokenizer: {{text: "file:FILE"}}}}` as the source'
    files = [name for one in action.inputs.values() if isinstance(one, FilesSource) for name in one.files]
    if not files or has_processor(files):
        return ""
    return _BESIDE_GRAPHS if any(name.endswith(".onnx") for name in files) else _BESIDE_WEIGHTS


RULES: tuple[Rule, ...] = (step_needs_tokenizer,)
