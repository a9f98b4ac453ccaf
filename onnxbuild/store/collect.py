"""Garbage collection: keeps the latest results of every known manifest, young results, and results that runs use.

It is safe while runs use the store; `store.claims` explains how.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct

from onnxbuild.store import claims
from onnxbuild.store.content import File
from onnxbuild.store.store import Store
from onnxbuild.store.traces import Trace
from onnxbuild.store.working_folders import forget_journals, sweep


class Limits(Struct, frozen=True, kw_only=True):
    """What to keep besides reached results: results younger than `age_seconds`, as far as all fit `budget_bytes`.

    None means no limit; without both limits, nothing else is kept. Over the budget, the oldest unreached results are
    removed first; results that a manifest needs are never removed.
    """

    age_seconds: float | None = None
    budget_bytes: int | None = None


class Freed(Struct, frozen=True):
    """What a collection freed, or would free. `kept` and `in_use` count results, `scopes` manifests that are gone."""

    traces: int
    blobs: int
    bytes: int
    kept: int
    in_use: int = 0
    scopes: int = 0


def collect(
    store: Store, limits: Limits, *, dry_run: bool = False, on_wait: Callable[[], None] = lambda: None
) -> Freed:
    """Remove the traces that nothing needs, then the content that no other trace names.

    Calls `on_wait` once if it has to wait for a run that is publishing. Errors: OSError.
    """
    # A dry run changes nothing, so it needs no lock, and creates none.
    looking = contextlib.nullcontext(claims.claimed_now(store.root)) if dry_run else claims.alone(store.root, on_wait)
    with looking as claimed:
        traces = store.traces.all_traces()
        gone = [scope for scope in store.traces.last_keys() if not os.path.lexists(scope)]
        needed = (reached(store) | claimed) & traces.keys()
        kept = _kept(traces, needed, limits, _Sizes(store))
        named = _blobs_of(store, (traces[key] for key in kept))
        dead = [(digest, status.st_size) for digest, status in store.content.blobs() if digest not in named]
        dead += [(digest, 0) for digest in store.content.misplaced() if digest not in named]
        forgotten = [key for key in traces if key not in kept]
        if not dry_run:
            # The traces go before the content: a collection that is killed here leaves only unnamed content.
            for scope in gone:
                store.traces.forget_scope(scope)
            store.traces.forget(forgotten)
            for digest, _ in dead:
                store.content.drop(digest)
    if not dry_run:
        sweep(store.root)
        forget_journals(store.root)
    return Freed(
        traces=len(forgotten),
        blobs=len(dead),
        bytes=sum(size for _, size in dead),
        kept=len(kept),
        in_use=len(claimed & traces.keys()),
        scopes=len(gone),
    )


def reached(store: Store) -> frozenset[str]:
    """Keys of the latest results of every manifest that still exists."""
    return frozenset(key for scope, keys in store.traces.last_keys().items() if os.path.lexists(scope) for key in keys)


def _kept(traces: Mapping[str, Trace], needed: frozenset[str] | set[str], limits: Limits, sizes: _Sizes) -> set[str]:
    """The needed keys, and those of the youngest other results that fit the limits."""
    if limits == Limits():
        return set(needed)
    oldest = -1.0 if limits.age_seconds is None else time.time() - limits.age_seconds
    others = [key for key in traces if key not in needed and traces[key].created > oldest]
    kept = {*needed, *others}
    if limits.budget_bytes is not None:
        sizes.count(traces[key] for key in kept)
        for key in sorted(others, key=lambda key: traces[key].created):
            if sizes.total <= limits.budget_bytes:
                break
            sizes.discount(traces[key])
            kept.discard(key)
    return kept


class _Sizes:
    """The size of a changing set of results; each file is counted once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._uses: Counter[tuple[str, int]] = Counter()
        self.total = 0

    def count(self, traces: Iterable[Trace]) -> None:
        for trace in traces:
            for file in self._files(trace):
                self._uses[file] += 1
                self.total += file[1] if self._uses[file] == 1 else 0

    def discount(self, trace: Trace) -> None:
        for file in self._files(trace):
            self._uses[file] -= 1
            self.total -= file[1] if self._uses[file] == 0 else 0

    def _files(self, trace: Trace) -> set[tuple[str, int]]:
        return {(file.digest, file.size) for file in files_of(self._store, trace)}


def files_of(store: Store, trace: Trace) -> list[File]:
    """Every file that a result names."""
    trees = (store.traces.tree(digest) for digest in trace.outputs.values())
    return [file for tree in trees if tree is not None for file in tree.files]


def _blobs_of(store: Store, traces: Iterable[Trace]) -> set[str]:
    return {file.digest for trace in traces for file in files_of(store, trace)}
