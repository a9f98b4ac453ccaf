"""The graphs of a model to trace, each with inputs that keep every axis dynamic that must be dynamic.

The rows have unequal lengths and are padded as a tokenizer would pad them: without padding the mask is optimized away.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from msgspec import Struct
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from onnxbuild.protocol import CheckFailed

# torch.export treats 0 and 1 as fixed, and may treat two equal sizes as one axis, so all differ and exceed 1.
_ROWS, _TEXTS, _TOKENS, _PAST, _NEW, _CHOICES, _AUDIO = 2, 3, 7, 5, 4, 6, 16_000
_PADDING = 2

# The outputs of a graph; other outputs of a model (hidden states, nested models) are left out, as optimum does.
_HEADS = ("logits", "start_logits", "end_logits", "logits_per_image", "logits_per_text", "text_embeds", "image_embeds")
_HIDDEN = ("last_hidden_state",)
_SENTENCE = ("token_embeddings", "sentence_embedding")
_FORWARD = (*_HEADS, *_HIDDEN)
_OWN_CACHE = ("past_key_values.self_attention_cache.", "past_key_values.layers.")


class Part(Struct, frozen=True, kw_only=True):
    """One graph: the file it goes to, the module, the inputs to trace, and the outputs to keep, by name or prefix."""

    file: str
    model: Any
    inputs: Mapping[str, Any]
    outputs: tuple[str, ...]


def forward_part(model: Any, *, left: bool = False, masks_audio: bool = False) -> Part:
    """The whole model in one pass; rows are padded on the `left` for a decoder, and `masks_audio` gives audio a mask.

    Errors: CheckFailed OBE02 if no input can be made for the model.
    """
    takes = inspect.signature(model.forward).parameters
    inputs = _inputs(model, takes, left=left)
    if "use_cache" in takes:
        inputs["use_cache"] = False
    if masks_audio and "input_values" in inputs and "attention_mask" in takes:
        inputs["attention_mask"] = torch.ones_like(inputs["input_values"], dtype=torch.int64)
        inputs["attention_mask"][0, _AUDIO // 2 :] = 0
    return Part(file="model.onnx", model=model, inputs=inputs, outputs=_FORWARD)


class _Sentences(torch.nn.Module):  # type: ignore[misc]
    """A sentence-transformer as a function of tensors: its modules take a mapping and add to it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model[0].auto_model.config

    def forward(self, **features: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = self.model(features)
        return {name: outputs[name] for name in _SENTENCE}


def sentence_part(model: Any) -> Part:
    """A SentenceTransformer with its pooling and the modules after it in the graph.

    Errors: CheckFailed OBE02 if its first module is not a text encoder.
    """
    encoder = getattr(model[0], "auto_model", None)
    if encoder is None or encoder.main_input_name != "input_ids":
        raise CheckFailed(
            "OBE02",
            f"the sentence-transformer starts with a {type(model[0]).__name__}, which is not a text encoder",
            notes=[("hint", "write `export: {exporter: path/to/file.py:function}`: a function that exports it")],
        )
    inputs = _inputs(encoder, inspect.signature(encoder.forward).parameters, left=False)
    return Part(file="model.onnx", model=_Sentences(model), inputs=inputs, outputs=_SENTENCE)


def decoder_part(model: Any) -> Part:
    """A decoder with its cache, for any number of new tokens: the pass over the prompt has an empty cache."""
    takes = inspect.signature(model.forward).parameters
    mask = _mask(_PAST + _NEW, left=True)
    with torch.no_grad():
        first = model(input_ids=_ids(model, _PAST), attention_mask=mask[:, :_PAST], use_cache=True)
    inputs = {"input_ids": _ids(model, _NEW), "attention_mask": mask}
    if "position_ids" in takes:
        inputs["position_ids"] = _positions(mask)[:, _PAST:]
    inputs |= {"past_key_values": _plain_cache(first.get("past_key_values")), "use_cache": True}
    return Part(file="model.onnx", model=model, inputs=inputs, outputs=("logits", *_OWN_CACHE))


def encoder_decoder_parts(model: Any, *, with_past: bool) -> list[Part]:
    """The encoder, the decoder's first pass, and its pass with a cache (`with_past`), for any number of new tokens."""
    encoder = _encoder_part(model)
    encoded = _encoded(encoder)
    first = {**encoded, "decoder_input_ids": _ids(model, _PAST)}
    cache = ("past_key_values.",) if with_past else ()
    inputs = {**first, "use_cache": with_past}
    decoder = Part(file="decoder_model.onnx", model=model, inputs=inputs, outputs=("logits", *cache))
    return [encoder, decoder, _step_part(model, encoded, first)] if with_past else [encoder, decoder]


def _encoder_part(model: Any) -> Part:
    encoder = model.get_encoder()
    takes = inspect.signature(encoder.forward).parameters
    inputs = _inputs(encoder, takes, left=False, config=model.config, main=model.main_input_name)
    return Part(file="encoder_model.onnx", model=encoder, inputs=inputs, outputs=_HIDDEN)


def _encoded(encoder: Part) -> dict[str, Any]:
    """What the decoder reads of the encoder: its outputs and, for text, its mask."""
    with torch.no_grad():
        encoded = encoder.model(**encoder.inputs)
    kind = type(encoded) if hasattr(encoded, "router_logits") else BaseModelOutput  # a decoder of experts asks for it
    mask = {"attention_mask": encoder.inputs["attention_mask"]} if "attention_mask" in encoder.inputs else {}
    return {"encoder_outputs": kind(last_hidden_state=encoded.last_hidden_state), **mask}


def _step_part(model: Any, encoded: Mapping[str, Any], first: Mapping[str, Any]) -> Part:
    """The decoder's pass with the cache that its first pass returns."""
    with torch.no_grad():
        past = model(**first, use_cache=True).past_key_values
    inputs = {**encoded, "decoder_input_ids": _ids(model, _NEW), "past_key_values": _plain_pair(past)}
    outputs = ("logits", *_OWN_CACHE)
    return Part(file="decoder_with_past_model.onnx", model=model, inputs={**inputs, "use_cache": True}, outputs=outputs)


def _inputs(
    model: Any, takes: Mapping[str, Any], *, left: bool, config: Any = None, main: str | None = None
) -> dict[str, Any]:
    """The inputs of a pass over text, images or audio, or over text and images."""
    config = config or model.config
    main = main or model.main_input_name
    inputs: dict[str, Any] = {}
    if "input_ids" in takes:
        inputs |= _text(model, takes, config, left=left)
    for name in ("pixel_values", main):
        if name in takes and name in _MEDIA:
            inputs[name] = _MEDIA[name](config)
    if main not in inputs:
        raise CheckFailed(
            "OBE02",
            f"no input can be made to trace the model with, because its main input is `{main}`",
            notes=[("hint", "write `export: {exporter: path/to/file.py:function}`: a function that exports it")],
        )
    return inputs


def _text(model: Any, takes: Mapping[str, Any], config: Any, *, left: bool) -> dict[str, Any]:
    # A two-tower model takes different numbers of texts and images, and must be traced with different numbers.
    rows = _TEXTS if "pixel_values" in takes else _ROWS
    ids, mask = _ids(model, _TOKENS, rows), _mask(_TOKENS, left=left, rows=rows)
    types = int(getattr(config, "type_vocab_size", 0) or 0)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in takes and types > 1:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    if type(model).__name__.endswith("ForMultipleChoice"):
        inputs = {name: value[:, None].repeat(1, _CHOICES, 1) for name, value in inputs.items()}
    if left and "position_ids" in takes:
        inputs["position_ids"] = _positions(mask)
    return inputs


def _ids(model: Any, tokens: int, rows: int = _ROWS) -> torch.Tensor:
    """Ids that differ, without the first few ids, which are special tokens in most vocabularies."""
    vocabulary = int(model.config.get_text_config().vocab_size)
    return (torch.arange(rows * tokens).reshape(rows, tokens) % max(1, vocabulary - 5)) + 4


def _mask(tokens: int, *, left: bool, rows: int = _ROWS) -> torch.Tensor:
    mask = torch.ones(rows, tokens, dtype=torch.int64)
    mask[0, slice(0, _PADDING) if left else slice(tokens - _PADDING, None)] = 0
    return mask


def _positions(mask: torch.Tensor) -> torch.Tensor:
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def _images(config: Any) -> torch.Tensor:
    vision = getattr(config, "vision_config", None) or getattr(config, "encoder", None) or config
    size = getattr(vision, "image_size", None) or 224
    height, width = size if isinstance(size, list | tuple) else (size, size)
    channels = getattr(vision, "num_channels", 3)  # BLIP has no other
    return torch.linspace(-1, 1, _ROWS * channels * height * width).reshape(_ROWS, -1, height, width)


def _spectrum(config: Any) -> torch.Tensor:
    frames = 2 * int(getattr(config, "max_source_positions", 1500))
    return torch.linspace(-1, 1, _ROWS * config.num_mel_bins * frames).reshape(_ROWS, config.num_mel_bins, frames)


def _audio(_config: Any) -> torch.Tensor:
    return torch.linspace(-1, 1, _ROWS * _AUDIO).reshape(_ROWS, _AUDIO)


_MEDIA: Mapping[str, Callable[[Any], torch.Tensor]] = {
    "pixel_values": _images,
    "input_features": _spectrum,
    "input_values": _audio,
}


def _plain_cache(past: Any) -> DynamicCache:
    """Keys and values of each layer without the counters of sliding windows, which a graph cannot take as inputs.

    The exporter traces such layers in full; the mask hides what the window hides.
    """
    cache = DynamicCache()
    for number, layer in enumerate(getattr(past, "layers", ())):
        if getattr(layer, "keys", None) is None:
            raise _unusable_cache(layer)
        cache.update(layer.keys, layer.values, number)
    if not cache.layers:
        raise _unusable_cache(past)
    return cache


def _plain_pair(past: Any) -> EncoderDecoderCache:
    if not isinstance(past, EncoderDecoderCache):
        raise _unusable_cache(past)
    return EncoderDecoderCache(_plain_cache(past.self_attention_cache), _plain_cache(past.cross_attention_cache))


def _unusable_cache(past: Any) -> CheckFailed:
    kind = "" if past is None else f", but as a {type(past).__name__}"
    return CheckFailed(
        "OBE02",
        f"the model's past is not returned as keys and values that a graph can take{kind}",
        notes=[("hint", "choose another exporter: `onnxbuild compare-exporters` tries each")],
    )
