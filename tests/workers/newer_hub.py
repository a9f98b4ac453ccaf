"""The environment with huggingface_hub 2, which the toolchains of users may have, created once per machine."""

from __future__ import annotations

from functools import cache

import pytest
from kept import kept_between_tests

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.planning.pinned.resolution import resolve_toolchain
from onnxbuild.runners.environments import Unusable
from onnxbuild.runners.local import LocalRunner
from onnxbuild.runners.toolchains.locked_environment import Locked

NAME = "newer-hub"
VERSION = "2.4.0"


@cache
def environment() -> Locked:
    """Errors: the test fails if the packages cannot be installed."""
    requirements = (f"huggingface_hub=={VERSION}",)
    try:
        found = Locked(NAME, resolve_toolchain(NAME, requirements), kept_between_tests())
        runner = LocalRunner({NAME: found})
        try:
            found.interpreter(lambda _text: None, runner._run_command)
        finally:
            runner.close()
    except (DiagnosticError, Unusable) as error:
        pytest.fail(f"the toolchain with huggingface_hub {VERSION} cannot be made: {error}")
    return found


def runner() -> LocalRunner:
    return LocalRunner({NAME: environment()})
