"""Commands that run inside the test process."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from onnxbuild.cli import run_command
from onnxbuild.report.outlet import Outlet


def ended_in(folder: Path, line: Sequence[str]) -> tuple[object, str]:
    """The exit code of a command that runs in a folder, and what it printed."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        patched.setattr(sys, "stdout", Outlet(printed))
        patched.setattr(sys, "stderr", Outlet(printed))
        try:
            return run_command(list(line)), printed.getvalue()
        except SystemExit as stop:
            return stop.code, printed.getvalue()
