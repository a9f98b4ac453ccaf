"""`onnxbuild.lock`: which commit each Hub revision stood for when it was resolved.

It lies beside the manifest and is committed with it; manifests of one folder share it. Constraints: read on every run,
so it is JSON, which msgspec reads a hundred times faster than a YAML or TOML reader; merged by git, so entries are
sorted, each in a block of its own lines. What planning needs of a repository (its config.json, the names of its files)
stands there too, so that a plan asks no network.

    {"version": 1, "sources": {"hub:ORG/NAME@REVISION": {"commit": …, "config": {…}, "files": […]}}}
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, Span, fault
from onnxbuild.manifest.spec import Manifest

FILE_NAME = "onnxbuild.lock"
DEFAULT_REVISION = "main"
_HUB = "hub:"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[^@\s]+)?")


class LockedSource(Struct, frozen=True, forbid_unknown_fields=True):
    """A Hub repository at one commit. `config` is its config.json without long tables of labels, None without one."""

    commit: str
    files: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None


class Lock(Struct, frozen=True, forbid_unknown_fields=True):
    """Locked sources by `hub:repo@revision`."""

    version: int = 1
    sources: Mapping[str, LockedSource] = {}


Resolve = Callable[[str, str], LockedSource]  # (repository, revision) → commit; errors: DiagnosticError


def lock_path(manifest: str | Path) -> Path:
    """Where the lock file of a manifest lies."""
    return Path(manifest).parent / FILE_NAME


def is_hub_name(text: str) -> bool:
    """Whether a text is `org/name` or `name`, with `@revision` or without."""
    return _HUB_NAME.fullmatch(text) is not None


def hub_name(text: str) -> tuple[str, str]:
    """Repository and revision that `org/name@revision` asks for."""
    repo, _, revision = text.removeprefix(_HUB).partition("@")
    return repo, revision or DEFAULT_REVISION


def hub_key(text: str) -> str:
    """The entry of a hub source in the lock."""
    repo, revision = hub_name(text)
    return f"{_HUB}{repo}@{revision}"


def read_lock(path: Path) -> Lock:
    """The lock in a file; empty where there is none. Errors: DiagnosticError where it cannot be read."""
    try:
        lock = msgspec.json.decode(path.read_bytes(), type=Lock)
    except FileNotFoundError:
        return Lock()
    except (OSError, msgspec.MsgspecError) as error:
        hint = "after a merge, keep both sides' entries; or remove the file and run `onnxbuild lock`"
        raise DiagnosticError(fault("OB031", f"`{path}` cannot be read: {error}", hint=hint)) from None
    if lock.version != 1:
        raise DiagnosticError(fault("OB031", f"`{path}` has version {lock.version}, expected 1"))
    return lock


def write_lock(path: Path, lock: Lock) -> None:
    """Write a lock so that a reader sees the old one or the new one, whole."""
    text = msgspec.json.format(msgspec.json.encode(lock, order="sorted"), indent=1) + b"\n"
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class HubUse(Struct, frozen=True):
    """A hub source as a model names it."""

    model: str
    text: str  # without `hub:`
    span: Span

    @property
    def key(self) -> str:
        """Its entry in the lock."""
        return hub_key(self.text)


def hub_uses(manifest: Manifest) -> tuple[HubUse, ...]:
    """The hub sources of a manifest, in order."""
    return tuple(
        HubUse(model.name, model.source.removeprefix(_HUB), model.block.value_span("source"))
        for model in manifest.models
        if isinstance(model.source, str)
        and model.source.startswith(_HUB)
        and is_hub_name(model.source.removeprefix(_HUB))
    )


def unlocked(manifest: Manifest, lock: Lock) -> tuple[HubUse, ...]:
    """The hub sources that the lock does not hold."""
    return tuple(use for use in hub_uses(manifest) if use.key not in lock.sources)


def update_lock(lock: Lock, uses: Iterable[HubUse], resolve: Resolve) -> Lock:
    """The lock with the given sources resolved anew, each once.

    Errors: DiagnosticError with every source that could not be resolved, in its place.
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
    return Lock(sources=sources)


def lock_for(manifest: Manifest, *, offline: bool = False, write: bool = True, resolve: Resolve | None = None) -> Lock:
    """The lock of a manifest.

    Before a run (`write`), what it lacks is resolved and written, unless offline; otherwise it is taken as it is, so
    that a plan asks no network.

    Errors: DiagnosticError OB111 for what is missing offline, and those of `update_lock`.
    """
    path = lock_path(manifest.path)
    lock = read_lock(path)
    missing = unlocked(manifest, lock) if write else ()
    if not missing:
        return lock
    if offline:
        raise DiagnosticError(
            fault(
                "OB111",
                f"`hub:{one.text}` is not in `{FILE_NAME}`, and --offline asks nobody",
                span=one.span,
                hint=f"`onnxbuild lock {manifest.path}` resolves it where the Hub can be reached",
            )
            for one in missing
        )
    lock = update_lock(lock, missing, resolve or hub_resolve())
    write_lock(path, lock)
    return lock


def hub_resolve() -> Resolve:
    """The resolver that asks the Hub named by the environment."""
    from onnxbuild.plan.hub import Hub

    return Hub.from_environment().resolve
