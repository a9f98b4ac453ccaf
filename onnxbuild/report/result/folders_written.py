"""The folders that a run wrote, relative to the current folder; only their number if there are many."""

from __future__ import annotations

import os
from collections.abc import Sequence

_MOST_LISTED = 4


def folders_in_words(folders: Sequence[str]) -> str:
    """`wrote out/minilm/fp32, out/minilm/int8`, or `wrote 12 folders below out/`."""
    if len(folders) <= _MOST_LISTED:
        return f"wrote {', '.join(_shown(folder) for folder in folders)}"
    return f"wrote {len(folders)} folders below {_shown(os.path.commonpath(folders))}"


def _shown(folder: str) -> str:
    """The path from the current folder, or the absolute one if that is shorter to read."""
    try:
        relative = os.path.relpath(folder)
    except ValueError:  # another drive, on Windows
        return folder
    return folder if relative.startswith(os.pardir) else f"{relative}{os.sep}"
