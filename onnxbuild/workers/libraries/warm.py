"""Imports what the next actions of a worker will need, while another worker is busy with an action before them."""

from __future__ import annotations

import contextlib
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from onnxbuild.protocol import Facts, Tell
from onnxbuild.workers.libraries.absent_sklearn import sklearn_hidden

_CONFIG_BYTES = 1 << 20


class WarmParams(Struct, frozen=True, kw_only=True):
    """`modules`: what to import."""

    modules: tuple[str, ...]


def run(params: WarmParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Import the modules, and the one of the model in `inputs`; nobody waits for the result."""
    del outputs, progress
    for module in (*params.modules, *_of_model(inputs)):
        with contextlib.suppress(Exception), sklearn_hidden():  # the action that needs it reports it
            importlib.import_module(module)
    return {}


def _of_model(inputs: Mapping[str, Path]) -> Iterator[str]:
    """The module of transformers that has the classes of the model."""
    with contextlib.suppress(OSError, ValueError, KeyError, AttributeError):
        with open(inputs["model"] / "config.json", encoding="utf-8") as file:
            config: Any = json.loads(file.read(_CONFIG_BYTES))
        kind = str(config.get("model_type")).replace("-", "_")
        if re.fullmatch(r"[a-z0-9_]+", kind):
            yield f"transformers.models.{kind}.modeling_{kind}"
