"""The graphs of a model to trace, each with inputs that keep every axis dynamic that must be dynamic.

The rows have unequal lengths and are padded as a tokenizer would pad them: without padding the mask is optimized away.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from msgspec import Struct
from transformers.modeling_outputs import BaseModelOutput

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.export.tracing.plain_caches import plain_cache, plain_pair

# torch.export treats 0 and 1 as fixed, and may treat two equal sizes as one axis, so all differ and exceed 1.
_ROWS, _TEXTS, _TOKENS, _PAST, _NEW, _CHOICES, _AUDIO, _FRAMES = 2, 3, 7, 5, 4, 6, 16_000, 170
_PADDING = 2
# Two frames are one, and each bin has its difference from the frame before beside it.
_STACKED = {"granite_speech5_ctc": 4}
_CHARACTERS = 128  # of a model that reads characters, and has no vocabulary

# The outputs of a graph; other outputs of a model (hidden states, nested models) are left out, as optimum does.
_HEADS = ("logits", "start_logits", "end_logits", "logits_per_image", "logits_per_text", "text_embeds", "image_embeds")
_HIDDEN = ("last_hidden_state",)
_SENTENCE = ("token_embeddings", "sentence_embedding")
_FORWARD = (*_HEADS, *_HIDDEN)
_ASKED_FOR = ("router_logits", "attention_mask")
_OWN_CACHE = ("past_key_values.self_attention_cache.", "past_key_values.layers.", "cache_params.layers.")


class Part(Struct, frozen=True, kw_only=True):
    """One graph: the file it goes to, the module, the inputs to trace, and the outputs to keep, by name or prefix."""

    file: str
    model: Any
    inputs: Mapping[str, Any]
    outputs: tuple[str, ...]


def forward_part(model: Any, *, left: bool = False, masks_audio: bool = False, sees: bool = True) -> Part:
    """The whole model in one pass; rows are padded on the `left` for a decoder, and `masks_audio` gives audio a mask.

    A model that `sees` gets pictures where it takes them; without them, it reads texts alone.

    Errors: CheckFailed OBE02 if no input can be made for the model.
    """
    takes = inspect.signature(model.forward).parameters
    inputs = _inputs(model, takes, left=left, sees=sees)
    if "use_cache" in takes:
        inputs["use_cache"] = False
    if "attention_mask" in takes and (length := _masked_length(inputs, masks_audio=masks_audio)):
        inputs["attention_mask"] = _audio_mask(length)
    return Part(file="model.onnx", model=model, inputs=inputs, outputs=_FORWARD)


def _audio_mask(length: int) -> torch.Tensor:
    """A mask that hides half of the first recording."""
    mask = torch.ones((_ROWS, length), dtype=torch.int64)
    mask[0, length // 2 :] = 0
    return mask


def _masked_length(inputs: Mapping[str, Any], *, masks_audio: bool) -> int:
    """How many samples or frames of audio a mask covers; 0 without a mask. Spectra by frame always come with one."""
    if masks_audio and "input_values" in inputs:
        return int(inputs["input_values"].shape[1])
    return _FRAMES if bins_by_frame(inputs) else 0


def bins_by_frame(inputs: Mapping[str, Any]) -> int | None:
    """The size of a frame of a spectrum whose frames come first; None if there is no such spectrum."""
    spectrum = inputs.get("input_features")
    return int(spectrum.shape[2]) if spectrum is not None and spectrum.shape[1] == _FRAMES else None


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
        first = model(input_ids=_ids(model.config, _PAST), attention_mask=mask[:, :_PAST], use_cache=True)
    inputs = {"input_ids": _ids(model.config, _NEW), "attention_mask": mask}
    if "position_ids" in takes:
        inputs["position_ids"] = _positions(mask)[:, _PAST:]
    name = "cache_params" if "cache_params" in takes else "past_key_values"  # as models without attention call it
    inputs |= {name: plain_cache(first.get(name)), "use_cache": True}
    return Part(file="model.onnx", model=model, inputs=inputs, outputs=("logits", *_OWN_CACHE))


def encoder_decoder_parts(model: Any, *, with_past: bool, masks_audio: bool = False) -> list[Part]:
    """The encoder, the decoder's first pass, and its pass with a cache (`with_past`), for any number of new tokens.

    `masks_audio` gives an encoder of audio a mask, where it takes one.
    """
    encoder = _encoder_part(model, masks_audio=masks_audio)
    encoded = _encoded(encoder)
    first = {**encoded, "decoder_input_ids": _ids(model.config, _PAST)}
    cache = ("past_key_values.",) if with_past else ()
    inputs = {**first, "use_cache": with_past}
    decoder = Part(file="decoder_model.onnx", model=model, inputs=inputs, outputs=("logits", *cache))
    return [encoder, decoder, _step_part(model, encoded, first)] if with_past else [encoder, decoder]


def _encoder_part(model: Any, *, masks_audio: bool) -> Part:
    encoder = model.get_encoder()
    takes = inspect.signature(encoder.forward).parameters
    # A composition calls its main input `inputs`, whatever its encoder calls it.
    main = model.main_input_name if model.main_input_name in takes else encoder.main_input_name
    inputs = _inputs(encoder, takes, left=False, config=model.config, main=main, sees=main != "input_ids")
    if masks_audio and main == "input_values" and "attention_mask" in takes:
        inputs["attention_mask"] = _audio_mask(int(inputs[main].shape[1]))
    return Part(file="encoder_model.onnx", model=encoder, inputs=inputs, outputs=_HIDDEN)


def _encoded(encoder: Part) -> dict[str, Any]:
    """What the decoder reads of the encoder: its outputs and, where it took one, its mask."""
    with torch.no_grad():
        encoded = encoder.model(**encoder.inputs)
    # Some decoders ask for what else their encoder returns: its router's logits, or a mask of frames.
    kind = type(encoded) if any(hasattr(encoded, name) for name in _ASKED_FOR) else BaseModelOutput
    mask = {"attention_mask": encoder.inputs["attention_mask"]} if "attention_mask" in encoder.inputs else {}
    return {"encoder_outputs": kind(last_hidden_state=encoded.last_hidden_state), **mask}


def _step_part(model: Any, encoded: Mapping[str, Any], first: Mapping[str, Any]) -> Part:
    """The decoder's pass with the cache that its first pass returns."""
    with torch.no_grad():
        past = model(**first, use_cache=True).past_key_values
    inputs = {**encoded, "decoder_input_ids": _ids(model.config, _NEW), "past_key_values": plain_pair(past)}
    outputs = ("logits", *_OWN_CACHE)
    return Part(file="decoder_with_past_model.onnx", model=model, inputs={**inputs, "use_cache": True}, outputs=outputs)


