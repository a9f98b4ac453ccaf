"""A stand-in for `triton_python_backend_utils`, which only Triton itself has: enough to run the tokenizer's code.

It is not Triton. What it cannot show: how Triton loads the code, and how it passes tensors between models.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

_NAME = "triton_python_backend_utils"


class Tensor:
    """A named array."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        """The name of the tensor."""
        return self._name

    def as_numpy(self) -> np.ndarray:
        """Its values."""
        return self._array


class TritonError(Exception):
    """What a model answers instead of tensors."""


class InferenceResponse:
    """The answer to one request."""

    def __init__(self, output_tensors: Sequence[Tensor] = (), error: TritonError | None = None) -> None:
        self.tensors, self.error = output_tensors, error


def _get_input_tensor_by_name(request: Mapping[str, Tensor], name: str) -> Tensor | None:
    return request.get(name)


def run_python_model(version: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `model.py` of a version returns for one request. Errors: whatever its code raises; TritonError."""
    had = sys.modules.get(_NAME)
    sys.modules[_NAME] = _stand_in()
    try:
        scope: dict[str, Any] = {"__name__": "onnxbuild_triton_model"}
        path = version / "model.py"
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), scope)  # noqa: S102 - the package's own code
        model = scope["TritonPythonModel"]()
        place = {"model_repository": str(version.parent), "model_version": version.name, "model_config": json.dumps({})}
        model.initialize(place)
        (response,) = model.execute([{name: Tensor(name, array) for name, array in inputs.items()}])
    finally:
        sys.modules.pop(_NAME)
        if had is not None:
            sys.modules[_NAME] = had
    if response.error is not None:
        raise response.error
    return {one.name(): one.as_numpy() for one in response.tensors}


def _stand_in() -> ModuleType:
    module: Any = ModuleType(_NAME)
    module.Tensor, module.TritonError, module.InferenceResponse = Tensor, TritonError, InferenceResponse
    module.get_input_tensor_by_name = _get_input_tensor_by_name
    return module  # type: ignore[no-any-return]
