"""The tools that onnxbuild is compared with, in separate virtual environments."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import platformdirs

PINNED = ("dvc==3.67.1", "doit==0.37.0", "ninja==1.13.2")
CACHE = platformdirs.user_cache_path("onnxbuild-benchmarks", appauthor=False)
DEFAULT = CACHE / "peers"


def install(folder: Path) -> Path:
    """The `bin` folder with dvc, doit and ninja. The first use creates it."""
    return environment(folder, PINNED).parent


def environment(folder: Path, requirements: Sequence[str]) -> Path:
    """The interpreter of a virtual environment with these packages. The first use creates it."""
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    installed = folder / "installed.txt"
    if not installed.exists() or installed.read_text(encoding="utf-8").split() != list(requirements):
        print(f"installing {', '.join(requirements)} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        installed.write_text("\n".join(requirements), encoding="utf-8")
    return python


def same(*packages: str) -> list[str]:
    """The versions of these packages that this environment has, so that a compared tool runs the same code."""
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in packages]
