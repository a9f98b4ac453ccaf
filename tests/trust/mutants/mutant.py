"""A changed module."""

from __future__ import annotations

import difflib
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One changed module: its path in the repository, the line that changed, and its whole text."""

    path: str
    line: int
    text: str
    original: str

    @property
    def change(self) -> str:
        """The lines that differ, as `-` and `+`."""
        lines = difflib.unified_diff(self.original.splitlines(), self.text.splitlines(), n=0, lineterm="")
        return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))
