"""Deliveries: a finished variant as a folder under `out/`, whole or not at all, and mended when someone edited it."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from onnxbuild import __version__
from onnxbuild.digest import Digest, digest_bytes
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.store.content import File, Tree
from onnxbuild.store.files import flush, remove_tree, settled_signature, walk_files
from onnxbuild.store.store import Store

PROVENANCE = "onnxbuild.json"

# renameat2(2): swap two folders in one step, so that a reader finds the old output or the new one at every moment.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class Delivery(Struct, frozen=True):
    """What became of one variant's folder. `edited`: files of it that were not as the last run left them.

    `error`: why it could not be laid out; what was there before is still there.
    """

    variant: str
    folder: str
    state: Literal["intact", "written", "mended", "withheld", "failed"]
    edited: tuple[str, ...] = ()
    error: str | None = None


def deliver(variant: Variant, graph: ActionGraph, outcomes: Mapping[str, Outcome], store: Store, out: Path) -> Delivery:
    """Lay a variant out below `out`, if all that it needs and all its checks succeeded.

    Otherwise the folder stays as it is: the last good output is not taken away for a failed successor. Files that
    someone put beside ours are kept. Errors: DamagedBlob where a stored file must be built again.
    """
    folder = out / variant.model / variant.target
    try:
        return _deliver(variant, graph, outcomes, store, folder)
    except OSError as error:
        words = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
        return Delivery(variant.name, str(folder), "failed", error=words)


def _deliver(
    variant: Variant, graph: ActionGraph, outcomes: Mapping[str, Outcome], store: Store, folder: Path
) -> Delivery:
    needed = (*variant.steps, *variant.checks)
    if not all(name in outcomes and outcomes[name].outcome in SUCCEEDED for name in needed):
        return Delivery(variant.name, str(folder), "withheld")
    content = store.tree(outcomes[variant.output.action].outputs[variant.output.port])
    provenance = _provenance(variant, graph, outcomes, store, content)
    wanted = {file.name: file for file in content.files}
    wanted[PROVENANCE] = File(PROVENANCE, digest_bytes(provenance), len(provenance))
    present = _present(folder, store)
    if all(present.get(name) == file for name, file in wanted.items()) and not _torsos(folder):
        return Delivery(variant.name, str(folder), "intact")
    ours = _ours(folder)
    edited = tuple(sorted(n for n, digest in ours.items() if present.get(n) is None or present[n].digest != digest))
    foreign = {name: file.digest for name, file in present.items() if name not in wanted and name not in ours}
    with store.lock(f"out-{digest_bytes(bytes(folder))}", lambda _holder: None, lambda: False):
        for torso in _torsos(folder):
            remove_tree(torso)
        _write(folder, content, provenance, foreign, store)
    return Delivery(variant.name, str(folder), "mended" if edited else "written", edited)


def _torsos(folder: Path) -> list[Path]:
    """What a run that was killed while it laid this folder out has left beside it."""
    with contextlib.suppress(FileNotFoundError):
        return [place for place in folder.parent.iterdir() if place.name.startswith(f"{_fresh(folder)}.")]
    return []


def _fresh(folder: Path) -> str:
    return f".{folder.name}.fresh"


def _write(folder: Path, content: Tree, provenance: bytes, foreign: Mapping[str, Digest], store: Store) -> None:
    fresh = folder.with_name(f"{_fresh(folder)}.{os.getpid()}")
    try:
        fresh.mkdir(parents=True)
        store.content.materialize(content, fresh)
        (fresh / PROVENANCE).write_bytes(provenance)
        for name, _ in walk_files(fresh):
            flush(fresh / name)
        for name in foreign:
            if not (fresh / name).exists():
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                (fresh / name).hardlink_to(folder / name)
        _swap(fresh, folder)
    finally:
        remove_tree(fresh)
    # A link more has moved the ctime of what is not ours, too.
    known = {**foreign, **{file.name: file.digest for file in content.files}, PROVENANCE: digest_bytes(provenance)}
    if not store.readonly:
        store.traces.remember(
            {os.path.join(folder, name): (settled_signature(folder / name), digest) for name, digest in known.items()}
        )


def _swap(fresh: Path, folder: Path) -> None:
    """Put `fresh` in the place of `folder`; what was there is then under the name `fresh`."""
    if not folder.exists():
        fresh.rename(folder)
        return
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is not None and call(_AT_FDCWD, bytes(fresh), _AT_FDCWD, bytes(folder), _RENAME_EXCHANGE) == 0:
        return
    aside = fresh.with_name(f"{fresh.name}.old")  # no such call, or not on this file system: the next best
    folder.rename(aside)
    fresh.rename(folder)
    aside.rename(fresh)


def _present(folder: Path, store: Store) -> Mapping[str, File]:
    """The files of a folder by name, by content; read only where they have changed since they were last read."""
    if not folder.exists():
        return {}
    # What is no file (a broken link, a socket) is nobody's output, and cannot be read.
    names = tuple(name for name, entry in walk_files(folder) if entry.is_file())
    tree = store.digest_files(str(folder), names)
    return {file.name: file for file in tree.files}


def _ours(folder: Path) -> Mapping[str, str]:
    """Name and digest of the files that a former run put into a folder, by its own account."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        listed = msgspec.json.decode((folder / PROVENANCE).read_bytes())["files"]
        return {name: file["blake3"] for name, file in listed.items()}
    return {}


def _provenance(
    variant: Variant, graph: ActionGraph, outcomes: Mapping[str, Outcome], store: Store, content: Tree
) -> bytes:
    """What was done, with what, and what was found, as JSON: equal for equal results, without places or times."""
    done = [name for name in (*variant.steps, *variant.checks, *variant.measures) if name in outcomes]
    value: dict[str, Any] = {
        "onnxbuild": __version__,
        "model": variant.model,
        "target": variant.target,
        "precision": variant.precision,
        "files": {file.name: {"blake3": file.digest, "bytes": file.size} for file in content.files},
        "steps": [_step(outcomes[name], graph, store) for name in done if outcomes[name].outcome in SUCCEEDED],
    }
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _step(outcome: Outcome, graph: ActionGraph, store: Store) -> Mapping[str, Any]:
    assert outcome.key is not None, "BUG: a success has a key"
    trace = store.traces.find(outcome.key)
    assert trace is not None, "BUG: a success has a trace"
    parts = trace.parts
    return {
        "id": outcome.id,
        "kind": outcome.kind,
        "version": parts["version"],
        "key": outcome.key,
        "params": graph.actions[outcome.id].params,
        "packages": parts["packages"],
        "toolchain": parts["toolchain"],
        "machine": parts["machine"],
        "inputs": parts["inputs"],
        "outputs": trace.outputs,
        "facts": trace.facts,
    }
