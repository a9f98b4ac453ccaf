"""`onnxbuild.lock`: the commit of each Hub revision, and the packages of each toolchain.

It is in the folder of the manifest and is committed with it; the manifests of one folder share it. Constraints: every
run reads it, so it is JSON, which msgspec reads a hundred times faster than a YAML or TOML reader. git merges it, so
entries are sorted, each on its own lines. It also holds what planning needs of a repository (the configs
of a model and of an adapter, the names of its files), so that planning needs no network.

    {"version": 1,
     "sources": {"hub:ORG/NAME@REVISION": {"commit": …, "config": {…}, "files": […], "license": "mit"},
                 "hub:ORG/LORA@REVISION": {"commit": …, "adapter": {…}, "files": […]},
                 "hub:datasets/ORG/NAME@REVISION": {"commit": …, "files": […]}},
     "toolchains": {"PYTHON PLATFORM: REQUIREMENTS": {"packages": [{"name": …, "version": …, "sha256": …}]}}}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, Source, Span, fault
from onnxbuild.manifest.spec import Manifest, Toolchain
from onnxbuild.planning.locked import Lock, Resolve
from onnxbuild.planning.pinned.lock_checks import lock_faults
from onnxbuild.planning.toolchains import toolchain_key
from onnxbuild.regular_files import NotRegular, read_regular
from onnxbuild.steps.fetch import DATASETS
from onnxbuild.store.files import write_atomically

FILE_NAME = "onnxbuild.lock"
_MOST_BYTES = 10 << 20  # a thousand models take 5 MB; the worst JSON of this size takes 250 MB of memory
_MOST_FAULTS = 100
_VERSION = 1
DEFAULT_REVISION = "main"
_HUB = "hub:"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[^@\s]+)?")


def lock_path(manifest: str | Path) -> Path:
    """The path of a manifest's lock file."""
    return Path(manifest).parent / FILE_NAME


def is_hub_name(text: str) -> bool:
    """Whether a text is `org/name` or `name`, with `@revision` or without."""
    return _HUB_NAME.fullmatch(text) is not None


def hub_name(text: str) -> tuple[str, str]:
    """The repository and the revision of `org/name@revision`."""
    repo, _, revision = text.removeprefix(_HUB).partition("@")
    return repo, revision or DEFAULT_REVISION


def hub_key(text: str) -> str:
    """The key of a hub source in the lock."""
    repo, revision = hub_name(text)
    return f"{_HUB}{repo}@{revision}"


