"""Functions of models that torch.export cannot trace, or freezes at its sample, stated so that it can.

Each computes what the function of transformers 5.23 computes that it stands for: experts as a sum over all of them,
where transformers calls those that some token chose; rotations in real numbers; a mask and patches for any size.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from onnxbuild.workers.export.tracing.recurrent_layers import rnn_scan, rwkv_linear_attention


@contextmanager
def restated(model: torch.nn.Module) -> Iterator[None]:
    """Let the parts of a model compute with the functions of this module for the duration of the block."""
    places = list(dict.fromkeys(_places(model)))
    before = [(place, name, getattr(place, name)) for place, name, _ in places]
    for place, name, function in places:
        setattr(place, name, function)
    try:
        yield
    finally:
        for place, name, function in before:
            setattr(place, name, function)


def _places(model: torch.nn.Module) -> Iterator[tuple[Any, str, Callable[..., Any]]]:
    for kind in {type(one) for one in model.modules()}:
        for name, function in _METHODS.get(kind.__name__, {}).items():
            yield kind, name, function
        if kind.__name__.endswith("PatchEmbeddings") and hasattr(kind, "maybe_pad"):
            yield kind, "maybe_pad", _padded_to_patches
        for name, function in _FUNCTIONS.get(kind.__name__, {}).items():
            yield sys.modules[kind.__module__], name, function


def _dbrx_experts(self: Any, hidden: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    tokens, mlp = hidden.reshape(-1, self.hidden_size), self.mlp
    stacks = [one.view(-1, self.ffn_hidden_size, self.hidden_size) for one in (mlp.w1, mlp.v1, mlp.w2)]
    parts = [
        mlp(tokens, *(stack[expert] for stack in stacks)) * _share(expert, chosen, weights)
        for expert in range(self.num_experts)
    ]
    return torch.stack(parts).sum(dim=0).view(hidden.shape[0], -1, self.hidden_size)


def _filter_experts(
    self: Any, hidden_states: torch.Tensor, router_indices: Any = None, routing_weights: Any = None
) -> torch.Tensor:
    tokens = hidden_states.float()
    parts = []
    for expert in range(self.num_experts):
        gated = self._apply_gate(tokens @ self.gate_up_proj[expert].float() + self.gate_up_proj_bias[expert].float())
        out = gated.float() @ self.down_proj[expert].float() + self.down_proj_bias[expert].float()
        parts.append(out * _share(expert, router_indices, routing_weights.float()))
    return torch.stack(parts).sum(dim=0).to(hidden_states.dtype)


def _longcat_experts(
    self: Any, hidden_states: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor
) -> torch.Tensor:
    """The experts without weights, after the others, hand on what they get."""
    idle = top_k_index >= (self.num_routed_experts if self.gate_up_proj is not None else 0)
    handed_on = torch.where(idle, top_k_weights, torch.zeros_like(top_k_weights)).sum(dim=-1, keepdim=True)
    total = hidden_states * handed_on
    for expert in range(self.num_routed_experts):
        gate, up = torch.nn.functional.linear(hidden_states, self.gate_up_proj[expert]).chunk(2, dim=-1)
        out = torch.nn.functional.linear(self.act_fn(gate) * up, self.down_proj[expert])
        total = total + out * _share(expert, top_k_index, top_k_weights)
    return total.to(hidden_states.dtype)


def _switch_experts(
    self: Any, hidden_states: torch.Tensor, selected_experts: torch.Tensor, routing_weights: torch.Tensor
) -> torch.Tensor:
    """`selected_experts` [tokens, 1, experts] is 1 for the expert of a token, unless that has no room left."""
    shares = (selected_experts * routing_weights[:, :, None]).sum(dim=1)
    parts = [self[f"expert_{expert}"](hidden_states) * shares[:, expert, None] for expert in range(self.num_experts)]
    return torch.stack(parts).sum(dim=0).to(hidden_states.dtype)


def _share(expert: int, chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The weight of an expert for each token [tokens, 1]: zero where the token did not choose it."""
    return torch.where(chosen == expert, weights, torch.zeros_like(weights)).sum(dim=-1, keepdim=True)


def _angles(self: Any, x: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
    """Cosines and sines in the last axis, where transformers has complex numbers."""
    angles = position_ids[..., None].float() * self.inv_freq.to(device=x.device, dtype=torch.float)
    return torch.stack([angles.cos(), angles.sin()], dim=-1) * self.attention_scaling


def _rotated(xq: torch.Tensor, xk: torch.Tensor, freqs_cis: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return _rotate(xq, freqs_cis), _rotate(xk, freqs_cis)


def _rotate(heads: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    cosines, sines = angles[:, :, None].unbind(dim=-1)
    real, imaginary = heads.float().unflatten(-1, (-1, 2)).unbind(dim=-1)
    turned = (real * cosines - imaginary * sines, real * sines + imaginary * cosines)
    return torch.stack(turned, dim=-1).flatten(3).type_as(heads)


def _padded_to_patches(self: Any, pixel_values: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Whole patches, of a picture of any size: transformers decides whether there is a rest, and tracing keeps that."""
    rows, columns = self.patch_size
    return torch.nn.functional.pad(pixel_values, (0, -width % columns, 0, -height % rows))


def _cpm_mask(
    self: Any, input_ids: torch.Tensor, span: torch.Tensor, context: torch.Tensor, length: torch.Tensor
) -> torch.Tensor:
    """Prompt, then text padded on the left; `span` has one value, and `context` is 1 for every token."""
    del span, context
    rows, tokens = input_ids.shape
    from_the_end = tokens - 1 - torch.arange(tokens, device=input_ids.device)
    counts = (from_the_end[None] < length[:, None]) | (from_the_end[None] >= tokens - self.prompt_length)
    return counts.view(rows, tokens, 1) & counts.view(rows, 1, tokens)


_METHODS: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "DbrxExperts": {"forward": _dbrx_experts},
    "LongcatFlashExperts": {"forward": _longcat_experts},
    "OpenAIPrivacyFilterExperts": {"forward": _filter_experts},
    "SwitchTransformersExperts": {"forward": _switch_experts},
    "Llama4TextRotaryEmbedding": {"forward": _angles},
    "CpmAntModel": {"_prepare_attention_mask": _cpm_mask},
    "RecurrentGemmaRglru": {"_rnn_scan": rnn_scan},
}
# Functions beside a class.
_FUNCTIONS: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "Llama4TextRotaryEmbedding": {"apply_rotary_emb": _rotated},
    "RwkvSelfAttention": {"rwkv_linear_attention": rwkv_linear_attention},
}
