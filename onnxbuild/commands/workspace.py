"""What most commands begin with: a manifest becomes a graph, and the store and the runner are opened beside it."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.machine import available_memory, this_machine, usable_cores
from onnxbuild.manifest.spec import Manifest
from onnxbuild.planning.plan import Plan
from onnxbuild.runners.environments import Environment, Interpreter, Locked, Unlocked, Unusable
from onnxbuild.runners.local import LocalRunner
from onnxbuild.runners.runner import Runner
from onnxbuild.steps import Kinds, all_kinds, kinds_at, plugin_files, plugin_places
from onnxbuild.store.store import Store, opened

if TYPE_CHECKING:  # PyYAML and what stands on it: a run that plans from memory does without
    from onnxbuild.planning.expand import Expansion
    from onnxbuild.planning.locked import Lock
    from onnxbuild.store.remote.remote_store import Remote


class Asked(Struct, frozen=True, kw_only=True):
    """What every command that reads a manifest takes from its command line."""

    manifest: str
    selectors: tuple[str, ...] = ()
    defines: Mapping[str, str] = {}
    store: str | None = None
    remote: str | None = None
    remote_readonly: bool = False
    offline: bool = False


class Session(Plan, frozen=True, kw_only=True):
    """A manifest, planned, with the store and the runner that it is to be built with."""

    environments: Mapping[str, Environment]  # of toolchains other than the current interpreter
    kinds: Kinds
    store: Store
    runner: Runner
    scope: str
    state: Path  # `.onnxbuild/` beside the manifest: logs, receipts


def planned(asked: Asked, *, write_lock: bool) -> tuple[Manifest, Expansion, Lock]:
    """The manifest, its whole graph, and the lock; before a run (`write_lock`) sources on a Hub are pinned first.

    Errors: DiagnosticError with every fault of every model.
    """
    from onnxbuild.manifest.load import load_manifest
    from onnxbuild.planning.expand import survey
    from onnxbuild.planning.lock_file import lock_for

    manifest = load_manifest(asked.manifest, kinds=all_kinds(), defines=asked.defines)
    lock = lock_for(manifest, offline=asked.offline, write=write_lock, say=_tell)
    found = survey(manifest, all_kinds(), lock, this_machine())
    faults = [one for one in found.diagnostics if one.severity == "error"]
    if faults:
        raise DiagnosticError(faults)
    return manifest, found, lock


def plan(asked: Asked, *, write_lock: bool) -> tuple[Plan, Mapping[str, Environment]]:
    """The plan of what is asked for, and the environments of its toolchains. Errors: DiagnosticError."""
    from onnxbuild.planning.expand import watched_files
    from onnxbuild.planning.lock_file import lock_path
    from onnxbuild.planning.select import named, select

    manifest, expansion, lock = planned(asked, write_lock=write_lock)
    environments = environments_of(manifest, lock, store_root(asked, manifest))
    made = Plan(
        manifest=manifest,
        graph=select(expansion.graph, asked.selectors),
        named=named(expansion.graph, asked.selectors),
        whole=expansion.graph,
        watched=(
            *watched_files(manifest, expansion, str(lock_path(asked.manifest))),
            *expansion.directories,
            *plugin_files(all_kinds()),
            *(path for environment in environments.values() for path in environment.watched()),
        ),
        plugins=plugin_places(),
    )
    return made, environments


@contextlib.contextmanager
def session(asked: Asked, *, write: bool, jobs: int = 1, remembered: Plan | None = None) -> Iterator[Session]:
    """Everything opened, and closed again at the end; `remembered` is a plan that still holds.

    Errors: DiagnosticError.
    """
    made, environments = (remembered, {}) if remembered else plan(asked, write_lock=write)
    runner = LocalRunner(environments, threads=max(1, usable_cores() // jobs))
    try:
        remote = remote_store(asked, made.manifest)
        with telling(remote), opened(store_root(asked, made.manifest), write=write, remote=remote) as store:
            yield Session(
                manifest=made.manifest,
                graph=made.graph,
                named=made.named,
                whole=made.whole,
                watched=made.watched,
                plugins=made.plugins,
                kinds=kinds_at(made.plugins),
                environments=environments,
                store=store,
                runner=runner,
                scope=os.path.realpath(asked.manifest),
                state=state_for(asked.manifest, store),
            )
    finally:
        runner.close()


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


def environments_of(manifest: Manifest, lock: Lock, store: Path) -> Mapping[str, Environment]:
    """The environments of the toolchains that models pick. Errors: DiagnosticError OB048 for one that cannot start."""
    from onnxbuild.planning.toolchains import toolchain_key

    found: dict[str, Environment] = {}
    for name in dict.fromkeys(model.toolchain for model in manifest.models if model.toolchain):
        toolchain = manifest.toolchains[name]
        if toolchain.python:
            found[name] = Interpreter(name, toolchain.python)
            try:
                found[name].identity()
            except Unusable as error:
                hint = error.failure.notes[0][1]
                raise DiagnosticError(fault("OB048", str(error), span=toolchain.span, hint=hint)) from error
        else:
            locked = lock.toolchains.get(toolchain_key(toolchain.requirements))
            found[name] = Locked(name, locked, store) if locked else Unlocked(name)
    return found


def store_root(asked: Asked, manifest: Manifest) -> Path:
    """Where the store is: `--store`, then ONNXBUILD_STORE, then the manifest's `store:`, then beside the manifest."""
    named = asked.store or os.environ.get("ONNXBUILD_STORE")
    if named:
        return Path(named).absolute()
    base = Path(asked.manifest).absolute().parent
    return base / manifest.store.path if manifest.store.path else state_folder(asked.manifest) / "store"


def remote_store(asked: Asked, manifest: Manifest) -> Remote | None:
    """What is shared with other machines: `--remote`, then ONNXBUILD_REMOTE, then the manifest's `store:`.

    Nothing is opened yet: who finds everything in the local store does not pay for it.
    """
    named = asked.remote or os.environ.get("ONNXBUILD_REMOTE")
    written = named or manifest.store.remote
    if not written or asked.offline:
        return None
    from onnxbuild.store.remote.address import address_of
    from onnxbuild.store.remote.remote_store import Remote

    address = address_of(written, Path.cwd() if named else Path(asked.manifest).absolute().parent)
    return Remote(address, readonly=asked.remote_readonly or manifest.store.readonly)


@contextlib.contextmanager
def telling(remote: Remote | None) -> Iterator[None]:
    """At the end, say on stderr what was wrong with the remote store: a live view is then no longer in the way."""
    try:
        yield
    finally:
        if remote is not None and remote.warnings:
            from onnxbuild.report.render_diagnostics import render, wants_colour

            sys.stderr.write(render(remote.warnings, "text", colour=wants_colour(sys.stderr)))


def state_folder(manifest: str) -> Path:
    """`.onnxbuild/` beside a manifest: what a run keeps besides its outputs."""
    return Path(manifest).absolute().parent / ".onnxbuild"


def state_for(manifest: str, store: Store) -> Path:
    """That folder, or the store's where the manifest lies on a read-only file system: logs must go somewhere."""
    beside = state_folder(manifest)
    where = beside if beside.exists() else beside.parent
    return beside if os.access(where, os.W_OK) else store.root


def memory_limit() -> float:
    """What actions that run together may be estimated to take: most of what is free now, to stay out of swap."""
    available = available_memory()
    return float("inf") if available is None else 0.8 * available


def default_jobs() -> int:
    """As many actions at once as there are cores, up to four: beyond that memory, not cores, is what runs out."""
    return min(4, usable_cores())
