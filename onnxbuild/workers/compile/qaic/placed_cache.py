"""A cache of fixed length: each new key and value is written at the position of its token.

The card keeps the cache from one run to the next, so that the graph takes and returns tensors of one shape. A token
with position -1 is padding. Padding must change nothing, and the ONNX operator ScatterND has no way to skip a write. So
padding writes again what its row writes anyway: the last token of the row, or, in a row of padding alone, the value
that slot 0 has. ScatterND leaves the result open where two writes differ; here they are equal.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

MASKED = -10000.0  # fp16 holds it, and exp() of it is 0 in fp16 and in fp32


class _Scatter(torch.autograd.Function):  # type: ignore[misc]
    """ScatterND as one node. The trace of `index_put` has some fifty nodes per call, for indices of any kind."""

    @staticmethod
    def forward(_context: Any, past: Tensor, places: Tensor, new: Tensor) -> Tensor:
        """The past with `new`, `[batch, heads, tokens, size]`, at `places`, `[batch, heads, tokens, 3]`."""
        return past.index_put(tuple(places.unbind(-1)), new)

    @staticmethod
    def symbolic(graph: Any, past: Any, places: Any, new: Any) -> Any:
        """The node."""
        return graph.op("ScatterND", past, places, new).setType(past.type())


class PlacedCache(Cache):  # type: ignore[misc]
    """The past of all layers, `[rows, heads, ctx_len, head size]` each, and the positions of the new tokens.

    `batch_index`, `[batch, 1]`, names the row of each sequence where the cache has more rows than the batch.
    """

    def __init__(self, past: list[tuple[Tensor, Tensor]], positions: Tensor, batch_index: Tensor | None) -> None:
        """Take over the past; `update` replaces each tensor by one that has the new tokens."""
        super().__init__(layers=[DynamicLayer() for _ in past])
        self.past = list(past)
        self._rows = None if batch_index is None else batch_index[:, 0]
        self._last = positions.to(torch.int32).argmax(1, keepdim=True)
        top = positions.gather(1, self._last)  # [batch, 1]; -1 in a row of padding alone
        self._real, self._has_token = (positions >= 0)[:, None, :, None], (top >= 0)[:, None, :, None]
        slots = torch.where(positions >= 0, positions, top.clamp(min=0))
        self._places = self._places_of(slots, past[0][0].shape[1])

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        layer_idx: int,
        cache_kwargs: dict[str, Any] | None = None,  # noqa: ARG002  (of the interface)
    ) -> tuple[Tensor, Tensor]:
        """Write the new tokens of a layer; return the whole keys and values of the rows in the batch."""
        keys, values = self.past[layer_idx]
        self.past[layer_idx] = self._placed(keys, key_states), self._placed(values, value_states)
        keys, values = self.past[layer_idx]
        return self._of_batch(keys), self._of_batch(values)

    def get_seq_length(self, layer_idx: int = 0) -> int:  # noqa: ARG002  (of the interface)
        """Nothing that was seen is counted: positions come as an input."""
        return 0

    def _places_of(self, slots: Tensor, heads: int) -> Tensor:
        """Where each token of each head goes: row, head and slot."""
        rows = torch.arange(slots.shape[0]) if self._rows is None else self._rows
        shape = (-1, heads, slots.shape[1])
        parts = rows[:, None, None], torch.arange(heads)[None, :, None], slots[:, None, :]
        return torch.stack([part.expand(slots.shape[0], *shape[1:]) for part in parts], -1)

    def _of_batch(self, state: Tensor) -> Tensor:
        return state if self._rows is None else state.index_select(0, self._rows)

    def _placed(self, past: Tensor, new: Tensor) -> Tensor:
        """The past with the new states in their places."""
        last = self._last[:, None, :, None].expand(-1, new.shape[1], -1, new.shape[3])
        padding = torch.where(self._has_token, new.gather(2, last), self._of_batch(past[:, :, :1]))
        return _Scatter.apply(past, self._places, torch.where(self._real, new, padding))


def mask_of(positions: Tensor, context: int, window: int | None) -> Tensor:
    """What each token must not see, `[batch, 1, tokens, context]`: 0 or MASKED, to be added to the scores.

    A token sees the slots up to its own, and with a window only the last `window` of them.
    """
    slots = torch.arange(context)[None, None, None, :]
    own = positions.clamp(min=0)[:, None, :, None]
    seen = slots <= own
    if window is not None:
        seen = seen & (slots > own - window)
    return torch.where(seen, 0.0, MASKED)
