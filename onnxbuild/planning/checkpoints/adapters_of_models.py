"""Adapters: what `adapter:` stands for, one that was given as the source, and one beside the weights of a source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnxbuild.diagnostics import Diagnostic, Span, fault
from onnxbuild.manifest.spec import Model
from onnxbuild.tables.checkpoints.adapters import CONFIG, base_of, is_merged, kind_of, weights_of

NONE = "none"  # `adapter: none` leaves out an adapter beside the weights


def is_merged_into(model: Model) -> bool:
    """Whether a model names an adapter to merge."""
    return bool(model.adapter) and model.adapter != NONE


def beside_weights(model: Model, names: Sequence[str], at: Span) -> Diagnostic | None:
    """OB632 for an adapter in the folder of the weights that nothing in the manifest speaks of."""
    if model.adapter or weights_of(names) is None:
        return None
    message = f"there is an adapter beside the weights (`{CONFIG}`), which would be left out"
    hint = f"write `adapter: {_spelled(model)}` to merge it into the weights, or `adapter: {NONE}` to leave it out"
    return fault("OB632", message, span=at, hint=hint)


def as_source(written: str, config: Mapping[str, Any] | None, at: Span) -> Diagnostic:
    """OB631 for an adapter where a model was expected."""
    base = base_of(config or {})
    kind = kind_of(config or {}) or "of unknown kind"
    of = f" of `{base}`" if base else ""
    source = f"hub:{base}" if base and not base.startswith((".", "/", "~")) else f"local:{base or '…'}"
    hint = f"name the base model, and merge the adapter into it: `source: {source}` and `adapter: {written}`"
    return fault("OB631", f"`{written}` is an adapter ({kind}{of}), not a model", span=at, hint=hint)


def unusable(model: Model, names: Sequence[str], config: Mapping[str, Any] | None, at: Span) -> Iterator[Diagnostic]:
    """OB633 for what `adapter:` names and cannot be merged; a warning for an adapter of another base model."""
    if weights_of(names) is None:
        message = f"`{model.adapter}` is no adapter: it has no {_lacking(names)}"
        yield fault("OB633", message, span=at, hint="peft writes both files with `model.save_pretrained(folder)`")
        return
    kind = kind_of(config or {})
    if not is_merged(kind):
        message = f"the adapter is of the kind {kind}, which has nothing to merge: it adds to the input of the model"
        yield fault("OB633", message, span=at, hint="peft can merge LoRA and its relatives, and IA3")
    base, source = base_of(config or {}), model.source
    if isinstance(source, str) and source not in {model.adapter, f"hub:{base}"} and _is_another(base, source):
        message = f"the adapter was trained for `{base}`, and the source is `{source}`"
        hint = "merging fails if the sizes differ; if they do not, check what the model says"
        yield fault("OB633", message, span=at, hint=hint, severity="warning")


def without_weights(model: Model) -> Diagnostic:
    """OB633 for an adapter of a source that is ONNX."""
    at = model.block.value_span("adapter")
    hint = "merge it where the ONNX model was exported, or name the checkpoint as the source"
    return fault("OB633", "an adapter cannot be merged into an ONNX model", span=at, hint=hint)


def _lacking(names: Sequence[str]) -> str:
    return f"`{CONFIG}`" if CONFIG not in names else "`adapter_model.safetensors`"


def _is_another(base: str, source: str) -> bool:
    """Whether a base is another repository of the Hub than the source; a folder may be a copy of either."""
    scheme, _, name = source.partition(":")
    is_name = base.count("/") == 1 and not base.startswith((".", "/", "~"))
    return scheme == "hub" and is_name and base.lower() != name.partition("@")[0].lower()


def _spelled(model: Model) -> str:
    return model.source if isinstance(model.source, str) else "local:…"
