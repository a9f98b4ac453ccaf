"""ImageGPT without a cache: transformers 4.57 adds None to its positions, and raises TypeError."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

Forward = Callable[..., Any]


def counting(own: Forward) -> Forward:
    """The method `forward` of ImageGPTModel with the positions that it has with an empty cache: from 0 on."""
    import torch

    @functools.wraps(own)
    def forward(self: Any, input_ids: Any = None, past_key_values: Any = None, *rest: Any, **given: Any) -> Any:
        if past_key_values is None and not rest and given.get("position_ids") is None and input_ids is not None:
            given["position_ids"] = torch.arange(input_ids.shape[-1], device=input_ids.device)[None]
        return own(self, input_ids, past_key_values, *rest, **given)

    return forward


def count_positions(model: Any) -> None:
    """Let a loaded model run without a cache; any other type than ImageGPT stays as it is."""
    for module in model.modules() if getattr(model.config, "model_type", "") == "imagegpt" else ():
        if type(module).__name__ == "ImageGPTModel":
            module.forward = counting(type(module).forward).__get__(module)
