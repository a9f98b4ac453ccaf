"""Checkpoints of timm, and of sentence-transformers without a transformer: their config.json names no model type."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from onnxbuild.tables.checkpoint_files import OLD_STATIC

# transformers gives this type to a checkpoint of timm; the other one is ours.
TIMM = "timm_wrapper"
STATIC = "static_embedding"

_MODULES = "modules.json"
# What model2vec writes: the same weights for a class of its own.
_STATIC_TYPES = frozenset({None, "model2vec"})
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def described(config: Mapping[str, Any] | None, files: Collection[str]) -> Mapping[str, Any] | None:
    """The config of a checkpoint, with the model type and the architectures of another library's where it is one.

    `files` are those of the checkpoint. They say that it is a StaticEmbedding, which has no config.json of its own.
    """
    if config is not None and _is_timm(config):
        return {"architectures": [_timm_class(config)], **config, "model_type": TIMM}
    return {**(config or {}), "model_type": STATIC} if _is_static(config, files) else config


def _is_timm(config: Mapping[str, Any]) -> bool:
    return isinstance(config.get("architecture"), str) and config.get("model_type", TIMM) == TIMM


def _timm_class(config: Mapping[str, Any]) -> str:
    """The class of transformers that would load the checkpoint: without classes it has features alone."""
    return "TimmWrapperModel" if classes_of(config) == 0 else "TimmWrapperForImageClassification"


def classes_of(config: Mapping[str, Any]) -> int | None:
    """How many classes timm's config says that the model has."""
    number = config.get("num_classes", pretrained_of(config).get("num_classes"))
    return number if isinstance(number, int) else None


def pretrained_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What timm's config says of the pictures; in old ones it stands at the top."""
    inner = config.get("pretrained_cfg")
    return inner if isinstance(inner, Mapping) else config


def _is_static(config: Mapping[str, Any] | None, files: Collection[str]) -> bool:
    if (config or {}).get("model_type") not in _STATIC_TYPES or _MODULES not in files:
        return False
    return any(
        f"{folder}tokenizer.json" in files and any(f"{folder}{name}" in files for name in _WEIGHTS)
        for folder in ("", f"{OLD_STATIC}/")
    )
