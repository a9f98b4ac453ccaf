"""A checkpoint of timm, loaded by timm itself: its logits, or its features."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from msgspec import Struct

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.checkpoints.other_libraries import TIMM
from onnxbuild.tables.tasks import IMAGE_CLASSES
from onnxbuild.workers.engines.loading import some_of
from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.folders.other_checkpoints import type_of

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


class Opened(Struct, frozen=True, kw_only=True):
    """A loaded model as a function of `pixel_values`, the shape of one picture, and the keys that it has no place for.

    The outputs have the names that transformers gives them.
    """

    model: Any
    picture: tuple[int, int, int]
    unknown: tuple[str, ...]


def is_timm(folder: Path) -> bool:
    """Whether timm loads a folder."""
    return type_of(folder) == TIMM


def open_timm(folder: Path, task: str) -> Opened:
    """The model of a folder for a task. Errors: CheckFailed OBE16, OBE83 for missing weights, OBE103 from timm."""
    import timm
    from timm.models import load_checkpoint

    path = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise CheckFailed("OBE16", f"the checkpoint of timm has no {_WEIGHTS[0]}")
    try:
        model = _untrained(folder)
        keys = load_checkpoint(model, str(path), strict=False)
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError, AssertionError) as error:
        raise _unloadable(error) from error
    if keys.missing_keys:
        message = f"the checkpoint lacks {some_of(keys.missing_keys)} of its architecture in timm {timm.__version__}"
        raise CheckFailed("OBE83", message)
    picture = tuple(int(size) for size in model.pretrained_cfg["input_size"])
    return Opened(model=_for_task(model, task), picture=picture, unknown=tuple(keys.unexpected_keys))  # type: ignore[arg-type]


def _untrained(folder: Path) -> Any:
    """The model that config.json describes. timm itself would adapt or leave out weights that do not fit."""
    import timm

    # transformers writes null for what is not set, which timm does not expect.
    written = {name: value for name, value in read_config(folder).items() if value is not None}
    with TemporaryDirectory(prefix="onnxbuild-timm-") as scratch:
        (Path(scratch) / "config.json").write_text(json.dumps(written), encoding="utf-8")
        return timm.create_model(f"local-dir:{scratch}", pretrained=False)


def _unloadable(error: Exception) -> CheckFailed:
    lines = [line.strip() for line in str(error).strip().splitlines()] or [""]
    hint = "name a toolchain with the version of timm that the checkpoint was saved with, or a later one"
    notes = [*(("cause", line) for line in lines[1:2]), ("hint", hint)]
    return CheckFailed("OBE103", f"timm cannot load the checkpoint: {lines[0]}", notes=notes)


def _for_task(model: Any, task: str) -> Any:
    model = model.float().eval()
    if task != IMAGE_CLASSES:
        model.reset_classifier(0)
        return _Features(model)
    if not model.num_classes:
        hint = "`task: feature-extraction` exports its features"
        raise CheckFailed("OBE83", "the checkpoint has no classes: `num_classes` is 0", notes=[("hint", hint)])
    return _Classes(model)


class _Classes(torch.nn.Module):  # type: ignore[misc]
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.model(pixel_values)}


class _Features(_Classes):
    """What comes before the classes: for each place of the picture, and pooled."""

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.model.forward_features(pixel_values)
        return {"last_hidden_state": features, "pooler_output": self.model.forward_head(features)}
