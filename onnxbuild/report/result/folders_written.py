"""The folders that a run wrote, relative to the current folder; only their number if there are many."""

from __future__ import annotations

import os
from collections.abc import Sequence

from onnxbuild.report.wording import folder_from_here

_MOST_LISTED = 4


def folders_in_words(folders: Sequence[str]) -> str:
    """`wrote out/minilm/fp32, out/minilm/int8`, or `wrote 12 folders below out/`."""
    if len(folders) <= _MOST_LISTED:
        return f"wrote {', '.join(folder_from_here(folder) for folder in folders)}"
    return f"wrote {len(folders)} folders below {folder_from_here(os.path.commonpath(folders))}"
