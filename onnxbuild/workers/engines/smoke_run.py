"""The check after a step: does the graph load, and does it run, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from onnxbuild.protocol import CheckFailed

# The length of a dynamic axis when a graph runs once: 2, because broadcasting would hide mistakes with 1.
_DYNAMIC_AXIS = 2
_FRAMES = 200  # of a spectrum of any length: more than convolutions and their strides take

_NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


def open_for_check(path: Path, *, optimize: bool = False, threads: int = 0) -> Any:
    """A CPU session on the model at `path`; graph optimization, which takes longest, only with `optimize`.

    Weights are not packed for speed: that needs the memory of a second copy, and a check runs once.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.disable_prepacking", "1")
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_once(path: Path, config: Mapping[str, Any]) -> None:
    """Load the model as a user would, and run it once on synthetic inputs. Errors: CheckFailed OBE06 for NaN or Inf."""
    session = open_for_check(path, optimize=True)
    results = session.run(None, sample_feeds(session, config))
    for value, result in zip(session.get_outputs(), results, strict=True):
        if np.issubdtype(result.dtype, np.floating) and not np.isfinite(result).all():
            raise CheckFailed("OBE06", f"{path.name}: output `{value.name}` contains NaN or infinity")


def check_still_runs(before: Path, after: Path, config: Mapping[str, Any]) -> bool:
    """Run the result of a step; returns whether it could be run at all.

    A graph from another exporter may not accept these synthetic inputs. If the step's input fails on them too, that
    says nothing about the result, which is then only loaded. Errors: what `run_once` raises.
    """
    try:
        run_once(after, config)
    except Exception:
        try:
            run_once(before, config)
        except Exception:  # noqa: BLE001 - whatever fails, the step did not cause it
            open_for_check(after, optimize=True)
            return False
        raise
    return True


def sample_feeds(session: Any, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Synthetic inputs for one run: ids of 0, masks of 1, black images; all dynamic axes have one small length."""
    return {value.name: _sample(value, config) for value in session.get_inputs()}


def _sample(value: Any, config: Mapping[str, Any]) -> np.ndarray:
    kind = _NUMPY_TYPES.get(value.type)
    if kind is None:
        raise CheckFailed("OBE37", f"input `{value.name}` has the type {value.type}, for which no sample can be made")
    shape = [_axis(axis, value.name, config) for axis in value.shape]
    # Token id 0 and position 0 always exist; a mask of ones hides nothing; a cache of zeros is finite.
    filled = np.ones if "mask" in value.name else np.zeros
    return filled(shape, dtype=kind)


def _axis(axis: object, name: str, config: Mapping[str, Any]) -> int:
    """The length of one axis: fixed by the graph or the config, or the sum of its parts ("past + sequence")."""
    if isinstance(axis, int):
        return axis
    fixed = _fixed_axes(config)
    if (name, str(axis)) in fixed:
        return fixed[name, str(axis)]
    parts = [part.strip() for part in str(axis).split("+")]
    return sum(int(part) if part.isdigit() else _DYNAMIC_AXIS for part in parts)


def _fixed_axes(config: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """Axes that are dynamic in the graph and fixed in the model: images and spectrograms have one size."""
    vision = config.get("vision_config") or config.get("encoder") or config
    image = int(vision.get("image_size") or 224)
    # Only Whisper's spectra have one length; those that come frame by frame have any.
    frames = 2 * int(config.get("max_source_positions") or 1500) if "num_mel_bins" in config else _FRAMES
    channels = int(vision.get("num_channels") or 3)
    return {
        ("pixel_values", "num_channels"): channels,
        ("pixel_values", "height"): image,
        ("pixel_values", "width"): image,
        ("input_features", "feature_size"): int(config.get("num_mel_bins") or 80),
        ("input_features", "encoder_sequence_length"): frames,
        ("input_values", "sequence_length"): 16000,
    }
