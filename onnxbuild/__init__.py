"""onnxbuild: a YAML manifest becomes exported, optimized, quantized, checked and measured ONNX models.

`load`, `plan` and `run` are the Python interface; they are imported when they are first used, since a run with
nothing to do must not pay for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxbuild.commands.python import load, plan, run

__version__ = "0.1.0"
__all__ = ["__version__", "load", "plan", "run"]


def __getattr__(name: str) -> Any:
    if name in {"load", "plan", "run"}:
        from onnxbuild.commands import python

        return getattr(python, name)
    raise AttributeError(f"module 'onnxbuild' has no attribute {name!r}")