def read_lock(path: Path) -> Lock:
    """The lock in a file; empty if the file is missing.

    Errors: DiagnosticError OB031 if it cannot be read, with every field that is not what it must be, at its place.
    """
    try:
        data = read_regular(path, _MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return Lock()
    except NotRegular as error:
        hint = "it comes with the manifest: restore it, or remove it and run `onnxbuild lock`"
        raise DiagnosticError(fault("OB031", f"`{path}` {error.strerror}", hint=hint)) from None
    except (OSError, ValueError) as error:
        raise DiagnosticError(_unreadable(path, getattr(error, "strerror", None) or str(error))) from None
    return _parsed(path, data)


def write_lock(path: Path, lock: Lock) -> None:
    """Write a lock so that a reader sees the whole old one or the whole new one.

    Errors: DiagnosticError OB031 for what could not be read again: the Hub or pip gave an answer of another form.
    The lock on the disk stays as it was.
    """
    held = {name: part for name, part in msgspec.to_builtins(lock).items() if part != {}}
    text = msgspec.json.format(msgspec.json.encode(held, order="sorted"), indent=1) + b"\n"
    try:
        _parsed(path, text)
    except DiagnosticError as error:
        notes = (("hint", "the answer of the Hub or of pip has another form; the lock file stays as it was"),)
        raise DiagnosticError(
            msgspec.structs.replace(one, span=None, notes=notes) for one in error.diagnostics
        ) from None
    write_atomically(path, text)


def _parsed(path: Path, data: bytes) -> Lock:
    try:
        lock = msgspec.json.decode(data, type=Lock)
        text = data.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DiagnosticError(_unreadable(path, str(error))) from None
    except RecursionError:
        raise DiagnosticError(_unreadable(path, "its values are nested too deeply")) from None
    if lock.version != _VERSION:
        hint = "it was made by a newer onnxbuild: update onnxbuild, or remove the file and run `onnxbuild lock`"
        message = f"`{path}` has version {lock.version}, expected {_VERSION}"
        raise DiagnosticError(
            fault(
                "OB031", message, hint=hint if lock.version > _VERSION else "remove the file and run `onnxbuild lock`"
            )
        )
    faults = lock_faults(lock, Source(str(path), text))
    if faults:
        raise DiagnosticError(faults[:_MOST_FAULTS])
    return lock


def _unreadable(path: Path, reason: str) -> Diagnostic:
    hint = "after a merge, keep both sides' entries; or remove the file and run `onnxbuild lock`"
    return fault("OB031", f"`{path}` cannot be read: {reason}", hint=hint)


class HubUse(Struct, frozen=True):
    """A hub source as a model or a dataset names it."""

    name: str  # of the model or the dataset
    text: str  # without `hub:`; that of a dataset begins with `datasets/`
    span: Span

    @property
    def written(self) -> str:
        """The source as written in the manifest."""
        return f"{_HUB}{self.text.removeprefix(DATASETS)}"

    @property
    def key(self) -> str:
        """Its key in the lock."""
        return hub_key(self.text)


def dataset_name(text: str) -> str:
    """The repository of a dataset, with its revision, as the lock and the Hub name it to distinguish it from models."""
    return f"{DATASETS}{text}"


def hub_uses(manifest: Manifest) -> tuple[HubUse, ...]:
    """The hub sources of a manifest: those of the models with their adapters, then those of the datasets, in order."""
    models = (
        (one.name, source, one.block.value_span(key))
        for one in manifest.models
        for key, source in (("source", one.source), ("adapter", one.adapter))
    )
    rows = ((one.name, one.source, one.span) for one in manifest.datasets.values())
    return (
        *(HubUse(name, text, span) for name, text, span in _on_hub(models)),
        *(HubUse(name, dataset_name(text), span) for name, text, span in _on_hub(rows)),
    )


def _on_hub(sources: Iterable[tuple[str, Any, Span]]) -> Iterator[tuple[str, str, Span]]:
    for name, source, span in sources:
        if isinstance(source, str) and source.startswith(_HUB) and is_hub_name(source.removeprefix(_HUB)):
            yield name, source.removeprefix(_HUB), span


def unlocked(manifest: Manifest, lock: Lock) -> tuple[HubUse, ...]:
    """The hub sources that the lock does not hold."""
    return tuple(use for use in hub_uses(manifest) if use.key not in lock.sources)


def update_lock(lock: Lock, uses: Iterable[HubUse], resolve: Resolve) -> Lock:
    """The lock with the given sources resolved again, each once.

    Errors: DiagnosticError with every source that could not be resolved, at its place.
    """
    sources = dict(lock.sources)
    faults: list[Diagnostic] = []
    for key, use in {use.key: use for use in uses}.items():
        try:
            sources[key] = resolve(*hub_name(use.text))
        except DiagnosticError as error:
            faults.extend(msgspec.structs.replace(one, span=use.span) for one in error.diagnostics)
    if faults:
        raise DiagnosticError(faults)
    return msgspec.structs.replace(lock, sources=sources)


def lock_for(
    manifest: Manifest,
    *,
    offline: bool = False,
    write: bool = True,
    resolve: Resolve | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> Lock:
    """The lock of a manifest; `say` gets a line before each step that takes long.

    Before a run (`write`), missing entries are resolved and written, unless offline. Otherwise the lock is used as it
    is, so that planning needs no network.

    Errors: DiagnosticError OB111 for what is missing offline, and those of `update_lock`.
    """
    path = lock_path(manifest.path)
    lock = read_lock(path)
    missing = unlocked(manifest, lock) if write else ()
    unresolved = unlocked_toolchains(manifest, lock) if write else ()
    if not missing and not unresolved:
        return lock
    if offline:
        raise DiagnosticError(_absent_offline(manifest, missing, unresolved))
    if missing:
        lock = update_lock(lock, missing, resolve or hub_resolve())
    lock = lock_toolchains(lock, unresolved, say)
    write_lock(path, lock)
    return lock


def _absent_offline(
    manifest: Manifest, missing: Iterable[HubUse], unresolved: Iterable[Toolchain]
) -> tuple[Diagnostic, ...]:
    """OB049 for each toolchain that the lock lacks; if it has all of them, OB111 for each source that it lacks."""
    command = f"`onnxbuild lock {manifest.path}`"
    toolchains = tuple(
        fault(
            "OB049",
            f"the toolchain `{one.name}` is not in `{FILE_NAME}`, and --offline allows no network",
            span=one.span,
            hint=f"{command} resolves it where the package index can be reached",
        )
        for one in unresolved
    )
    sources = tuple(
        fault(
            "OB111",
            f"`{one.written}` is not in `{FILE_NAME}`, and --offline allows no network",
            span=one.span,
            hint=f"{command} resolves it where the Hub can be reached",
        )
        for one in missing
    )
    return toolchains or sources


def toolchains_in_use(manifest: Manifest) -> tuple[Toolchain, ...]:
    """The toolchains that models name and that are made from requirements, in order."""
    named = dict.fromkeys(model.toolchain for model in manifest.models if model.toolchain)
    return tuple(manifest.toolchains[name] for name in named if name and manifest.toolchains[name].requirements)


def lock_key(toolchain: Toolchain) -> str:
    """The key of a manifest's toolchain in the lock."""
    return toolchain_key(toolchain.requirements, toolchain.sdist)


def unlocked_toolchains(manifest: Manifest, lock: Lock) -> tuple[Toolchain, ...]:
    """The toolchains that the lock does not hold for this Python and platform."""
    return tuple(one for one in toolchains_in_use(manifest) if lock_key(one) not in lock.toolchains)


def lock_toolchains(lock: Lock, wanted: Iterable[Toolchain], say: Callable[[str], None]) -> Lock:
    """The lock with the given toolchains resolved again. Errors: DiagnosticError OB105, at its place."""
    from onnxbuild.planning.pinned.resolution import resolve_toolchain

    toolchains = dict(lock.toolchains)
    for one in wanted:
        say(f"resolving toolchain `{one.name}`: {', '.join(one.requirements)}")
        try:
            toolchains[lock_key(one)] = resolve_toolchain(one.name, one.requirements, one.sdist)
        except DiagnosticError as error:
            raise DiagnosticError(
                msgspec.structs.replace(problem, span=one.span) for problem in error.diagnostics
            ) from error
    return msgspec.structs.replace(lock, toolchains=toolchains)


def hub_resolve() -> Resolve:
    """The resolver that asks the Hub which the environment names."""
    from onnxbuild.planning.hub import Hub

    return Hub.from_environment().resolve
