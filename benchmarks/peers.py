"""The build tools that onnxbuild is compared with, in a separate virtual environment."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import platformdirs

PINNED = ("dvc==3.67.1", "doit==0.37.0", "ninja==1.13.2")
DEFAULT = platformdirs.user_cache_path("onnxbuild-benchmarks", appauthor=False) / "peers"


def install(folder: Path) -> Path:
    """The `bin` folder with dvc, doit and ninja. The first use creates it."""
    binaries = folder / "bin"
    if not all((binaries / name).exists() for name in ("dvc", "doit", "ninja")):
        print(f"installing {', '.join(PINNED)} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        subprocess.run([binaries / "python", "-m", "pip", "install", "--quiet", *PINNED], check=True)
    return binaries
