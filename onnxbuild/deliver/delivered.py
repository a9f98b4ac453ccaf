"""Records which folders below `out/` a manifest has written, to find those of targets that it no longer names.

Layout, in `.onnxbuild/delivered/`, one file per manifest, output folder and values of `-D`: `{"manifest": real path,
"out": absolute path, "folders": {"MODEL/TARGET": digest of its onnxbuild.json}}`. The description itself does not name
the manifest, because it is equal for equal results. A record is only a hint: a folder that is removed must also
describe itself as that variant, with exactly that description.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from onnxbuild.deliver.copies import equal_files
from onnxbuild.deliver.out_folder import Delivery, alone
from onnxbuild.deliver.provenance import PROVENANCE, Described, described
from onnxbuild.digest import digest_bytes, digest_value
from onnxbuild.manifest.language import NAME
from onnxbuild.planning.action_graph import PACKAGES
from onnxbuild.regular_files import is_folder, read_regular
from onnxbuild.store.files import remove_file, write_atomically
from onnxbuild.store.store import Store

Defines = Sequence[tuple[str, str]]  # of `-D`

_LARGEST = 16 << 20  # bytes
_FOLDER = re.compile(f"{NAME}/(?:{PACKAGES}/)?{NAME}")


class Record(Struct, frozen=True):
    """The folders that a manifest has written below an output folder."""

    manifest: str
    out: str
    folders: Mapping[str, str]


class Pruned(Struct, frozen=True):
    """A folder from which our files were removed.

    `edited`: files of ours that stay, because they have been changed. `others`: whether files of others stay, too.
    """

    folder: str
    edited: tuple[str, ...]
    others: bool = False


def record(state: Path, manifest: str, out: Path, deliveries: Iterable[Delivery], *, defines: Defines = ()) -> None:
    """Add what a run has delivered. If that fails, a folder may later not be found."""
    path = _path(state, manifest, out, defines)
    before = _read(path)
    known = before.folders if before is not None else {}
    now = {one.variant: one.files[os.path.join(one.folder, PROVENANCE)] for one in deliveries if one.files}
    kept = {name: digest for name, digest in known.items() if os.path.lexists(out / name)}
    if {**kept, **now} != known:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, msgspec.json.encode(Record(manifest, str(out), {**kept, **now})))


def left_over(state: Path, manifest: str, out: Path, named: Collection[str], *, defines: Defines = ()) -> list[str]:
    """The variants that a manifest has delivered to `out` and no longer names, if their folders are still there.

    A folder that another manifest beside it, or this one with other values of `-D`, has delivered too is not among
    them.
    """
    path = _path(state, manifest, out, defines)
    own = _read(path)
    unnamed = sorted(own.folders.keys() - set(named)) if own is not None else []
    if own is None or not unnamed:
        return []
    others = {name for other in _others(path, own) for name in other.folders}
    return [name for name in unnamed if name not in others and _description(out, name, own.folders[name])]


def prune(out: Path, variant: str, store: Store) -> Pruned | None:
    """Remove our files from the folder of a variant, and the folders that are empty then.

    None if the folder does not describe itself as that variant. Files of others and edited files stay. The description
    is removed last, so that the removal can be repeated after a kill. Errors: OSError.
    """
    folder = out / variant
    with alone(folder, store):
        found = _description(out, variant)
        if found is None:
            return None
        listed = found.listed()
        unchanged = equal_files(listed, folder, store)
        for name in sorted(unchanged):
            remove_file(folder / name)
            _remove_empty(folder / name, folder)
        remove_file(folder / PROVENANCE)
        _remove_empty(folder / PROVENANCE, out)
    edited = {file.name for file in listed if file.name not in unchanged and os.path.lexists(folder / file.name)}
    return Pruned(str(folder), tuple(sorted(edited)), others=bool(_files_below(folder) - edited))


def _files_below(folder: Path) -> set[str]:
    """The names of everything below a folder that is not a folder itself. Links are not followed."""
    found = ((Path(place), name) for place, _, names in os.walk(folder) for name in names)
    return {(place / name).relative_to(folder).as_posix() for place, name in found}


def _path(state: Path, manifest: str, out: Path, defines: Defines) -> Path:
    # The values of `-D` may be secret: they are only in the digest.
    whose = [manifest, str(out), *([sorted(map(list, defines))] if defines else [])]
    return state / "delivered" / f"{digest_value(whose)[:16]}.json"


def _read(path: Path) -> Record | None:
    try:
        return msgspec.json.decode(read_regular(path, _LARGEST), type=Record)
    except (OSError, ValueError, RecursionError):
        return None


def _others(path: Path, own: Record) -> Iterator[Record]:
    """The other records for the same output folder, if their manifests still exist."""
    for beside in path.parent.iterdir():
        other = _read(beside) if beside != path else None
        if other is None or other.out != own.out:
            continue
        if other.manifest == own.manifest or os.path.isfile(other.manifest):
            yield other


def _description(out: Path, variant: str, digest: str | None = None) -> Described | None:
    """The description in the folder of a variant, if it is that variant's (and the one recorded)."""
    if not _FOLDER.fullmatch(variant):
        return None
    folder = out / variant
    if not (is_folder(str(folder.parent)) and is_folder(str(folder))):
        return None
    found = described(folder)
    if found is None or f"{found[0].model}/{found[0].target}" != variant:
        return None
    return found[0] if digest in {None, digest_bytes(found[1])} else None


def _remove_empty(removed: Path, top: Path) -> None:
    """Remove the empty folders between a removed file and `top`, which stays."""
    for folder in removed.parents:
        if folder == top:
            return
        try:
            folder.rmdir()
        except OSError:
            return
