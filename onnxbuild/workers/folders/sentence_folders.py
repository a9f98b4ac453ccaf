"""Folders that sentence-transformers saved: an embedder with its pooling, or a cross-encoder, which is a classifier."""

from __future__ import annotations

import json
from pathlib import Path


def is_embedder(folder: Path) -> bool:
    """Whether sentence-transformers loads the folder as modules that make one vector of a text."""
    return (folder / "modules.json").is_file() and not is_cross_encoder(folder)


def is_cross_encoder(folder: Path) -> bool:
    """Whether the folder holds a CrossEncoder: since version 5 it has a modules.json too."""
    try:
        config = json.loads((folder / "config_sentence_transformers.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == "CrossEncoder"


def starts_static(folder: Path) -> bool:
    """Whether the first module is a StaticEmbedding, also in a folder of graphs that was exported from one."""
    kinds = module_kinds(folder)
    return kinds[:1] == ["StaticEmbedding"]


def module_kinds(folder: Path) -> list[str]:
    """The classes that modules.json names, in order; none if it cannot be read."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        return [str(one["type"]).rpartition(".")[2] for one in modules]
    except (OSError, ValueError, TypeError, KeyError):
        return []
