"""What a PyTorch decoder is handed besides tokens, where that is more than keys and values or a hidden state.

If its past is more than keys and values, a step starts from the tokens so far.
Graphs and transformers lay out the states of such layers (convolutions, linear attention) differently. The tokens are
the same for both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput, ModelOutput

from onnxbuild.workers.engines.engine import PAST_IDS

_CACHES = ("past_key_values", "cache_params")
_KEYS_ONLY = frozenset({"full_attention", "sliding_attention", "chunked_attention", "attention"})
# transformers 5.23 bounds Zamba2's time steps from below in a pass over a text, and not in a step on its cache. In
# float64, the scores of the two differ by up to 0.04 (of 15); a graph has the bound everywhere, and is 4e-5 from the
# pass over all tokens.
_OTHER_STEPS = frozenset({"zamba2"})
_LAYERS = ("layer_types", "layers_block_type", "block_types")


@dataclass
class _Encoded(BaseModelOutput):  # type: ignore[misc]
    """What an encoder returns; some decoders of audio ask for a mask of its frames."""

    attention_mask: Any = None


@dataclass
class _Routed(ModelOutput):  # type: ignore[misc]
    """What an encoder of experts returns."""

    last_hidden_state: Any = None
    hidden_states: Any = None
    attentions: Any = None
    router_logits: Any = None
    router_probs: Any = None


def encoded_as(model: Any, hidden: Any) -> Any:
    """The output of an encoder as the decoder takes it: one of experts asks for more of it by name."""
    kind = _Routed if hasattr(model.config, "num_experts") else _Encoded
    return kind(last_hidden_state=hidden)


def keeps_states(model: Any, takes: set[str]) -> bool:
    """Whether a layer of a decoder keeps anything besides keys and values."""
    config = model.config.get_text_config(decoder=True)
    kinds = next((found for name in _LAYERS if (found := getattr(config, name, None))), ())
    return "past_key_values" not in takes or not set(kinds) <= _KEYS_ONLY


def contradicts_itself(model: Any) -> bool:
    """Whether PyTorch's step on a cache computes something else than its pass over all tokens."""
    return getattr(model.config, "model_type", "") in _OTHER_STEPS


def read_on(
    call: Callable[..., Any], takes: set[str], tensors: Mapping[str, Any], *, at_once: bool = False
) -> Callable[[], Any]:
    """A call that runs new tokens: on a cache of the tokens so far, or on all tokens at once, if asked or with padding.

    Layers without attention take no mask in a step, so padding is right only where all tokens are read at once.
    """
    if PAST_IDS not in tensors:
        fed = {name: value for name, value in tensors.items() if name in takes}
        return lambda: call(**fed, use_cache=False)
    if bool(tensors["attention_mask"].all()) and not at_once:
        return _on_cache(call, takes, tensors)
    return _on_all(call, takes, tensors)


def _on_cache(call: Callable[..., Any], takes: set[str], tensors: Mapping[str, Any]) -> Callable[[], Any]:
    with torch.inference_mode():
        before = call(input_ids=tensors[PAST_IDS], use_cache=True)
    name = next((name for name in _CACHES if before.get(name) is not None), None)
    step = {"input_ids": tensors["input_ids"], "use_cache": True}
    if name is None:  # it keeps its states in its own modules
        return lambda: call(**step)
    # transformers counts the tokens so far in the first layer of a cache, which knows nothing if it has no attention.
    mask = tensors["attention_mask"]
    known = {"attention_mask": mask, "position_ids": (mask.cumsum(dim=1) - 1)[:, -tensors["input_ids"].shape[1] :]}
    step |= {one: value for one, value in known.items() if one in takes}
    return lambda: call(**step, **{name: copy.deepcopy(before[name])})


def _on_all(call: Callable[..., Any], takes: set[str], tensors: Mapping[str, Any]) -> Callable[[], Any]:
    new, mask = tensors["input_ids"], tensors["attention_mask"]
    fed = {"input_ids": torch.cat([tensors[PAST_IDS], new], dim=1), "attention_mask": mask, "use_cache": False}
    if "position_ids" in takes and "position_ids" in tensors:
        fed["position_ids"] = (mask.cumsum(dim=1) - 1).clamp(min=0)
    return lambda: {"logits": call(**fed)["logits"][:, -new.shape[1] :]}
