"""Inputs for a graph from the names, types and shapes that it declares, and a config: odd, padded, seeded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

ROWS = 3
_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32,
          "tensor(float16)": np.float16, "tensor(bool)": np.bool_, "tensor(double)": np.float64}  # fmt: skip
_WORDS = ("input_ids", "decoder_input_ids")


class Size(NamedTuple):
    """How large the inputs are: tokens of the longest row, samples of sound, rows."""

    tokens: int
    samples: int
    rows: int = ROWS


def feeds_for(inputs: list[Any], config: Mapping[str, Any], size: Size) -> dict[str, np.ndarray]:
    """A value for each input. Rows after the first are padded on the right where the graph takes a mask."""
    if any(entry.name == "input_values" and len(entry.shape) == 2 for entry in inputs):
        # Whole frames, where the model reads sound by them.
        part = config.get("encoder_config") or {}
        frame = round(part.get("sample_rate", 0) * part.get("frame_ms", 0) / 1000) or 1
        samples = size.samples - size.samples % frame
        size = size._replace(tokens=samples, samples=samples)  # the mask of a recording counts its samples
    if any(entry.name == "input_features" for entry in inputs) and config.get("model_type") != "whisper":
        size = size._replace(tokens=size.samples // 50)  # frames: some convolutions take no fewer than 30
    random = np.random.default_rng(size.tokens)
    masked = any("mask" in entry.name for entry in inputs)
    feeds = {entry.name: _value(entry, config, size, random, masked=masked) for entry in inputs}
    return _with_places_of_pictures(feeds, config)


def _with_places_of_pictures(feeds: dict[str, np.ndarray], config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The tokens that a picture replaces, before the words, where the config says how many they are."""
    part = config.get("vlm_config") or {}
    count = (part.get("vision_config") or {}).get("num_image_tokens")
    if count is None or "pixel_values" not in feeds:
        return feeds
    before = {"input_ids": part["image_token_index"], "attention_mask": 1}
    return {name: np.pad(value, ((0, 0), (count, 0)), constant_values=before[name]) if name in before else value
            for name, value in feeds.items()}  # fmt: skip


def lengths(size: Size, *, masked: bool = True) -> np.ndarray:
    """How many tokens of each row count."""
    shares = (1.0, 0.6, 0.35)[: size.rows]
    return np.array([max(2, int(size.tokens * share)) if masked else size.tokens for share in shares])


def mask_of(size: Size, *, masked: bool = True) -> np.ndarray:
    """1 for the tokens that count, 0 for padding on the right."""
    return (np.arange(size.tokens)[None] < lengths(size, masked=masked)[:, None]).astype(np.int64)


def words(size: Size, config: Mapping[str, Any], random: np.random.Generator) -> np.ndarray:
    """Token ids, without the special ones."""
    return random.integers(6, vocabulary(config), (size.rows, size.tokens))


def vocabulary(config: Mapping[str, Any]) -> int:
    """The number of tokens; small enough for every part of a config."""
    parts = [config, *(value for value in config.values() if isinstance(value, dict))]
    return min([part["vocab_size"] for part in parts if isinstance(part.get("vocab_size"), int)] or [300])


def points_for(config: Mapping[str, Any], size: Size) -> dict[str, np.ndarray]:
    """Points of pictures that say what to cut out (two masks each), and whether they are inside of it."""
    random = np.random.default_rng(size.tokens)
    count = 1 + size.tokens % 4
    places = random.uniform(0, _picture(config, -1), (size.rows, 2, count, 2)).astype(np.float32)
    return {"input_points": places, "input_labels": random.integers(0, 2, (size.rows, 2, count))}


