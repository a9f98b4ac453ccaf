"""The folders that a run wrote, for its last lines."""

from __future__ import annotations

import os
from collections.abc import Sequence

from onnxbuild.deliver.out_folder import Delivery

_MOST_NAMED = 8
_WRITTEN = ("written", "mended")


def written_folders(deliveries: Sequence[Delivery]) -> list[str]:
    """One line per model: `wrote out/minilm/ (fp32, int8)`; empty where a run wrote no folder."""
    targets: dict[str, list[str]] = {}
    for delivery in deliveries:
        if delivery.state in _WRITTEN:
            parent, name = os.path.split(delivery.folder)
            targets.setdefault(parent, []).append(name)
    return [f"wrote {_shown(parent)}{os.sep} ({_listed(names)})" for parent, names in targets.items()]


def _shown(folder: str) -> str:
    """The folder relative to the current one, unless it lies elsewhere."""
    try:
        relative = os.path.relpath(folder)
    except ValueError:  # on another drive of Windows
        return folder
    return folder if relative.startswith(os.pardir) else relative


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
