"""The shards of a checkpoint, as its index names them."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.checkpoints.shards import shards_in


def whole(index: Path, names: Collection[str]) -> tuple[str, ...]:
    """The shards that an index names, all of which are among `names`. Errors: CheckFailed OBE16, OBE85."""
    try:
        named = shards_in(json.loads(index.read_bytes()))
    except ValueError as error:
        raise CheckFailed("OBE16", f"{index.name} is not JSON: {error}") from error
    if named is None:
        raise CheckFailed("OBE16", f"{index.name} names no files: it has no `weight_map`")
    missing = [name for name in named if name not in names]
    if missing:
        hint = "the checkpoint is incomplete: name another revision or another repository, or copy it again"
        raise CheckFailed(
            "OBE85",
            f"the checkpoint lacks `{missing[0]}`, which {index.name} names",
            notes=[("missing", ", ".join(missing)), ("hint", hint)],
        )
    return named
