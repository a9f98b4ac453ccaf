"""`onnxbuild.lock`: which commit each Hub revision stood for, and which packages each toolchain came to.

It lies beside the manifest and is committed with it; manifests of one folder share it. Constraints: read on every run,
so it is JSON, which msgspec reads a hundred times faster than a YAML or TOML reader; merged by git, so entries are
sorted, each in a block of its own lines. What planning needs of a repository (its config.json, the names of its files)
stands there too, so that a plan asks no network.

    {"version": 1,
     "sources": {"hub:ORG/NAME@REVISION": {"commit": …, "config": {…}, "files": […]},
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

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, Span, fault
from onnxbuild.manifest.spec import Manifest, Toolchain
from onnxbuild.planning.locked import Lock, Resolve
from onnxbuild.planning.toolchains import resolve_toolchain, toolchain_key
from onnxbuild.steps.fetch import DATASETS
from onnxbuild.store.files import write_atomically

FILE_NAME = "onnxbuild.lock"
DEFAULT_REVISION = "main"
_HUB = "hub:"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[^@\s]+)?")


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
    held = {name: part for name, part in msgspec.to_builtins(lock).items() if part != {}}
    text = msgspec.json.format(msgspec.json.encode(held, order="sorted"), indent=1) + b"\n"
    write_atomically(path, text)


class HubUse(Struct, frozen=True):
    """A hub source as a model or a dataset names it."""

    name: str  # of the model or the dataset
    text: str  # without `hub:`; that of a dataset begins with `datasets/`
    span: Span

    @property
    def written(self) -> str:
        """What stands in the manifest."""
        return f"{_HUB}{self.text.removeprefix(DATASETS)}"

    @property
    def key(self) -> str:
        """Its entry in the lock."""
        return hub_key(self.text)


def dataset_name(text: str) -> str:
    """The repository of a dataset, with its revision, as the lock and the Hub name it beside models."""
    return f"{DATASETS}{text}"


def hub_uses(manifest: Manifest) -> tuple[HubUse, ...]:
    """The hub sources of a manifest, models' before datasets', in order."""
    models = ((one.name, one.source, one.block.value_span("source")) for one in manifest.models)
    rows = ((one.name, one.source, one.span) for one in manifest.datasets.values())
    return (
        *(HubUse(name, text, span) for name, text, span in _on_hub(models)),
        *(HubUse(name, dataset_name(text), span) for name, text, span in _on_hub(rows)),
    )


def _on_hub(sources: Iterable[tuple[str, Any, Span]]) -> Iterator[tuple[str, str, Span]]:
    for name, source, span in sources:
        if isinstance(source, str) and source.startswith(_HUB) and is_hub_name(text := source.removeprefix(_HUB)):
            yield name, text, span


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
    return msgspec.structs.replace(lock, sources=sources)


def lock_for(
    manifest: Manifest,
    *,
    offline: bool = False,
    write: bool = True,
    resolve: Resolve | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> Lock:
    """The lock of a manifest; `say` hears of what takes long.

    Before a run (`write`), what it lacks is resolved and written, unless offline; otherwise it is taken as it is, so
    that a plan asks no network.

    Errors: DiagnosticError OB111 for what is missing offline, and those of `update_lock`.
    """
    path = lock_path(manifest.path)
    lock = read_lock(path)
    missing = unlocked(manifest, lock) if write else ()
    unresolved = unlocked_toolchains(manifest, lock) if write else ()
    if not missing and not unresolved:
        return lock
    if offline and unresolved:
        raise DiagnosticError(
            fault(
                "OB049",
                f"the toolchain `{one.name}` is not in `{FILE_NAME}`, and --offline asks nobody",
                span=one.span,
                hint=f"`onnxbuild lock {manifest.path}` resolves it where the package index can be reached",
            )
            for one in unresolved
        )
    if offline:
        raise DiagnosticError(
            fault(
                "OB111",
                f"`{one.written}` is not in `{FILE_NAME}`, and --offline asks nobody",
                span=one.span,
                hint=f"`onnxbuild lock {manifest.path}` resolves it where the Hub can be reached",
            )
            for one in missing
        )
    if missing:
        lock = update_lock(lock, missing, resolve or hub_resolve())
    lock = lock_toolchains(lock, unresolved, say)
    write_lock(path, lock)
    return lock


def toolchains_in_use(manifest: Manifest) -> tuple[Toolchain, ...]:
    """The toolchains that a model picks and that are made from requirements, in order."""
    named = dict.fromkeys(model.toolchain for model in manifest.models if model.toolchain)
    return tuple(manifest.toolchains[name] for name in named if name and manifest.toolchains[name].requirements)


def unlocked_toolchains(manifest: Manifest, lock: Lock) -> tuple[Toolchain, ...]:
    """The toolchains that the lock does not hold for this Python and platform."""
    return tuple(one for one in toolchains_in_use(manifest) if toolchain_key(one.requirements) not in lock.toolchains)


def lock_toolchains(lock: Lock, wanted: Iterable[Toolchain], say: Callable[[str], None]) -> Lock:
    """The lock with the given toolchains resolved anew. Errors: DiagnosticError OB105, in its place."""
    found = dict(lock.toolchains)
    for one in wanted:
        say(f"resolving toolchain `{one.name}`: {', '.join(one.requirements)}")
        try:
            found[toolchain_key(one.requirements)] = resolve_toolchain(one.name, one.requirements)
        except DiagnosticError as error:
            raise DiagnosticError(
                msgspec.structs.replace(found_fault, span=one.span) for found_fault in error.diagnostics
            ) from error
    return msgspec.structs.replace(lock, toolchains=found)


def hub_resolve() -> Resolve:
    """The resolver that asks the Hub named by the environment."""
    from onnxbuild.planning.hub import Hub

    return Hub.from_environment().resolve
