"""Copies of stored files outside the store: written, read again and compared before anybody sees them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

from onnxbuild.digest import digest_file
from onnxbuild.regular_files import is_folder
from onnxbuild.store.content import File
from onnxbuild.store.files import Signature, clone_file, flush, settled_signature, signature
from onnxbuild.store.store import Store


def checked_copy(
    files: Mapping[str, File], texts: Mapping[str, bytes], store: Store, folder: Path
) -> Mapping[str, Signature]:
    """Write files to an empty folder; the signature of each belongs to content that was read and is right.

    `texts`: content that is not in the store. The files are separate from those of the store (clones, if the file
    system has them), so that an edit does not change the store. Errors: DamagedBlob, OSError.
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
    # One read checks both: the copy is right only if the blob was.
    before = settled_signature(place)
    if digest_file(place, before[0]) == file.digest and signature(os.lstat(place)) == before:
        return before
    if is_stored:
        store.content.verify(file)
    raise OSError(errno.EIO, "was changed by another process while it was written", str(place))


def equal_files(files: Iterable[File], folder: Path, store: Store) -> frozenset[str]:
    """The names of those files that a folder has with the same content; only files that have changed are read."""
    candidates = {file.name: file for file in files if _size(folder, file.name) == file.size}
    present = store.digest_files(str(folder), tuple(sorted(candidates))).files
    return frozenset(file.name for file in present if file == candidates[file.name])


def _size(folder: Path, name: str) -> int | None:
    """The size of a regular file below a folder; None if it is anything else, or if there is a link on the way."""
    try:
        parents = list(PurePath(_safe(name)).parents)[:-1]
        status = os.lstat(folder / name)
    except (OSError, ValueError):
        return None
    is_ours = stat.S_ISREG(status.st_mode) and all(is_folder(str(folder / parent)) for parent in parents)
    return status.st_size if is_ours else None


def _safe(name: str) -> str:
    """The name of a file, if it leads to a place below a folder. Errors: OSError."""
    path = PurePath(name)
    if path.anchor or ".." in path.parts:
        raise OSError(errno.EINVAL, "is not a name below a folder", name)
    return name
