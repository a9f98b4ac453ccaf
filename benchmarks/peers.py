"""The build tools that onnxbuild is measured beside, in a virtual environment of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

PINNED = ("dvc==3.67.1", "doit==0.37.0", "ninja==1.13.2")
DEFAULT = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "onnxbuild-benchmarks" / "peers"


def install(folder: Path) -> Path:
    """The `bin` folder with dvc, doit and ninja; made on the first use."""
    binaries = folder / "bin"
    if not all((binaries / name).exists() for name in ("dvc", "doit", "ninja")):
        print(f"installing {', '.join(PINNED)} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        subprocess.run([binaries / "python", "-m", "pip", "install", "--quiet", *PINNED], check=True)
    return binaries
