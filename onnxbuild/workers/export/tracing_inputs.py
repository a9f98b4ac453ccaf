"""What to trace: the graphs of a model, each with inputs that leave every axis free that must be free.

The rows are of unequal length, padded as a tokenizer would: without padding a mask is optimized away.
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

# None of them is 0 or 1, which torch.export takes for fixed, and no two are equal, which it may take for one axis.
_ROWS, _TEXTS, _TOKENS, _PAST, _NEW, _CHOICES, _SOUND = 2, 3, 7, 5, 4, 6, 16_000
_PADDING = 2

# What a graph gives; a model's other outputs (hidden states, those of nested models) are left out, as optimum does.
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


def forward_part(model: Any, *, left: bool = False, masks_sound: bool = False) -> Part:
    """The whole model in one pass; rows are padded on the `left` for a decoder, sounds get a mask where asked.

    Errors: CheckFailed OBE02 where the model takes what cannot be made up.
    """
    takes = inspect.signature(model.forward).parameters
    inputs = _inputs(model, takes, left=left)
    if "use_cache" in takes:
        inputs["use_cache"] = False
    if masks_sound and "input_values" in inputs and "attention_mask" in takes:
        inputs["attention_mask"] = torch.ones_like(inputs["input_values"], dtype=torch.int64)
        inputs["attention_mask"][0, _SOUND // 2 :] = 0
    return Part(file="model.onnx", model=model, inputs=inputs, outputs=_FORWARD)


class _Sentences(torch.nn.Module):  # type: ignore[misc]
    """A sentence-transformer as a function of tensors: its modules take a mapping, and add to the one they get."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model[0].auto_model.config

    def forward(self, **features: torch.Tensor) -> dict[str, torch.Tensor]:
        found = self.model(features)
        return {name: found[name] for name in _SENTENCE}


def sentence_part(model: Any) -> Part:
    """A SentenceTransformer with its pooling, and whatever follows it, in the graph.

    Errors: CheckFailed OBE02 where its first module is no encoder of text.
    """
    encoder = getattr(model[0], "auto_model", None)
    if encoder is None or encoder.main_input_name != "input_ids":
        raise CheckFailed(
            "OBE02",
            f"the sentence-transformer begins with a {type(model[0]).__name__}, which is no encoder of text",
            notes=[("hint", "write `exporter: path/to/file.py:function` with a function that exports this model")],
        )
    inputs = _inputs(encoder, inspect.signature(encoder.forward).parameters, left=False)
    return Part(file="model.onnx", model=_Sentences(model), inputs=inputs, outputs=_SENTENCE)


def decoder_part(model: Any) -> Part:
    """A decoder with its cache, for any number of new tokens: the prompt's pass is the one with an empty cache."""
    takes = inspect.signature(model.forward).parameters
    mask = _mask(_PAST + _NEW, left=True)
    with torch.no_grad():
        found = model(input_ids=_ids(model, _PAST), attention_mask=mask[:, :_PAST], use_cache=True)
    inputs = {"input_ids": _ids(model, _NEW), "attention_mask": mask}
    if "position_ids" in takes:
        inputs["position_ids"] = _positions(mask)[:, _PAST:]
    inputs |= {"past_key_values": _plain_cache(found.past_key_values), "use_cache": True}
    return Part(file="model.onnx", model=model, inputs=inputs, outputs=("logits", *_OWN_CACHE))


def encoder_decoder_parts(model: Any, *, with_past: bool) -> list[Part]:
    """The encoder, the decoder's first pass, and its pass with a cache (`with_past`), for any number of new tokens."""
    encoder = model.get_encoder()
    reads = inspect.signature(encoder.forward).parameters
    sources = _inputs(encoder, reads, left=False, config=model.config, main=model.main_input_name)
    with torch.no_grad():
        encoded = encoder(**sources).last_hidden_state
    common: dict[str, Any] = {"encoder_outputs": BaseModelOutput(last_hidden_state=encoded)}
    if "attention_mask" in sources:
        common["attention_mask"] = sources["attention_mask"]
    first = {**common, "decoder_input_ids": _ids(model, _PAST)}
    cache = ("past_key_values.",) if with_past else ()
    parts = [
        Part(file="encoder_model.onnx", model=encoder, inputs=sources, outputs=_HIDDEN),
        Part(
            file="decoder_model.onnx",
            model=model,
            inputs={**first, "use_cache": with_past},
            outputs=("logits", *cache),
        ),
    ]
    if with_past:
        with torch.no_grad():
            past = model(**first, use_cache=True).past_key_values
        step = {**common, "decoder_input_ids": _ids(model, _NEW), "past_key_values": _plain_pair(past)}
        outputs = ("logits", *_OWN_CACHE)
        parts.append(
            Part(file="decoder_with_past_model.onnx", model=model, inputs={**step, "use_cache": True}, outputs=outputs)
        )
    return parts


