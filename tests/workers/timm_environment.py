"""An environment with timm: this one, and before it timm and torchvision, created once per machine."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path

import platformdirs
import pytest

REQUIREMENTS = ("timm==1.0.31", "torchvision==0.28.0")

# The wheel of torchvision for Linux is made for CUDA: beside torch for the CPU, its library of operators does not load,
# and the module cannot be imported. timm uses none of them, so it is enough that they are declared.
_DECLARED = """
import sys

class Operators:
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            declare()

def declare():
    import importlib.util, pathlib, torch
    folder = pathlib.Path(importlib.util.find_spec("torchvision").origin).parent
    try:
        torch.ops.load_library(str(next(folder.glob("_C*"))))
    except OSError:
        declared = sys.modules[__name__].library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            declared.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

sys.meta_path.insert(0, Operators())
"""


@cache
def interpreter() -> Path:
    """Its Python. Errors: the test fails if the packages cannot be installed."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    name = "-".join((*(one.replace("==", "-") for one in REQUIREMENTS), python))
    root = platformdirs.user_cache_path("onnxbuild-tests-timm", appauthor=False) / name
    binary = root / ("Scripts" if sys.platform == "win32" else "bin") / Path(sys.executable).name
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(root), "platbase": str(root)}))
    if not (root / "complete").exists():
        _run(sys.executable, "-m", "venv", "--clear", "--without-pip", str(root))
        _run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages), *REQUIREMENTS)
        (packages / "sitecustomize.py").write_text(_DECLARED)
        (root / "complete").touch()
    # The environment of another clone may have made it, and may be gone.
    (packages / "of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return binary


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"the environment of timm cannot be made: {done.stderr}")


class Timm:
    """The environment as a runner uses it."""

    def interpreter(self, say, run):
        return str(interpreter())

    def close(self):
        pass
