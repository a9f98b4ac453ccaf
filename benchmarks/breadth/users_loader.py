"""Greedy text through optimum's classes, as users open a delivered folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from greedy import STEPS

try:
    from optimum import onnxruntime as optimum_onnxruntime
except ImportError:  # optimum-onnx excludes transformers 5
    optimum_onnxruntime = None


def loads_and_writes(kind: str, folder: Path, prompt: Mapping[str, torch.Tensor], tokens: np.ndarray) -> str:
    """Empty if the class of that name writes the same tokens as PyTorch, or is not installed; else what happened."""
    if optimum_onnxruntime is None:
        return ""
    try:
        model = getattr(optimum_onnxruntime, kind).from_pretrained(folder, local_files_only=True)
        # Called as PyTorch is: without a dictionary, Whisper's answer lacks its first tokens.
        written = model.generate(
            **prompt, do_sample=False, num_beams=1, max_new_tokens=STEPS, min_new_tokens=STEPS, output_logits=True,
            return_dict_in_generate=True,
        ).sequences  # fmt: skip
    except Exception as error:  # noqa: BLE001 - a limit of the loader is reported, not raised
        return f"{kind} fails: {type(error).__name__}: {error}"[:200]
    if np.array_equal(written.numpy(), tokens):
        return ""
    return f"{kind} writes other tokens"
