"""onnxbuild turns a YAML manifest into exported, optimized, quantized, checked and measured ONNX models.

`load`, `plan` and `run` are the Python interface. They are imported on first use: a run with nothing to do must not pay
for their imports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnxbuild.version import __version__

if TYPE_CHECKING:
    from onnxbuild.api import load, plan, run

__all__ = ["__version__", "load", "plan", "run"]


def __getattr__(name: str) -> Any:
    if name in {"load", "plan", "run"}:
        from onnxbuild import api

        return getattr(api, name)
    raise AttributeError(f"module 'onnxbuild' has no attribute {name!r}")
