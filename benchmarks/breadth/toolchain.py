"""The Python of each exporter: this one for optimum, and for transformers 5 the toolchain that the manifests name."""

from __future__ import annotations

import sys
from pathlib import Path

from builds import TRANSFORMERS_5

from onnxbuild.planning.pinned.resolution import resolve_toolchain
from onnxbuild.runners.local import LocalRunner
from onnxbuild.runners.toolchains.locked_environment import Locked
from onnxbuild.store.store import Store


def python_for(exporter: str, store: Path) -> str:
    """The interpreter; its packages are installed on first use, which takes minutes."""
    if exporter == "optimum":
        return sys.executable
    Store(store).close()
    environment = Locked("tf5", resolve_toolchain("tf5", TRANSFORMERS_5), store)
    runner = LocalRunner({"tf5": environment})
    try:
        return environment.interpreter(lambda _text: None, runner._run_command)  # noqa: SLF001 - as its own tests do
    finally:
        runner.close()
