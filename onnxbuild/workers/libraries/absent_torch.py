"""A stand-in for torch, for a library that imports it without using it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace


@contextmanager
def torch_stand_in() -> Iterator[None]:
    """Let `from torch import version` succeed without importing torch, unless torch is imported already.

    `optimize_by_onnxruntime` of onnxruntime 1.31 imports torch's version in order to recognize AMD GPUs. On a CPU it
    does not read it, and the import takes seconds and fails in a toolchain without torch.
    """
    if "torch" in sys.modules:
        yield
        return
    stand_in = ModuleType("torch")
    stand_in.version = SimpleNamespace(hip=None)  # type: ignore[attr-defined]
    sys.modules["torch"] = stand_in
    try:
        yield
    finally:
        del sys.modules["torch"]
