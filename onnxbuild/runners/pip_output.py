"""What pip prints while it installs the packages of a toolchain: its progress, and why it failed."""

from __future__ import annotations

import re
from collections.abc import Callable

# `Processing` is for a file of an index on this machine: `Processing /index/onnx_ir-0.1.9-py3-none-any.whl (from …)`.
_NEXT = re.compile(r"Collecting ([\w.-]+)|Processing (?:\S*[/\\])?([\w.-]+?)-\d")
_INSTALLING = "Installing collected packages"
# Lines of pip that report progress and so are never the reason for a failure.
_PROGRESS = ("Collecting ", "Processing ", "Downloading ", "Using cached ", _INSTALLING)


class Counter:
    """Turns the lines of `pip install` into progress: the package that pip fetches, then the installation of all."""

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self._total, self._say = total, say
        self._count = 0

    def __call__(self, line: str) -> None:
        """Report the line if it starts another package or the last phase."""
        package = _NEXT.match(line)
        if package is not None:
            self._count += 1
            self._say(f"fetching {package[1] or package[2]} ({self._count} of {self._total})")
        elif line.startswith(_INSTALLING):
            self._say(f"installing {self._total} packages")


def code_and_hint(output: str) -> tuple[str, str]:
    """The failure code and the advice for what pip printed."""
    if "DO NOT MATCH THE HASHES" in output or "Expected sha256" in output:
        return "OBE66", "the index of this machine has other files for these versions: `onnxbuild lock --upgrade`"
    if "ResolutionImpossible" in output or "conflicting dependencies" in output:
        return "OBE12", "use a separate toolchain for each exporter; `onnxbuild lock --upgrade` finds versions that fit"
    return "OBE66", "`onnxbuild lock --upgrade` resolves the toolchain again"


def reason(output: str) -> str:
    """The first error that pip printed, or its last line that does not report progress."""
    lines = [line for line in output.splitlines() if line.strip() and not line.lstrip().startswith(_PROGRESS)]
    last = lines[-1] if lines else "no reason given"
    return next((line for line in lines if line.startswith("ERROR:")), last).removeprefix("ERROR: ")
