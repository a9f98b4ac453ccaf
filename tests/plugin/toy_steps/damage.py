"""The worker of `damage`: one element of the largest weight of a real export is made wrong."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from toy_steps import DamageParams


def run(params: DamageParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], tell: Any) -> Mapping[str, Any]:
    for path in inputs["model"].iterdir():
        if path.is_file():
            shutil.copyfile(path, outputs["model"] / path.name)
    model = onnx.load(inputs["model"] / "model.onnx")
    biases = [one for one in model.graph.initializer if len(one.dims) == 1 and one.dims[0] >= 16]
    weight = biases[-1]
    values = numpy_helper.to_array(weight).copy()
    values[np.argmax(np.abs(values))] += np.float32(params.factor)
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, outputs["model"] / "model.onnx")
    return {"weight": weight.name}