def _inputs(
    model: Any, takes: Mapping[str, Any], *, left: bool, config: Any = None, main: str | None = None
) -> dict[str, Any]:
    """The inputs of a pass over text, pictures or sound, or over text and pictures."""
    config = config or model.config
    main = main or model.main_input_name
    found: dict[str, Any] = {}
    if "input_ids" in takes:
        found |= _text(model, takes, config, left=left)
    for name in ("pixel_values", main):
        if name in takes and name in _MEDIA:
            found[name] = _MEDIA[name](config)
    if main not in found:
        raise CheckFailed(
            "OBE02",
            f"the model's main input `{main}` is of a kind that no input can be made for to trace it with",
            notes=[("hint", "write `exporter: path/to/file.py:function` with a function that exports this model")],
        )
    return found


def _text(model: Any, takes: Mapping[str, Any], config: Any, *, left: bool) -> dict[str, Any]:
    # Texts and pictures of a two-tower model are counted apart, and so have to be traced.
    rows = _TEXTS if "pixel_values" in takes else _ROWS
    ids, mask = _ids(model, _TOKENS, rows), _mask(_TOKENS, left=left, rows=rows)
    types = int(getattr(config, "type_vocab_size", 0) or 0)
    found: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in takes and types > 1:
        found["token_type_ids"] = torch.zeros_like(ids)
    if type(model).__name__.endswith("ForMultipleChoice"):
        found = {name: value[:, None].repeat(1, _CHOICES, 1) for name, value in found.items()}
    if left and "position_ids" in takes:
        found["position_ids"] = _positions(mask)
    return found


def _ids(model: Any, tokens: int, rows: int = _ROWS) -> torch.Tensor:
    """Ids that differ, without the first few, which are special in most vocabularies."""
    vocabulary = int(model.config.get_text_config().vocab_size)
    return (torch.arange(rows * tokens).reshape(rows, tokens) % max(1, vocabulary - 5)) + 4


def _mask(tokens: int, *, left: bool, rows: int = _ROWS) -> torch.Tensor:
    mask = torch.ones(rows, tokens, dtype=torch.int64)
    mask[0, slice(0, _PADDING) if left else slice(tokens - _PADDING, None)] = 0
    return mask


def _positions(mask: torch.Tensor) -> torch.Tensor:
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def _pictures(config: Any) -> torch.Tensor:
    vision = getattr(config, "vision_config", None) or getattr(config, "encoder", None) or config
    size = getattr(vision, "image_size", None) or 224
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return torch.linspace(-1, 1, _ROWS * vision.num_channels * height * width).reshape(_ROWS, -1, height, width)


def _spectrum(config: Any) -> torch.Tensor:
    frames = 2 * int(getattr(config, "max_source_positions", 1500))
    return torch.linspace(-1, 1, _ROWS * config.num_mel_bins * frames).reshape(_ROWS, config.num_mel_bins, frames)


def _sound(_config: Any) -> torch.Tensor:
    return torch.linspace(-1, 1, _ROWS * _SOUND).reshape(_ROWS, _SOUND)


_MEDIA: Mapping[str, Callable[[Any], torch.Tensor]] = {
    "pixel_values": _pictures,
    "input_features": _spectrum,
    "input_values": _sound,
}


def _plain_cache(found: Any) -> DynamicCache:
    """Keys and values of each layer without the counters of sliding windows, which a graph cannot take as inputs.

    The exporter traces such layers in full, too; what the window hides, the mask hides.
    """
    cache = DynamicCache()
    for number, layer in enumerate(getattr(found, "layers", ())):
        if getattr(layer, "keys", None) is None:
            raise _no_such_cache(type(layer).__name__)
        cache.update(layer.keys, layer.values, number)
    if not cache.layers:
        raise _no_such_cache(type(found).__name__)
    return cache


def _plain_pair(found: Any) -> EncoderDecoderCache:
    if not isinstance(found, EncoderDecoderCache):
        raise _no_such_cache(type(found).__name__)
    return EncoderDecoderCache(_plain_cache(found.self_attention_cache), _plain_cache(found.cross_attention_cache))


def _no_such_cache(name: str) -> CheckFailed:
    return CheckFailed(
        "OBE02",
        f"the model keeps its past in a {name}, which has no keys and values to give to a graph",
        notes=[("hint", "export it without a cache: set `task:` without `-with-past`")],
    )
