"""A step kind whose work takes microseconds, so that a benchmark measures the engine."""

from __future__ import annotations

from onnxbuild.steps.kind import Kind, Params


class ToyParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Append a line. `line`: its text."""

    line: str = ""


TOY = Kind(
    name="toy",
    version=1,
    params=ToyParams,
    inputs={"model": "onnx"},
    outputs={"model": "onnx"},
    worker="onnxbuild_toy.work:run",
    pure=True,  # many actions share a worker, as those of the built-in kinds do
)
