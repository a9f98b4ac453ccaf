"""Shapes of images and audio, and audio of unequal lengths with its mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxbuild.tables.checkpoints.other_libraries import pretrained_of
from onnxbuild.workers.engines.engine import InputSpec
from onnxbuild.workers.folders.processors import processor_of
from onnxbuild.workers.inputs.sample_source import Source

_AUDIO_SAMPLES_PER_TOKEN = 250  # 64 tokens correspond to one second at the sampling rate of speech models
_FRAMES_PER_TOKEN = 4
_SHORTEST_AUDIO = 1000  # fewer than 895 samples are too short for the convolutions of Moonshine, 400 for wav2vec2's
_SHORTEST_FRAMES = 32
_FRAMES_AND_FEATURES = 2  # axes after the batch

# Inputs without text that an `attention_mask` hides in part. Their second axis is time, or the patches of a picture.
_MASKED = ("input_values", "input_features", "flattened_patches")


def media_shape(source: Source, name: str, spec: InputSpec, sequence: int) -> tuple[int, ...] | None:
    """Dimensions of an image or audio without the batch: the graph's where they are fixed, else the configs'.

    Audio is as long as text of `sequence` tokens would be. None for an input that is neither image nor audio.
    """
    fixed = spec.shape[1:]
    known = _known_shapes(source, sequence) | _by_frames(source, fixed, sequence)
    if name not in known or len(known[name]) != len(fixed):
        return None
    return tuple(f if isinstance(f, int) else k for f, k in zip(fixed, known[name], strict=True))


def _known_shapes(source: Source, sequence: int) -> dict[str, tuple[int, ...]]:
    vision = vision_part(source.config)
    side = picture_size(source)
    frames = 2 * int(source.config.get("max_source_positions", 1500))
    return {
        "pixel_values": (int(vision.get("num_channels", 3)), *side),
        "pixel_mask": side,
        "input_features": (int(source.config.get("num_mel_bins", 80)), frames),
        "input_values": (_samples(source, sequence),),
    }


def _samples(source: Source, sequence: int) -> int:
    """Samples of audio, in whole frames where the model reads it by frames of so many milliseconds (Moonshine's)."""
    samples = max(_SHORTEST_AUDIO, _AUDIO_SAMPLES_PER_TOKEN * sequence)
    encoder = source.config.get("encoder_config") or {}
    frame = round(float(encoder.get("sample_rate", 0)) * float(encoder.get("frame_ms", 0)) / 1000)
    return samples - samples % frame if frame else samples


def _by_frames(source: Source, fixed: tuple[int | str, ...], sequence: int) -> dict[str, tuple[int, ...]]:
    """Shapes of spectra whose frames come before their features, which a graph fixes: speech_to_text's, AST's."""
    if len(fixed) != _FRAMES_AND_FEATURES:
        return {}
    frames = source.config.get("max_length")
    spectrum = (int(frames or 0) or 1024, int(source.config.get("num_mel_bins", 128)))
    shapes: dict[str, tuple[int, ...]] = {"input_values": spectrum}
    if takes_frames(fixed):
        shapes["input_features"] = (max(_SHORTEST_FRAMES, _FRAMES_PER_TOKEN * sequence), int(fixed[1]))
    return shapes


def takes_frames(fixed: tuple[int | str, ...]) -> bool:
    """Whether the axes after the batch are any number of frames, each with a fixed number of features."""
    return len(fixed) == _FRAMES_AND_FEATURES and isinstance(fixed[0], str) and isinstance(fixed[1], int)


def vision_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes pictures."""
    return {**config, **(config.get("encoder") or {}), **(config.get("vision_config") or {}), **_of_timm(config)}


def _of_timm(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pictures of timm's config, in the words of transformers."""
    size = pretrained_of(config).get("input_size") if isinstance(config.get("architecture"), str) else None
    return {} if size is None else {"num_channels": size[0], "image_size": list(size[1:])}


def picture_size(source: Source) -> tuple[int, int]:
    """Height and width of the source's pictures: its own choice, or what the config and the processor name."""
    if source.picture_size is not None:
        return source.picture_size
    vision = vision_part(source.config)
    processor = processor_of(source.folder)
    size = processor.get("crop_size") or processor.get("size") or vision.get("image_size") or 224
    if "image_size" in vision:
        size = vision["image_size"]
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge", 224)
        return int(size.get("height", edge)), int(size.get("width", edge))
    return (int(size[0]), int(size[1])) if isinstance(size, list) else (int(size), int(size))


def padded_media(feeds: Mapping[str, np.ndarray], shares: Sequence[float]) -> dict[str, np.ndarray]:
    """Audio, or patches, cut to a share of their length in each row, with the mask, which PyTorch needs in any case.

    No row is shorter than what the convolutions can read. Nothing if the feeds have neither.
    """
    name = next((one for one in _MASKED if one in feeds), None)
    if name is None:
        return {}
    values = feeds[name]
    longest, shortest = values.shape[1], _SHORTEST_AUDIO if values.ndim == 2 else _SHORTEST_FRAMES  # noqa: PLR2004
    lengths = np.clip(np.asarray(shares) * longest, min(shortest, longest), longest).astype(np.int64)
    mask = (np.arange(longest)[None] < lengths[:, None]).astype(np.int64)
    hidden = mask.reshape(*mask.shape, *[1] * (values.ndim - mask.ndim))
    return {name: values * hidden.astype(values.dtype), "attention_mask": mask}
