"""Environments with newer clients than the toolchain of this repository has, created once per machine."""

from __future__ import annotations

from functools import cache

import pytest
from kept import kept_between_tests

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.planning.pinned.resolution import resolve_toolchain
from onnxbuild.runners.environments import Unusable
from onnxbuild.runners.local import LocalRunner
from onnxbuild.runners.toolchains.locked_environment import Locked

# The Hub's client of users' toolchains, and the first ONNX Runtime whose Python package opens model packages.
HUB, ONNXRUNTIME = "newer-hub", "newer"
_REQUIREMENTS = {HUB: ("huggingface_hub==2.4.0",), ONNXRUNTIME: ("onnxruntime==1.32.0", "numpy==2.4.6")}


@cache
def _environment(name: str) -> Locked:
    """Errors: the test fails if the packages cannot be installed."""
    try:
        found = Locked(name, resolve_toolchain(name, _REQUIREMENTS[name]), kept_between_tests())
        runner = LocalRunner({name: found})
        try:
            found.interpreter(lambda _text: None, runner._run_command)
        finally:
            runner.close()
    except (DiagnosticError, Unusable) as error:
        pytest.fail(f"the toolchain with {', '.join(_REQUIREMENTS[name])} cannot be made: {error}")
    return found


def runner_with(name: str) -> LocalRunner:
    return LocalRunner({name: _environment(name)})
