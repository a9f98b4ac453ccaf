"""What a PyTorch model keeps about itself besides its weights, put back before each sample.

Some models change while they compute: BigBird exchanges its attention for good when a text is short, a dynamic rotary
embedding keeps the frequencies of the longest text. The order of samples must not decide what they return.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

_COPIED = (dict, list, set)


class OwnState:
    """The attributes, submodules and buffers of a model as they are now."""

    def __init__(self, model: torch.nn.Module) -> None:
        """Keep them: references to all but small containers, and copies of buffers."""
        self._modules = [(module, _shallow(vars(module))) for module in model.modules()]
        self._buffers = [(one, one._version, one.clone()) for one in model.buffers()]  # noqa: SLF001

    def restore(self) -> None:
        """Put everything back. Submodules that were added are dropped with the attribute that holds them."""
        for module, kept in self._modules:
            now = vars(module)
            now.clear()
            now.update(_shallow(kept))
        for buffer, version, kept in self._buffers:
            if buffer._version != version:  # noqa: SLF001
                buffer.copy_(kept)
        self._buffers = [(one, one._version, kept) for one, _, kept in self._buffers]  # noqa: SLF001


def _shallow(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: copy.copy(value) if isinstance(value, _COPIED) else value for name, value in attributes.items()}
