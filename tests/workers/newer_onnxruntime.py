"""The environment with ONNX Runtime 1.32, whose Python package opens model packages, created once per machine."""

from __future__ import annotations

from functools import cache

import pytest
from kept import kept_between_tests

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.planning.pinned.resolution import resolve_toolchain
from onnxbuild.runners.environments import Unusable
from onnxbuild.runners.local import LocalRunner
from onnxbuild.runners.toolchains.locked_environment import Locked

NAME = "newer"
REQUIREMENTS = ("onnxruntime==1.32.0", "numpy==2.4.6")


@cache
def environment() -> Locked:
    """Errors: the test fails if the packages cannot be installed."""
    try:
        found = Locked(NAME, resolve_toolchain(NAME, REQUIREMENTS), kept_between_tests())
        runner = LocalRunner({NAME: found})
        try:
            found.interpreter(lambda _text: None, runner._run_command)
        finally:
            runner.close()
    except (DiagnosticError, Unusable) as error:
        pytest.fail(f"the toolchain with ONNX Runtime 1.32 cannot be made: {error}")
    return found


def runner() -> LocalRunner:
    return LocalRunner({NAME: environment()})
