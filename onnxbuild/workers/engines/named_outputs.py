"""Outputs of a PyTorch model by name, whatever its config says."""

from __future__ import annotations

from typing import Any

# config.json can ask for tuples, for code that traces a model by itself: `return_dict: false`, `torchscript: true`.
_BY_NAME = {"return_dict": True, "torchscript": False}


def name_outputs(model: Any) -> None:
    """Let a model of transformers, and each of its parts, return its outputs by name."""
    for module in model.modules():
        config = getattr(module, "config", None)
        for entry, value in _BY_NAME.items():
            if config is not None and getattr(config, entry, value) is not value:
                setattr(config, entry, value)
