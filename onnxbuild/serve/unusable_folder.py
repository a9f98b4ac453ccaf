"""The error of a folder that cannot be served."""

from __future__ import annotations

from pathlib import Path


class UnusableFolderError(Exception):
    """The message says why; `hint` what helps."""

    def __init__(self, folder: Path, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.folder, self.hint = folder, hint
