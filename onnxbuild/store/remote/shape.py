"""The shape of a result that may travel between machines: what the local store and the file system can hold.

A result that arrives is checked before anything on this machine changes, and a result that leaves is checked too, so
that no machine writes what another refuses. The limits are far above what step kinds make.
"""

from __future__ import annotations

import math
import sys
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from onnxbuild.regular_files import is_safe_name
from onnxbuild.store.content import File, Tree
from onnxbuild.store.traces import Trace

MOST_TRACE_BYTES = 16 << 20
MOST_FILES = 10_000
DEEPEST_VALUE = 64  # mappings and lists in each other, in facts and params
_MOST_WORKER_TEXT = 200
_LARGEST_NUMBER = 1 << 63

# 16 MB of `{},{},…` become 400 MB of objects. A trace with MOST_FILES files has fewer brackets and commas than this.
_MOST_BRACKETS, _MOST_COMMAS = 100_000, 500_000

_DIGEST_LENGTH, _DIGITS = 64, frozenset("0123456789abcdef")  # 256 bits in hexadecimal

# On Windows and macOS, case does not distinguish names.
_FOLDS_CASE = sys.platform in {"win32", "darwin"}


def flaw_in_text(data: bytes) -> str | None:
    """Why a trace is refused before it is decoded, which takes memory in proportion to its parts; None if it is not."""
    if len(data) > MOST_TRACE_BYTES:
        return f"it is larger than {MOST_TRACE_BYTES >> 20} MB"
    if data.count(b"{") + data.count(b"[") > _MOST_BRACKETS or data.count(b",") > _MOST_COMMAS:
        return "it has too many parts"
    return None


def flaw_in(
    trace: Trace, trees: Mapping[str, tuple[File, ...]], ports: Mapping[str, Collection[str]] | None = None
) -> str | None:
    """Why a result is refused; None if it is sound. `ports`: the output ports of each known kind."""
    return next(_flaws(trace, trees, ports or {}), None)


def _flaws(trace: Trace, trees: Mapping[str, tuple[File, ...]], ports: Mapping[str, Collection[str]]) -> Iterator[str]:
    if flaw := _flaw_in_values((trace.parts, trace.facts)):
        yield flaw
    if not all(map(_is_duration, (trace.seconds, trace.created))) or not _is_short_line(trace.worker):
        yield "its record of who built it is not plausible"
    kind = trace.parts.get("kind")
    if not trace.outputs or (isinstance(kind, str) and kind in ports and set(trace.outputs) != set(ports[kind])):
        yield f"its outputs are not those of `{kind}`"
    if set(trace.outputs.values()) != set(trees):
        yield "its outputs and its trees differ"
    if sum(map(len, trees.values())) > MOST_FILES:
        yield f"it has more than {MOST_FILES} files"
    yield from _flaws_of_trees(trees)


def _flaws_of_trees(trees: Mapping[str, tuple[File, ...]]) -> Iterator[str]:
    sizes: dict[str, int] = {}
    for digest, files in trees.items():
        if not files:
            yield "a tree is empty"
        if not all(_is_blob(file) and is_safe_name(file.name) for file in files):
            yield "a tree does not match its name"
        if not _can_stand_together([file.name for file in files]):
            yield "two files of a tree need the same place"
        if Tree(files).digest != digest:
            yield "a tree does not match its name"
        if any(sizes.setdefault(file.digest, file.size) != file.size for file in files):
            yield "a file has two sizes"


# -- files ------------------------------------------------------------------------------------------------------------


def _is_blob(file: File) -> bool:
    return is_digest(file.digest) and 0 <= file.size < _LARGEST_NUMBER


def is_digest(text: str) -> bool:
    """Whether a text is a digest in hexadecimal."""
    return len(text) == _DIGEST_LENGTH and set(text) <= _DIGITS


def _can_stand_together(names: Iterable[str]) -> bool:
    """Whether all names differ, and none is a folder of another."""
    folded = (unicodedata.normalize("NFC", name).casefold() if _FOLDS_CASE else name for name in names)
    # NUL sorts before every sign of a name: whatever is below `a` follows `a` at once.
    places = sorted(name.replace("/", "\0") for name in folded)
    return not any(after == place or after.startswith(f"{place}\0") for place, after in pairwise(places))


# -- values -----------------------------------------------------------------------------------------------------------


def _flaw_in_values(value: Any) -> str | None:
    """Why values are refused: not every program reads large numbers, and deep nesting ends in a RecursionError."""
    level = [value]
    for _ in range(DEEPEST_VALUE + 1):
        if not all(map(_is_exact, level)):
            return "a number in it is too large"
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return None
    return "its values are nested too deeply"


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, (list, tuple)) else ()


def _is_exact(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or -_LARGEST_NUMBER <= value < _LARGEST_NUMBER


def _is_duration(seconds: float) -> bool:
    return math.isfinite(seconds) and seconds >= 0


def _is_short_line(text: str) -> bool:
    return len(text) <= _MOST_WORKER_TEXT and text.isprintable()
