"""onnxbuild: a YAML manifest becomes exported, optimized, quantized, checked and measured ONNX models.

`load`, `plan` and `run` are the Python interface; they are imported when they are first used, since a run with
nothing to do must not pay for them.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import onnxbuild.plan as _plan_package  # an empty package: what it holds is imported where it is used

if TYPE_CHECKING:
    from onnxbuild.commands.python import load, plan, run

__version__ = "0.1.0"
__all__ = ["__version__", "load", "plan", "run"]


class _Plan(ModuleType):
    """The package `onnxbuild.plan`, which is also the function: a package of that name would hide it otherwise."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call `onnxbuild.commands.python.plan`."""
        from onnxbuild.commands.python import plan as function

        return function(*arguments, **named)

    @property
    def __signature__(self) -> Any:
        """That function's, for `help` and `inspect.signature`."""
        import inspect

        from onnxbuild.commands.python import plan as function

        return inspect.signature(function)


sys.modules[_plan_package.__name__].__class__ = _Plan


def __getattr__(name: str) -> Any:
    if name in {"load", "run"}:
        from onnxbuild.commands import python

        return getattr(python, name)
    raise AttributeError(f"module 'onnxbuild' has no attribute {name!r}")