def _value(entry: Any, config: Mapping[str, Any], size: Size, random: np.random.Generator, *, masked: bool) -> Any:
    name, kind = entry.name, _TYPES[entry.type]
    if name in _WORDS:
        ids = words(size, config, random)
        if masked and name == "input_ids":
            ids = np.where(mask_of(size) == 1, ids, pad_of(config))
        return _ended(ids, config, size, masked=masked).astype(kind)
    shape = [_extent(axis, place, name, config, size) for place, axis in enumerate(entry.shape)]
    if name.endswith("attention_mask") and len(shape) == 2:
        return _mask(shape, size).astype(kind)
    if name.endswith("token_type_ids"):
        kinds = max(1, min(2, config.get("type_vocab_size") or 1))
        return np.broadcast_to((np.arange(shape[-1]) >= shape[-1] // 2) * (kinds - 1), shape).astype(kind)
    return _other(name, shape, kind, random)


def _other(name: str, shape: list[int], kind: Any, random: np.random.Generator) -> Any:
    if name == "position_ids":
        return np.broadcast_to(np.arange(shape[-1]), shape).astype(kind)
    if name == "bbox":
        return _boxes(shape, random).astype(kind)
    if name == "flattened_patches":
        return _patches(shape, random).astype(kind)
    if "mask" in name or kind is np.bool_:
        return np.ones(shape, kind)
    if np.issubdtype(kind, np.integer):
        return random.integers(0, 4, shape).astype(kind)
    return random.standard_normal(shape).astype(kind)


def _ended(ids: np.ndarray, config: Mapping[str, Any], size: Size, *, masked: bool) -> np.ndarray:
    """With the end token last in each row: models of two towers read the vector there."""
    end = config.get("eos_token_id") or (config.get("text_config") or {}).get("eos_token_id")
    if isinstance(end, int) and "text_config" in config:
        ids[np.arange(len(ids)), lengths(size, masked=masked)[: len(ids)] - 1] = end
    return ids


def pad_of(config: Mapping[str, Any]) -> int:
    """The id of padding."""
    return config.get("pad_token_id") or 0


def _mask(shape: list[int], size: Size) -> np.ndarray:
    counted = np.ceil(lengths(size) / size.tokens * shape[1]).astype(int)
    return (np.arange(shape[1])[None] < counted[: shape[0], None]).astype(np.int64)


def _patches(shape: list[int], random: np.random.Generator) -> np.ndarray:
    """Rows and columns from 1 on, then pixels."""
    values = random.standard_normal(shape)
    values[..., :2] = random.integers(1, 9, (*shape[:-1], 2))
    return values


def _boxes(shape: list[int], random: np.random.Generator) -> np.ndarray:
    first, extent = random.integers(0, 500, (*shape[:-1], 2)), random.integers(1, 450, (*shape[:-1], 2))
    return np.concatenate([first, first + extent], axis=-1)


def _extent(axis: Any, place: int, name: str, config: Mapping[str, Any], size: Size) -> int:
    """The size of an axis: the graph's own number, or what its name, its place and the config say."""
    if isinstance(axis, int):
        return axis
    if place == 0:
        return size.rows
    named = "context_length" if name == "past_values" else axis  # or the name of a size, such as `max_depth`
    if isinstance(config.get(named), int):
        return int(config[named])
    if name == "pixel_values":
        return _picture(config, place - 4) if place > 1 else 3
    return _sound(place, name, config, size) if name in {"input_values", "input_features"} else size.tokens


def _sound(place: int, name: str, config: Mapping[str, Any], size: Size) -> int:
    if config.get("model_type") == "audio-spectrogram-transformer":
        return config["max_length" if place == 1 else "num_mel_bins"]
    if name == "input_features":
        parts = (config, config.get("encoder_config") or {})
        bins = next((part["num_mel_bins"] for part in parts if part.get("num_mel_bins")), None)
        bins = bins or config.get("input_feat_per_channel") or 80
        frames = 2 * config["max_source_positions"] if config.get("model_type") == "whisper" else size.tokens
        is_bins = place == (1 if config.get("model_type") == "whisper" else 2)
        return bins if is_bins else frames
    return size.samples


def _picture(config: Mapping[str, Any], axis: int) -> int:
    """The size along an axis, -2 for the height and -1 for the width."""
    for part in (config, config.get("vision_config") or {}, config.get("encoder") or {}):
        size = part.get("image_size", part.get("input_size"))
        if isinstance(size, int | list):
            return size[axis] if isinstance(size, list) else size
    return 64