def _inputs(
    model: Any,
    takes: Mapping[str, Any],
    *,
    left: bool,
    config: Any = None,
    main: str | None = None,
    sees: bool = True,
) -> dict[str, Any]:
    """The inputs of a pass over text, images or audio, or over text and images."""
    config = config or model.config
    main = main or model.main_input_name
    inputs: dict[str, Any] = {}
    takes = takes if sees else {name: one for name, one in takes.items() if name != "pixel_values"}
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
    ids, mask = _ids(config, _TOKENS, rows), _mask(_TOKENS, left=left, rows=rows)
    types = int(getattr(config, "type_vocab_size", 0) or 0)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in takes and types > 1:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    if "bbox" in takes:
        boxes = torch.arange(rows * _TOKENS * 4).reshape(rows, _TOKENS, 4) % 100
        inputs["bbox"] = boxes / 100 if hasattr(config, "bbox_scale") else boxes  # BROS scales shares of the page
    if type(model).__name__.endswith("ForMultipleChoice"):
        inputs = {name: value[:, None].repeat_interleave(_CHOICES, 1) for name, value in inputs.items()}
    if left and "position_ids" in takes:
        inputs["position_ids"] = _positions(mask)
    return inputs


def _ids(config: Any, tokens: int, rows: int = _ROWS) -> torch.Tensor:
    """Ids that differ, without the first few ids, which are special tokens in most vocabularies."""
    vocabulary = int(getattr(config.get_text_config(), "vocab_size", _CHARACTERS))
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
    """Bins by frames for Whisper, whose pictures of sound have one length; frames by bins for all others."""
    bins = getattr(config, "num_mel_bins", None)
    if bins and hasattr(config, "max_source_positions"):
        frames = 2 * int(config.max_source_positions)
        return torch.linspace(-1, 1, _ROWS * bins * frames).reshape(_ROWS, bins, frames)
    bins = _bins(config)
    return torch.linspace(-1, 1, _ROWS * _FRAMES * bins).reshape(_ROWS, _FRAMES, bins)


def _bins(config: Any) -> int:
    names = ("num_mel_bins", "feature_projection_input_dim", "input_feat_per_channel")
    parts = (config, getattr(config, "encoder_config", None))
    found = (getattr(part, name, None) for part in parts for name in names)
    stacked = _STACKED.get(str(getattr(config, "model_type", "")), 1)
    return stacked * int(next((bins for bins in found if bins), 80))


def _audio(_config: Any) -> torch.Tensor:
    return torch.linspace(-1, 1, _ROWS * _AUDIO).reshape(_ROWS, _AUDIO)


_MEDIA: Mapping[str, Callable[[Any], torch.Tensor]] = {
    "pixel_values": _images,
    "input_features": _spectrum,
    "input_values": _audio,
}
