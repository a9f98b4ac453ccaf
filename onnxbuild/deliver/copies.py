"""Copies of stored files outside the store: written, read again and compared before anybody sees them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

from onnxbuild.deliver.foreign_files import is_folder
from onnxbuild.digest import digest_file
from onnxbuild.store.content import File
from onnxbuild.store.files import Signature, clone_file, flush, settled_signature, signature
from onnxbuild.store.store import Store


def checked_copy(
    files: Mapping[str, File], texts: Mapping[str, bytes], store: Store, folder: Path
) -> Mapping[str, Signature]:
    """Write files to an empty folder; the signature of each belongs to content that was read and is right.

    `texts`: content that is not in the store. The files are separate ones, clones where the file system can, so that
    an edit does not reach the store. Errors: DamagedBlob, OSError.
    """
    for file in files.values():
        _copy(file, folder / _safe(file.name), texts.get(file.name), store)
    # Only now: each file waits until its time stamp is settled, and the wait for the last one serves all.
    return {name: _checked(folder / name, file, store, is_stored=name not in texts) for name, file in files.items()}


def _copy(file: File, place: Path, text: bytes | None, store: Store) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if text is not None:
        place.write_bytes(text)
    else:
        try:
            clone_file(store.content.path(file.digest), place)
        except OSError:
            store.content.verify(file)  # says whether the blob is the reason
            raise
    flush(place)


def _checked(place: Path, file: File, store: Store, *, is_stored: bool) -> Signature:
    # One read serves both: the copy is right only if the blob was.
    before = settled_signature(place)
    if digest_file(place, before[0]) == file.digest and signature(os.lstat(place)) == before:
        return before
    if is_stored:
        store.content.verify(file)
    raise OSError(errno.EIO, "was changed by another process while it was written", str(place))


def present_files(folder: Path, names: Iterable[str], store: Store) -> Mapping[str, File]:
    """Those of the names that are regular files below a folder; only files that have changed are read."""
    regular = tuple(sorted(name for name in names if _is_regular(folder, name)))
    return {file.name: file for file in store.digest_files(str(folder), regular).files}


def _is_regular(folder: Path, name: str) -> bool:
    """Whether a name is a regular file below a folder, with no link on the way: a FIFO would block its reader."""
    try:
        parents = list(PurePath(_safe(name)).parents)[:-1]
        is_file = stat.S_ISREG(os.lstat(folder / name).st_mode)
    except (OSError, ValueError):
        return False
    return is_file and all(is_folder(str(folder / parent)) for parent in parents)


def _safe(name: str) -> str:
    """The name of a file, if it leads to a place below a folder. Errors: OSError."""
    path = PurePath(name)
    if path.anchor or ".." in path.parts:
        raise OSError(errno.EINVAL, "is not a name below a folder", name)
    return name
