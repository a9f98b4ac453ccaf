"""Weights in several files: the index that names them, and the numbers in their names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from onnxbuild.tables.checkpoint_files import WEIGHT_FORMATS

_NUMBERED = re.compile(r"((?:model|pytorch_model)-)(\d{1,5})(-of-)(\d{1,5})(\.safetensors|\.bin)")
LARGEST_INDEX = 64 << 20  # that of a model with 100,000 weights has 10 MB


def is_in_shards(files: Collection[str]) -> bool:
    """Whether a loader reads the weights from several files: it prefers the one that has them all."""
    if any(one in files for one, *_ in WEIGHT_FORMATS):
        return False
    return any(index in files for _, index, _ in WEIGHT_FORMATS) or any(_NUMBERED.fullmatch(name) for name in files)


def index_among(files: Collection[str]) -> str | None:
    """The index that a loader reads; None if it reads one file, or there is none."""
    indexes = (index for _, index, _ in WEIGHT_FORMATS if index in files)
    return next(indexes, None) if is_in_shards(files) else None


def shards_in(index: Any) -> tuple[str, ...] | None:
    """The files that an index names, sorted; None if it is no index."""
    named = index.get("weight_map") if isinstance(index, Mapping) else None
    if not isinstance(named, Mapping) or not named or not all(isinstance(one, str) for one in named.values()):
        return None
    return tuple(sorted(set(named.values())))


def missing_by_number(files: Iterable[str]) -> str | None:
    """The first shard that is missing, as the names of the others say (`-of-00003`); None if all are there."""
    files = frozenset(files)
    matches = (_NUMBERED.fullmatch(name) for name in files if is_in_shards(files))
    rows = {(match[1], len(match[2]), match[3], match[4], match[5]) for match in matches if match}
    return next((name for row in sorted(rows) for name in _row(*row) if name not in files), None)


def _row(start: str, digits: int, of: str, total: str, end: str) -> Iterator[str]:
    return (f"{start}{number:0{digits}d}{of}{total}{end}" for number in range(1, int(total) + 1))
