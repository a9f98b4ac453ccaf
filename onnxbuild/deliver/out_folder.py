"""Deliveries: a finished variant as a folder under `out/`, complete or not at all, and repaired after edits."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from onnxbuild.digest import Digest, digest_bytes
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.store.content import File, Tree
from onnxbuild.store.files import flush, remove_tree, settled_signature, walk_files
from onnxbuild.store.store import Store
from onnxbuild.version import __version__

PROVENANCE = "onnxbuild.json"

# renameat2(2) of Linux: swap two folders in one step, so that a reader always finds the old output or the new one.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class Delivery(Struct, frozen=True):
    """The state of one variant's folder. `edited`: its files that were changed since the last run.

    `error`: why the folder could not be written; its previous content is still there.
    """

    variant: str
    folder: str
    state: Literal["intact", "written", "mended", "withheld", "failed"]
    edited: tuple[str, ...] = ()
    error: str | None = None


def deliver(variant: Variant, graph: ActionGraph, outcomes: Mapping[str, Outcome], store: Store, out: Path) -> Delivery:
    """Write a variant to its folder below `out`, if all its steps and checks succeeded.

    Otherwise the folder stays as it is: a failed build does not remove the last good output. Files that others have
    put into the folder are kept. Errors: DamagedBlob if a stored file must be built again.
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
    if all(present.get(name) == file for name, file in wanted.items()) and not _leftovers(folder):
        return Delivery(variant.name, str(folder), "intact")
    ours = _ours(folder)
    edited = tuple(sorted(n for n, digest in ours.items() if present.get(n) is None or present[n].digest != digest))
    foreign = {name: file.digest for name, file in present.items() if name not in wanted and name not in ours}
    with store.lock(f"out-{digest_bytes(bytes(folder))}", lambda _holder: None, lambda: False):
        for leftover in _leftovers(folder):
            remove_tree(leftover)
        _write(folder, content, provenance, foreign, store)
    return Delivery(variant.name, str(folder), "mended" if edited else "written", edited)


def _leftovers(folder: Path) -> list[Path]:
    """The folders that a run left beside this one when it was killed while writing."""
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
    # The new hard links have changed the ctime of foreign files, too.
    known = {**foreign, **{file.name: file.digest for file in content.files}, PROVENANCE: digest_bytes(provenance)}
    if not store.readonly:
        store.traces.remember(
            {os.path.join(folder, name): (settled_signature(folder / name), digest) for name, digest in known.items()}
        )


def _swap(fresh: Path, folder: Path) -> None:
    """Put `fresh` in the place of `folder`; the old folder then has the name `fresh`."""
    if not folder.exists():
        fresh.rename(folder)
    elif not _exchange(fresh, folder):
        # Not Linux, or a file system without exchange: for a moment, a reader finds no folder.
        aside = fresh.with_name(f"{fresh.name}.old")
        folder.rename(aside)
        fresh.rename(folder)
        aside.rename(fresh)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step; False if the system or the file system cannot."""
    if sys.platform != "linux":
        return False
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return call is not None and call(_AT_FDCWD, bytes(one), _AT_FDCWD, bytes(other), _RENAME_EXCHANGE) == 0


def _present(folder: Path, store: Store) -> Mapping[str, File]:
    """The files of a folder by name; a file is read only if it has changed since it was last read."""
    if not folder.exists():
        return {}
    # Anything but a file (a broken link, a socket) is not an output, and cannot be read.
    names = tuple(name for name, entry in walk_files(folder) if entry.is_file())
    tree = store.digest_files(str(folder), names)
    return {file.name: file for file in tree.files}


def _ours(folder: Path) -> Mapping[str, str]:
    """Name and digest of the files that a previous run wrote to a folder, as its `onnxbuild.json` lists them."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        listed = msgspec.json.decode((folder / PROVENANCE).read_bytes())["files"]
        return {name: file["blake3"] for name, file in listed.items()}
    return {}


def _provenance(
    variant: Variant, graph: ActionGraph, outcomes: Mapping[str, Outcome], store: Store, content: Tree
) -> bytes:
    """The steps, their inputs and their results, as JSON: equal for equal results, without locations or times."""
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
