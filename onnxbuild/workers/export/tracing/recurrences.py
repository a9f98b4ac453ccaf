"""Layers that read a text token by token, as one loop of the graph (`Scan`) instead of one that tracing unrolls.

transformers computes them in chunks, or in a Python loop. Tracing fixes the number of chunks at that of the sample:
such a graph is right up to one chunk, and wrong or broken beyond it. The functions here are called as those that they
stand for, and follow each recurrence step by step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everyone calls it
from torch._higher_order_ops.scan import scan
from transformers.cache_utils import Cache

_TOKENS = 1  # the axis of tokens, after that of rows


@contextmanager
def as_loops(model: torch.nn.Module) -> Iterator[None]:
    """Let the layers of a model compute with the functions of this module for the duration of the block."""
    modules = {sys.modules[type(one).__module__] for one in model.modules()}
    places = [(module, name) for module in modules for name in _LOOPS if hasattr(module, name)]
    places = [*places, (Cache, "get_recurrent_state")] if places else []
    before = [(place, name, getattr(place, name)) for place, name in places]
    for place, name, function in before:
        setattr(place, name, _LOOPS[name] if name in _LOOPS else _remembering(function))
    try:
        yield
    finally:
        for place, name, function in before:
            setattr(place, name, function)
        _remembered.clear()


# The state that a layer asked for last. `mamba_selective_scan` is not handed it, although it must begin with it.
_remembered: dict[str, Any] = {}


def _remembering(function: Callable[..., Any]) -> Callable[..., Any]:
    def get_recurrent_state(*args: Any, **kwargs: Any) -> Any:
        _remembered["state"] = function(*args, **kwargs)
        return _remembered["state"]

    return get_recurrent_state


def over_tokens(step: Callable[..., Any], state: torch.Tensor, values: tuple[torch.Tensor, ...]) -> tuple[Any, Any]:
    """The output of every token, and the last state; `values` have the tokens in their second axis."""
    last, outputs = scan(step, state, tuple(value.transpose(0, _TOKENS).contiguous() for value in values), dim=0)
    return outputs.transpose(0, _TOKENS), last


def _delta_step(state: torch.Tensor, now: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    query, key, value, decay, beta = now
    state = state * decay
    known = (state * key[..., None]).sum(dim=-2)
    state = state + key[..., None] * ((value - known) * beta)[..., None, :]
    return state, (state * query[..., None]).sum(dim=-2)


def gated_delta_rule(
    query: Any,
    key: Any,
    value: Any,
    g: Any,
    beta: Any,
    *,
    initial_state: Any = None,
    output_final_state: bool = False,
    use_qk_l2norm_in_kernel: bool = False,
    **_: Any,
) -> tuple[Any, Any]:
    """The gated delta rule, with one decay per head, or one per head and channel of the keys."""
    dtype, heads = query.dtype, value.shape[-2]
    query, key = (one.repeat_interleave(heads // one.shape[2], dim=2) for one in (query, key))
    query, key, value, g, beta = (one.float() for one in (query, key, value, g, beta))
    if use_qk_l2norm_in_kernel:
        query, key = (one * torch.rsqrt((one * one).sum(dim=-1, keepdim=True) + 1e-6) for one in (query, key))
    query = query * query.shape[-1] ** -0.5
    decay = g.exp()[..., None] if g.ndim == key.ndim else g.exp()[..., None, None]
    if initial_state is None:
        initial_state = value.new_zeros((value.shape[0], heads, key.shape[-1], value.shape[-1]))
    outputs, last = over_tokens(_delta_step, initial_state.to(value), (query, key, value, decay, beta[..., None]))
    return outputs.to(dtype), last if output_final_state else None


def _state_step(state: torch.Tensor, now: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    decay, added, read = now
    state = state * decay + added
    return state, (state * read).sum(dim=-1)


def mamba2_chunk_scan(
    hidden_states: Any,
    dt: Any,
    A: Any,  # noqa: N803
    B: Any,  # noqa: N803
    C: Any,  # noqa: N803
    chunk_size: int = 0,  # noqa: ARG001 - there are no chunks
    *,
    D: Any = None,  # noqa: N803
    dt_bias: Any = None,
    initial_states: Any = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    return_final_states: bool = False,
    **_: Any,
) -> Any:
    """Mamba 2: one decay per head."""
    rows, _length, heads, width = hidden_states.shape
    dt = torch.clamp(_step_sizes(dt, dt_bias, softplus=dt_softplus), min=dt_limit[0], max=dt_limit[1]).float()
    hidden = hidden_states.float()
    B, C = (one.float().repeat_interleave(heads // one.shape[2], dim=2) for one in (B, C))  # noqa: N806
    added = (hidden * dt[..., None])[..., None] * B[..., None, :]
    state = added.new_zeros((rows, heads, width, B.shape[-1])) if initial_states is None else initial_states.to(added)
    decay = (A.float() * dt).exp()[..., None, None]
    outputs, last = over_tokens(_state_step, state, (decay, added, C[..., None, :]))
    outputs = outputs if D is None else outputs + D[:, None] * hidden
    return (outputs, last) if return_final_states else outputs


def mamba_selective_scan(
    hidden_states: Any,
    dt: Any,
    A: Any,  # noqa: N803
    B: Any,  # noqa: N803
    C: Any,  # noqa: N803
    *,
    D: Any = None,  # noqa: N803
    z: Any = None,
    delta_bias: Any = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    **_: Any,
) -> Any:
    """Mamba: one decay per channel. Channels come before tokens here."""
    bias = None if delta_bias is None else delta_bias[:, None]
    dt = _step_sizes(dt, bias, softplus=delta_softplus).float().transpose(1, 2)
    hidden = hidden_states.transpose(1, 2).float()
    B, C = B.transpose(1, 2).float(), C.transpose(1, 2).float()  # noqa: N806
    added = (dt * hidden)[..., None] * B[:, :, None]
    state = _remembered.pop("state", None)
    state = added.new_zeros((added.shape[0], *added.shape[2:])) if state is None else state.to(added)
    outputs, last = over_tokens(_state_step, state, ((dt[..., None] * A).exp(), added, C[:, :, None]))
    outputs = outputs.transpose(1, 2).to(hidden_states.dtype)
    outputs = outputs if D is None else outputs + hidden_states * D[None, :, None]
    outputs = outputs if z is None else outputs * F.silu(z)
    return (outputs, last) if return_last_state else outputs


def _step_sizes(dt: Any, bias: Any, *, softplus: bool) -> Any:
    dt = dt if bias is None else dt + bias.to(dt.dtype)
    return F.softplus(dt) if softplus else dt


# The names of transformers' functions → those that stand for them.
_LOOPS: Mapping[str, Callable[..., Any]] = {
    "torch_chunk_gated_delta_rule": gated_delta_rule,
    "chunk_kimi_delta_attention": gated_delta_rule,
    "mamba2_chunk_scan": mamba2_chunk_scan,
    "mamba_selective_scan": mamba_selective_scan,
}
