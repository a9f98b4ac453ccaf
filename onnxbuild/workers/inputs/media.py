"""Shapes of images and audio, and audio of unequal lengths with its mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxbuild.workers.engines.engine import InputSpec
from onnxbuild.workers.folders.processors import processor_of
from onnxbuild.workers.inputs.sample_source import Source

_AUDIO_SAMPLES_PER_TOKEN = 250  # 64 tokens correspond to one second at the sampling rate of speech models
_SHORTEST_AUDIO = 800  # from fewer than 400 samples the convolutions of wav2vec2 compute nothing


def media_shape(source: Source, name: str, spec: InputSpec, sequence: int) -> tuple[int, ...] | None:
    """Dimensions of an image or audio without the batch: the graph's where they are fixed, else the configs'.

    Audio is as long as text of `sequence` tokens would be. None for an input that is neither image nor audio.
    """
    known = _known_shapes(source, sequence)
    if name not in known:
        return None
    fixed = spec.shape[1:]
    return tuple(f if isinstance(f, int) else k for f, k in zip(fixed, known[name], strict=True))


def _known_shapes(source: Source, sequence: int) -> Mapping[str, tuple[int, ...]]:
    vision = vision_part(source.config)
    side = picture_size(source)
    frames = 2 * int(source.config.get("max_source_positions", 1500))
    return {
        "pixel_values": (int(vision.get("num_channels", 3)), *side),
        "pixel_mask": side,
        "input_features": (int(source.config.get("num_mel_bins", 80)), frames),
        "input_values": (max(_SHORTEST_AUDIO, _AUDIO_SAMPLES_PER_TOKEN * sequence),),
    }


def vision_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes pictures."""
    return {**config, **(config.get("encoder") or {}), **(config.get("vision_config") or {})}


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


def padded_audio(audio: np.ndarray, shares: Sequence[float]) -> dict[str, np.ndarray]:
    """Audio cut to a share of its length in each row, with the mask, which PyTorch needs even where an export did not.

    No row is shorter than what the convolutions can read.
    """
    longest = audio.shape[1]
    lengths = np.maximum(_SHORTEST_AUDIO, np.asarray(shares) * longest).astype(np.int64)
    mask = (np.arange(longest)[None] < lengths[:, None]).astype(np.int64)
    return {"input_values": audio * mask.astype(audio.dtype), "attention_mask": mask}
