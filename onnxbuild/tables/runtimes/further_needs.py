"""What the runtime of a backend needs besides what the params of its checks name.

They became needs after the checks had keys, and params are a part of the key. So a key has them only where they alone
are missing (`onnxbuild.needs.step_needs.of_key`).
"""

from __future__ import annotations

import platform
import sys

from onnxbuild.needs.step_needs import DEVICE, LIBRARY

_X86 = frozenset({"x86_64", "amd64"})


def further_needs(backend: str) -> tuple[str, ...]:
    """The needs of a runtime on this machine that its distribution does not bring along."""
    if backend == "tensorrt":
        return (f"{LIBRARY}libnvinfer.so",)
    if backend == "qnn" and sys.platform == "linux" and not is_x86():  # every Windows on Arm has one
        return (f"{DEVICE}HTP",)
    return ()


def is_x86() -> bool:
    """Whether this is a machine for which Qualcomm has an emulator."""
    return platform.machine().lower() in _X86
