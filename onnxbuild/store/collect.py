"""Garbage collection: keeps what the latest results of any known manifest reach, and what is young."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from msgspec import Struct

from onnxbuild.store.store import Store, sweep
from onnxbuild.store.traces import Trace

# Content goes into the store before the trace that names it: a blob this young may belong to a run at work.
_GRACE_SECONDS = 3600.0


class Limits(Struct, frozen=True, kw_only=True):
    """What to keep besides what is reached: results younger than `age_seconds`; `budget_bytes` bounds all that is kept.

    Over the budget the oldest unreached results go first, then nothing more: what a manifest needs is never taken.
    """

    age_seconds: float = 0.0
    budget_bytes: int | None = None


class Freed(Struct, frozen=True):
    """What a collection freed, or would free."""

    traces: int
    blobs: int
    bytes: int
    kept: int


def collect(store: Store, limits: Limits, *, dry_run: bool = False) -> Freed:
    """Forget traces that nothing reaches, then remove blobs that no trace names. Safe beside a run.

    Errors: OSError for a blob that cannot be removed.
    """
    traces = dict(store.traces.all_traces())
    reached = _reached(store)
    now = time.time()
    kept = {key for key, trace in traces.items() if key in reached or now - trace.created < limits.age_seconds}
    if limits.budget_bytes is not None:
        kept = _within(store, traces, kept, reached, limits.budget_bytes)
    named = _blobs_of(store, (traces[key] for key in kept))
    dead = [
        (digest, status.st_size)
        for digest, status in store.content.blobs()
        if digest not in named and now - max(status.st_ctime, status.st_mtime) > min(_GRACE_SECONDS, _age_of(store))
    ]
    forgotten = [key for key in traces if key not in kept]
    if not dry_run:
        sweep(store.root)
        store.traces.forget(forgotten)
        # Asked again after forgetting: a run that ended meanwhile may have recorded a trace that names one of these.
        named = _blobs_of(store, store.traces.all_traces().values())
        dead = [(digest, size) for digest, size in dead if digest not in named]
        for digest, _ in dead:
            store.content.drop(digest)
    return Freed(len(forgotten), len(dead), sum(size for _, size in dead), len(kept))


def _reached(store: Store) -> set[str]:
    """Keys of the latest results of every manifest that still exists; the others are forgotten by the way."""
    reached: set[str] = set()
    for scope, lasts in store.traces.all_last().items():
        if os.path.exists(scope):
            reached.update(last.key for last in lasts.values() if last.key is not None)
    return reached


def _within(store: Store, traces: dict[str, Trace], kept: set[str], reached: set[str], budget: int) -> set[str]:
    order = sorted(kept - reached, key=lambda key: traces[key].created)
    while order and _size_of(store, (traces[key] for key in kept)) > budget:
        kept = kept - {order.pop(0)}
    return kept


def _size_of(store: Store, traces: Iterable[Trace]) -> int:
    sizes = {
        file.digest: file.size
        for trace in traces
        for digest in trace.outputs.values()
        if (tree := store.traces.tree(digest)) is not None
        for file in tree.files
    }
    return sum(sizes.values())


def _blobs_of(store: Store, traces: Iterable[Trace]) -> set[str]:
    trees = {digest for trace in traces for digest in trace.outputs.values()}
    found = (store.traces.tree(digest) for digest in trees)
    return {file.digest for tree in found if tree is not None for file in tree.files}


def _age_of(store: Store) -> float:
    """How long a run at work may have had blobs without a trace: not at all where none is at work."""
    return _GRACE_SECONDS if any((store.root / "work").glob("*/owner")) else 0.0
