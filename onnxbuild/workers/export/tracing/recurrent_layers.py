"""Layers whose Python loop over a text tracing unrolls: RWKV and Recurrent Gemma, each as one loop of the graph.

They begin at the first token, without a past: these models keep their state where a graph cannot take it.
"""

from __future__ import annotations

from typing import Any

import torch

from onnxbuild.workers.export.tracing.recurrences import over_tokens

_LEAST = -1e38  # where RWKV's maximum begins


def _weighted_step(state: Any, now: Any) -> tuple[Any, torch.Tensor]:
    """RWKV: an average of the values, whose weights fall with each token. Exponents are relative to their maximum."""
    numerator, denominator, most = state.unbind(dim=0)
    key, value, decay, first = now
    highest = torch.maximum(most, key + first)
    old, new = torch.exp(most - highest), torch.exp(key + first - highest)
    output = (old * numerator + new * value) / (old * denominator + new)
    highest = torch.maximum(most + decay, key)
    old, new = torch.exp(most + decay - highest), torch.exp(key - highest)
    return torch.stack([old * numerator + new * value, old * denominator + new, highest]), output


def rwkv_linear_attention(
    time_decay: Any,
    time_first: Any,
    key: Any,
    value: Any,
    state: Any = None,
    return_state: bool = False,  # noqa: FBT001, FBT002 - as transformers declares it
) -> tuple[Any, Any]:
    """The average of all values so far, for each channel."""
    del state, return_state
    decay, first = ((-torch.exp(time_decay)).expand_as(key), time_first.expand_as(key))
    zeros = torch.zeros_like(key[:, 0], dtype=torch.float32)
    begin = torch.stack([zeros, zeros, zeros + _LEAST])
    outputs, _ = over_tokens(_weighted_step, begin, (key.float(), value.float(), decay.float(), first.float()))
    return outputs.to(key.dtype), None


def _gated_step(state: torch.Tensor, now: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    gate, added = now
    state = state * gate + added
    return state, state.clone()


def rnn_scan(
    self: Any,
    hidden_states: torch.Tensor,
    recurrent_gate: torch.Tensor,
    reset: torch.Tensor,
    recurrent_states: Any = None,
    acc_dtype: torch.dtype = torch.float32,
) -> tuple[torch.Tensor, None]:
    """Recurrent Gemma's linear recurrence; its first token, whose position is 0, resets it."""
    del self, recurrent_states
    added = hidden_states.to(acc_dtype)
    outputs, _ = over_tokens(
        _gated_step, torch.zeros_like(added[:, 0]), ((recurrent_gate * ~reset).to(acc_dtype), added)
    )
    return outputs.to(hidden_states.dtype), None
