"""What has to be done to a checkpoint before its export, and which checkpoints no exporter reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

from onnxbuild.diagnostics import Diagnostic, Span, fault
from onnxbuild.planning.checkpoints.quantized_weights import unreadable
from onnxbuild.planning.sources import Fetched
from onnxbuild.tables.checkpoint_files import old_folder
from onnxbuild.tables.checkpoints.quantization import Quantized, quantized_of

_OWN = "write `export: {exporter: path/to/file.py:function}` with a function that exports it"


def prepare_params(
    fetched: Fetched, adapter: Fetched | None, quantized: Quantized | None, *, trusts_code: bool
) -> Mapping[str, Any]:
    """The params of `prepare`; all are unset where the checkpoint is exported as it is."""
    return {
        "flatten": True if old_folder(fetched.files or ()) is not None else UNSET,
        "adapter": UNSET if adapter is None else True,
        "unpack": UNSET if quantized is None else quantized.format,
        "trust_remote_code": True if adapter is not None and trusts_code else UNSET,
    }


def refusal(fetched: Fetched, at: Span) -> Diagnostic | None:
    """OB634 or OB636 for a checkpoint whose weights no exporter reads."""
    quantized = quantized_of(fetched.config)
    if quantized is not None and quantized.format is None:
        return unreadable(quantized, at)
    return _of_another_library(fetched, at)


def _of_another_library(fetched: Fetched, at: Span) -> Diagnostic | None:
    """OB636, rather than a fault about a config.json that such a checkpoint never has."""
    if fetched.config is not None or "modules.json" not in (fetched.files or ()):
        return None
    message = "the checkpoint is a sentence-transformer that begins neither with a transformer nor with StaticEmbedding"
    return fault("OB636", message, span=at, hint=f"no exporter reads it: {_OWN}, and `validate: false`")
