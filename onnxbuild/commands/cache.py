"""`onnxbuild cache`: the contents of the store, their integrity, and the exchange with the remote store."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.state.locations import store_root
from onnxbuild.commands.workspace import Session, loaded, session
from onnxbuild.deliver.write_back import share
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.execute.sharing.compiled_elsewhere import is_final
from onnxbuild.report.progress.uploads import Uploads
from onnxbuild.report.wording import age_in_words, counted, size_in_words
from onnxbuild.store.inventory import Damage, Stats, stats, verify
from onnxbuild.store.store import Store
from onnxbuild.store.traces import Last, Trace

What = Literal["stats", "verify", "push", "pull"]


def cache(what: What, asked: Asked, *, as_json: bool = False) -> int:
    """Carry out one subcommand; return the exit code. Errors: DiagnosticError."""
    if what == "stats":
        return _stats(asked, as_json=as_json)
    if what == "verify":
        return _verify(asked)
    return _push(asked) if what == "push" else _pull(asked)


def _stats(asked: Asked, *, as_json: bool) -> int:
    with _local(asked, readonly=True) as store:
        statistics = stats(store)
    print(msgspec.json.encode(statistics).decode() if as_json else in_words(statistics))
    return 0


def in_words(store: Stats) -> str:
    """Statistics as a person reads them."""
    saved = size_in_words(store.bytes_deduplicated)
    lines = [
        f"results       {store.results} ({store.reached} needed by manifests, {store.unreached} not)",
        f"files         {store.files}, {size_in_words(store.bytes)} on the disk",
        f"shared files  {saved} saved: results name {size_in_words(store.bytes_named)}",
        f"gc would free {size_in_words(store.bytes_unreached)}",
    ]
    if store.toolchains.count:
        size = size_in_words(store.toolchains.bytes)
        lines.append(f"toolchains    {store.toolchains.count}, {size} more; gc removes what no lock file names")
    if store.oldest_days is not None and store.newest_days is not None:
        newest, oldest = (age_in_words(days * 86_400) for days in (store.newest_days, store.oldest_days))
        lines.append(f"age           {newest} to {oldest}")
    width = max(map(len, store.kinds), default=0)
    lines += [
        f"  {kind:<{width}}  {one.results:>5} result{' ' if one.results == 1 else 's'}  {size_in_words(one.bytes)}"
        for kind, one in store.kinds.items()
    ]
    return "\n".join(lines)


def _verify(asked: Asked) -> int:
    with _local(asked) as store:
        damages = verify(store, _Reading())
        count = sum(1 for _ in store.content.blobs())
    for damage in damages:
        print(_damage_in_words(damage))
    print(", ".join(_counts(damages)) if damages else f"{_files(count)}, all intact")
    return 1 if damages else 0


def _counts(damages: Sequence[Damage]) -> Iterator[str]:
    missing = sum(one.missing for one in damages)
    if damaged := len(damages) - missing:
        yield f"{_files(damaged)} damaged and removed"
    if missing:
        yield f"{_files(missing)} missing"


def _files(count: int) -> str:
    return f"{count} file{'s' * (count != 1)}"


def _damage_in_words(damage: Damage) -> str:
    if not damage.actions:
        return f"{damage.found}; no manifest's latest results need it"
    names = ", ".join(f"{action} ({os.path.relpath(scope)})" for scope, action in damage.actions)
    return f"{damage.found}; will be built again: {names}"


class _Reading:
    """Reports from time to time how much has been read."""

    def __init__(self) -> None:
        self._reported = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._reported >= 2.0:  # noqa: PLR2004 - seconds; a shorter wait needs no report
            self._reported = time.monotonic()
            print(f"reading: {size_in_words(done)} of {size_in_words(total)}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _local(asked: Asked, *, readonly: bool = False) -> Iterator[Store]:
    """Only the local store; a manifest whose models have faults still names its store."""
    root = store_root(asked, loaded(asked))
    readonly = readonly or not root.exists() or not os.access(root, os.W_OK)
    with Store(root, readonly=readonly, claims=False) as store:
        yield store


# -- exchange ---------------------------------------------------------------------------------------------------------


def _push(asked: Asked) -> int:
    with _with_remote(asked) as (opened, shown):
        # The record of earlier pushes may be out of date: someone may have emptied the remote store.
        known = opened.preview(elsewhere=lambda _key: None)
        done = share(opened.graph, known, opened.store, Uploads(), again=True)
        if done is None:
            raise DiagnosticError(fault("OB047", f"the remote store {shown} is read-only here"))
        results = f"{counted(done.results, 'result')} of {asked.manifest} {'is' if done.results == 1 else 'are'}"
        words = f"{results} in {shown} ({size_in_words(done.bytes)} sent)"
        if done.withheld:
            words += f"; {done.withheld} withheld, since their checks have not passed"
        missing = sum(one.outcome != "hit" for one in known.values())
        if missing:
            words += f"; {missing} {'is' if missing == 1 else 'are'} not built"
        print(words)
        return 0 if done.complete else 1


def _pull(asked: Asked) -> int:
    fetched: list[str] = []
    with _with_remote(asked) as (opened, shown):

        def obtain(key: str) -> Trace | None:
            trace = opened.store.obtain(key, is_final=is_final)
            fetched.extend([key] if trace is not None and is_final(trace) else [])
            return trace

        outcomes = opened.preview(elsewhere=obtain).values()
        # As after a run, these are now this manifest's latest results: `gc` keeps them.
        before = opened.store.traces.last(opened.scope)
        lasts = {
            one.id: Last(key=one.key, outcome="hit", ran=before[one.id].ran if one.id in before else None)
            for one in outcomes
            if one.outcome == "hit"
        }
        opened.store.traces.note(opened.scope, lasts)
        missing = len(outcomes) - len(lasts)
        local = len(lasts) - len(fetched)
        words = f"{counted(len(fetched), 'result')} came from {shown}, {local} {'was' if local == 1 else 'were'} local"
        print(f"{words}; {missing} {'has' if missing == 1 else 'have'} to be built" if missing else words)
        return 0 if opened.store.remote is not None and opened.store.remote.usable else 1


@contextlib.contextmanager
def _with_remote(asked: Asked) -> Iterator[tuple[Session, str]]:
    with session(asked, write=True) as opened:
        if opened.store.remote is None:
            hint = "name one with `--remote URL`, ONNXBUILD_REMOTE or `store: {remote: …}`"
            what = "`--offline` uses no remote store" if asked.offline else f"{asked.manifest} has no remote store"
            raise DiagnosticError(fault("OB047", what, hint=None if asked.offline else hint))
        yield opened, opened.store.remote.address.shown
