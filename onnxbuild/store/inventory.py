"""The content of the store, counted, and checked for damage."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from onnxbuild.digest import Digest
from onnxbuild.store.collect import files_of, reached
from onnxbuild.store.content import DamagedBlob, File
from onnxbuild.store.store import Store

_DAY_SECONDS = 86_400.0


class OfKind(Struct, frozen=True):
    """The results of one step kind. `bytes`: their size without sharing."""

    results: int
    bytes: int


class OfToolchains(Struct, frozen=True):
    """The environments that were created from locked packages. No other number of `Stats` includes them."""

    count: int
    bytes: int


class Stats(Struct, frozen=True, kw_only=True):
    """The content of the store. `bytes`: its size on the disk; `bytes_named`: the size without sharing of files."""

    results: int
    reached: int  # by the latest run of a manifest that still exists
    unreached: int
    files: int
    bytes: int
    bytes_named: int
    bytes_deduplicated: int
    bytes_unreached: int  # what `gc` would free
    oldest_days: float | None
    newest_days: float | None
    toolchains: OfToolchains
    kinds: Mapping[str, OfKind]


class Damage(Struct, frozen=True):
    """A damaged or missing file, and the actions (with their manifests) whose results it belongs to."""

    digest: str
    found: str
    actions: tuple[tuple[str, str], ...]
    missing: bool = False


def stats(store: Store) -> Stats:
    """Count the content of the store."""
    traces = store.traces.all_traces()
    named = {key: files_of(store, trace) for key, trace in traces.items()}
    on_disk = {digest: status.st_size for digest, status in store.content.blobs()}
    wanted = reached(store) & traces.keys()
    needed = {file.digest for key in wanted for file in named[key]}
    kinds: dict[str, OfKind] = {}
    for key, trace in traces.items():
        kind = str(trace.parts.get("kind", "?"))
        before = kinds.get(kind, OfKind(0, 0))
        kinds[kind] = OfKind(before.results + 1, before.bytes + sum(file.size for file in named[key]))
    ages = [(time.time() - trace.created) / _DAY_SECONDS for trace in traces.values()]
    total = sum(kind.bytes for kind in kinds.values())
    alone = {file.digest: file.size for files in named.values() for file in files}
    return Stats(
        results=len(traces),
        reached=len(wanted),
        unreached=len(traces) - len(wanted),
        files=len(on_disk),
        bytes=sum(on_disk.values()),
        bytes_named=total,
        bytes_deduplicated=total - sum(alone.values()),
        bytes_unreached=sum(size for digest, size in on_disk.items() if digest not in needed),
        oldest_days=max(ages, default=None),
        newest_days=min(ages, default=None),
        toolchains=_toolchains(store.root / "toolchains"),
        kinds=dict(sorted(kinds.items())),
    )


def _toolchains(folder: Path) -> OfToolchains:
    names = [place for place in folder.glob("*") if place.is_dir() and not place.suffix]  # others are locks
    return OfToolchains(len(names), sum(_sizes(folder)))


def _sizes(folder: Path) -> Iterator[int]:
    """The sizes of all files. Links count as links: a toolchain's Python is one to the interpreter that created it."""
    for place, _, files in os.walk(folder):
        for file in files:
            with contextlib.suppress(FileNotFoundError):  # pip may be at work
                yield os.lstat(os.path.join(place, file)).st_size


def verify(store: Store, tell: Callable[[int, int], None] = lambda _done, _all: None) -> tuple[Damage, ...]:
    """Read every file and remove damaged ones; report them, and missing files, too.

    `tell` gets the bytes read so far, and in total. Errors: OSError.
    """
    traces = store.traces.all_traces()
    makers: dict[str, list[str]] = {}
    files: dict[str, File] = {}
    for key, trace in traces.items():
        for file in files_of(store, trace):
            files[file.digest] = file
            makers.setdefault(file.digest, []).append(key)
    for digest, status in store.content.blobs():
        files.setdefault(digest, File("", Digest(digest), status.st_size))
    for digest in store.content.misplaced():
        files.setdefault(digest, File("", Digest(digest), 0))
    total, done = sum(file.size for file in files.values()), 0
    damages = []
    names = _actions_by_key(store)
    for file in files.values():
        missing = not os.path.lexists(store.content.path(file.digest))
        try:
            store.content.verify(file)
        except DamagedBlob as damaged:
            actions = sorted({name for key in makers.get(file.digest, ()) for name in names.get(key, ())})
            damages.append(Damage(file.digest, str(damaged), tuple(actions), missing))
        done += file.size
        tell(done, total)
    return tuple(damages)


def _actions_by_key(store: Store) -> Mapping[str, list[tuple[str, str]]]:
    """For each key, the (manifest, action) pairs whose latest result it is."""
    actions: dict[str, list[tuple[str, str]]] = {}
    for scope, lasts in store.traces.all_last().items():
        for name, last in lasts.items():
            if last.key is not None:
                actions.setdefault(last.key, []).append((scope, name))
    return actions
