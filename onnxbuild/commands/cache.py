"""`onnxbuild cache`: what the store holds, whether it is whole, and its exchange with the remote store."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from onnxbuild.commands.workspace import Asked, Session, session, store_root
from onnxbuild.deliver.write_back import share
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.execute.events import Outcome
from onnxbuild.execute.preview import preview
from onnxbuild.manifest.load import load_manifest
from onnxbuild.report.progress.uploads import Uploads
from onnxbuild.steps import all_kinds
from onnxbuild.store.inventory import Damage, Stats, stats, verify
from onnxbuild.store.store import Store
from onnxbuild.store.traces import Last, Trace

What = Literal["stats", "verify", "push", "pull"]


def cache(what: What, asked: Asked, *, as_json: bool = False) -> int:
    """Do one of the four; the exit code. Errors: DiagnosticError."""
    if what == "stats":
        return _stats(asked, as_json=as_json)
    if what == "verify":
        return _verify(asked)
    return _push(asked) if what == "push" else _pull(asked)


def _stats(asked: Asked, *, as_json: bool) -> int:
    with _local(asked) as store:
        found = stats(store)
    print(msgspec.json.encode(found).decode() if as_json else in_words(found))
    return 0


def in_words(found: Stats) -> str:
    """Statistics as a person reads them."""
    lines = [
        f"results       {found.results} ({found.reached} needed by manifests, {found.unreached} not)",
        f"files         {found.files}, {_mb(found.bytes)} on the disk",
        f"shared files  {_mb(found.bytes_deduplicated)} saved: results name {_mb(found.bytes_named)}",
        f"gc would free {_mb(found.bytes_unreached)}",
    ]
    if found.oldest_days is not None and found.newest_days is not None:
        lines.append(f"age           {found.newest_days:.1f} to {found.oldest_days:.1f} days")
    width = max(map(len, found.kinds), default=0)
    lines += [f"  {kind:<{width}}  {one.results:>5} results  {_mb(one.bytes)}" for kind, one in found.kinds.items()]
    return "\n".join(lines)


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _verify(asked: Asked) -> int:
    with _local(asked) as store:
        found = verify(store, _Reading())
        count = sum(1 for _ in store.content.blobs())
    for damage in found:
        print(_damage_in_words(damage))
    told = f"{len(found)} files were not whole; what was left of them is dropped"
    print(told if found else f"{count} files, all intact")
    return 1 if found else 0


def _damage_in_words(damage: Damage) -> str:
    if not damage.actions:
        return f"{damage.found}; no manifest's latest results need it"
    names = ", ".join(f"{action} ({os.path.relpath(scope)})" for scope, action in damage.actions)
    return f"{damage.found}; will be built again: {names}"


class _Reading:
    """Says now and then how much has been read."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._told >= 2.0:  # noqa: PLR2004 - seconds; a shorter wait needs no word
            self._told = time.monotonic()
            print(f"reading: {_mb(done)} of {_mb(total)}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _local(asked: Asked) -> Iterator[Store]:
    """The local store alone; a manifest with faults in its models can still be asked about its store."""
    manifest = load_manifest(asked.manifest, kinds=all_kinds(), defines=asked.defines)
    root = store_root(asked, manifest)
    with Store(root, readonly=not root.exists() or not os.access(root, os.W_OK), claims=False) as store:
        yield store


# -- exchange ---------------------------------------------------------------------------------------------------------


def _push(asked: Asked) -> int:
    with _with_remote(asked) as (opened, shown):
        # What was learned of an earlier push may be out of date: someone may have emptied the remote store.
        known = {one.id: one for one in _walk(opened, lambda _key: None)}
        done = share(opened.graph, known, opened.store, Uploads(), again=True)
        if done is None:
            raise DiagnosticError(fault("OB047", f"the remote store {shown} is read-only here"))
        words = f"{done.results} results of {asked.manifest} are in {shown} ({_mb(done.bytes)} sent)"
        if done.withheld:
            words += f"; {done.withheld} withheld: their checks have not passed"
        missing = sum(one.outcome != "hit" for one in known.values())
        if missing:
            words += f"; {missing} are not built"
        print(words)
        return 0 if done.complete else 1


def _pull(asked: Asked) -> int:
    fetched: list[str] = []
    with _with_remote(asked) as (opened, shown):

        def obtain(key: str) -> Trace | None:
            trace = opened.store.obtain(key)
            fetched.extend([key] if trace is not None else [])
            return trace

        found = list(_walk(opened, obtain))
        # As after a run, these are now this manifest's latest results: `gc` keeps them.
        lasts = {one.id: Last(key=one.key, outcome="hit") for one in found if one.outcome == "hit"}
        opened.store.traces.note(opened.scope, lasts)
        missing = len(found) - len(lasts)
        words = f"{len(fetched)} results came from {shown}, {len(lasts) - len(fetched)} were here"
        print(f"{words}; {missing} have to be built" if missing else words)
        return 0 if opened.store.remote is not None and opened.store.remote.usable else 1


def _walk(opened: Session, elsewhere: Callable[[str], Trace | None]) -> Iterator[Outcome]:
    return preview(
        opened.graph,
        kinds=opened.kinds,
        store=opened.store,
        runner=opened.runner,
        scope=opened.scope,
        elsewhere=elsewhere,
    )


@contextlib.contextmanager
def _with_remote(asked: Asked) -> Iterator[tuple[Session, str]]:
    with session(asked, write=True) as opened:
        if opened.store.remote is None:
            hint = "name one with `--remote URL`, ONNXBUILD_REMOTE or `store: {remote: …}`"
            what = "`--offline` asks no remote store" if asked.offline else f"{asked.manifest} has no remote store"
            raise DiagnosticError(fault("OB047", what, hint=None if asked.offline else hint))
        yield opened, opened.store.remote.address.shown
