"""The model families that onnxbuild itself writes for Qualcomm Cloud AI 100."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct


class DecoderFamily(Struct, frozen=True):
    """A family of decoders. `masks_by_type`: its model takes one mask for each type of layer."""

    name: str
    masks_by_type: bool = False


# By `model_type`. Each is tested token by token against PyTorch.
DECODERS: Mapping[str, DecoderFamily] = {
    "gpt2": DecoderFamily("GPT-2"),
    "llama": DecoderFamily("Llama"),
    "mistral": DecoderFamily("Mistral"),
    "qwen3": DecoderFamily("Qwen3", masks_by_type=True),
    "gemma3_text": DecoderFamily("Gemma 3", masks_by_type=True),
}

# By `model_type`: encoders that return one vector per token, of which the pooling makes one per text.
ENCODERS = frozenset({"bert", "roberta", "xlm-roberta", "mpnet", "distilbert"})

# Rotary positions that are computed anew for each length: a graph of one length has only one of them.
_VARYING = frozenset({"dynamic", "longrope"})


def rope_that_varies(config: Mapping[str, Any]) -> str | None:
    """The type of rotary positions of a config if they depend on the length of the text, else None."""
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = scaling.get("rope_type", scaling.get("type")) if isinstance(scaling, Mapping) else None
    return kind if kind in _VARYING else None
