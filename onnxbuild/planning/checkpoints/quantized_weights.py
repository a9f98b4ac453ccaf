"""Checkpoints with quantized weights that cannot be read: what they are, and what to take instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnxbuild.diagnostics import Diagnostic, Span, fault
from onnxbuild.tables.checkpoints.quantization import Quantized, separate_config


def unreadable(quantized: Quantized, at: Span) -> Diagnostic:
    """OB634 for weights that cannot be written out without loss."""
    plain = f"`source: hub:{quantized.base}`" if quantized.base else "the unquantized model that it was made from"
    hint = f"take {plain}, and quantize it in a target: `quantize: q4`, `q8` or `int8`"
    return fault("OB634", f"the checkpoint is quantized ({quantized.what}): {quantized.why}", span=at, hint=hint)


def described_elsewhere(names: Sequence[str], config: Mapping[str, Any] | None, at: Span) -> Diagnostic | None:
    """OB634 for weights of which only another file than config.json says that they are quantized."""
    file = separate_config(names, config)
    if file is None:
        return None
    message = f"the checkpoint is quantized, which `{file}` says and config.json does not"
    hint = "add its content to config.json as `quantization_config`, with `quant_method`; or take the unquantized model"
    return fault("OB634", message, span=at, hint=hint)
