"""The past of a decoder as tensors that a graph can take: keys and values, and the states of layers without attention.

A layer of a sliding window counts what it has seen, and a graph cannot take a counter as an input. Such layers are
traced in full, and the mask hides what the window hides.
"""

from __future__ import annotations

import copy
from typing import Any

from transformers.cache_utils import (
    DummyLayer,
    DynamicCache,
    DynamicIndexedLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    EncoderDecoderCache,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
)

from onnxbuild.protocol import CheckFailed

# A layer of a cache → the one that it is traced as. The states of layers without attention have fixed sizes.
_TRACED_AS = {
    DummyLayer: DummyLayer,  # a layer that keeps nothing, such as one of experts alone
    DynamicLayer: DynamicLayer,
    DynamicSlidingWindowLayer: DynamicLayer,
    DynamicIndexedLayer: DynamicIndexedLayer,
    LinearAttentionLayer: LinearAttentionLayer,
    LinearAttentionAndFullAttentionLayer: LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer: LinearAttentionAndFullAttentionLayer,
}
_OF_WINDOWS = ("sliding_window", "cumulative_length", "_sliding_window_tensor")


def plain_cache(past: Any) -> Any:
    """A cache of which every tensor can be an input. Errors: CheckFailed OBE02 for any other past."""
    layers = [_plain_layer(layer) for layer in getattr(past, "layers", ())]
    if not layers:
        raise _unusable(past)
    cache = DynamicCache()
    cache.layers = layers
    return cache


def plain_pair(past: Any) -> EncoderDecoderCache:
    """The two caches of an encoder-decoder. Errors: CheckFailed OBE02 for any other past."""
    if not isinstance(past, EncoderDecoderCache):
        raise _unusable(past)
    return EncoderDecoderCache(plain_cache(past.self_attention_cache), plain_cache(past.cross_attention_cache))


def _plain_layer(layer: Any) -> Any:
    kind = _TRACED_AS.get(type(layer))
    if kind is None:
        raise _unusable(layer)
    if kind is DynamicLayer:
        return _attention_layer(layer)
    plain = copy.deepcopy(layer)
    plain.__class__ = kind
    for name in _OF_WINDOWS:
        vars(plain).pop(name, None)
    return plain


def _attention_layer(layer: Any) -> DynamicLayer:
    plain = DynamicLayer()
    if layer.keys is not None:  # a layer without it reads those of another one, or is none of attention
        plain.update(layer.keys, layer.values)
    return plain


def _unusable(past: Any) -> CheckFailed:
    kind = "" if past is None else f", but as a {type(past).__name__}"
    return CheckFailed(
        "OBE02",
        f"the model's past is not returned as keys and values that a graph can take{kind}",
        notes=[("hint", "choose another exporter: `onnxbuild compare-exporters` tries each")],
    )
