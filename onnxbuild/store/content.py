"""Artifacts by content: files as blobs named by their digest, folders as trees that list them.

Constraints: a reader never sees part of a file; equal files are stored once; a damaged blob is noticed when it is
used; two processes may publish the same file at the same time; nothing needs a lock.

Layout, below the store's root:

    blobs/ab/ab12…      content, mode 0444, named by its digest
    work/<run>/…        results in progress; removed when the run that owns them is dead

Trees are stored in the database of traces: they are small, and a tree without a trace is never looked up. Alternatives
that were rejected: one folder per tree (hard links between them break onnx, which refuses linked external data, and
copies double the disk usage), and packing small files together (no model has enough of them to matter).
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from onnxbuild.digest import Digest, digest_file, digest_value
from onnxbuild.store.files import (
    clone_file,
    entries_of,
    flush,
    is_real_file,
    is_real_folder,
    link_or_clone,
    remove_file,
    remove_tree,
    replace_file,
    walk_files,
)
from onnxbuild.store.group_access import make_folder

_BLOB_MODE = 0o444
_DIGEST_LENGTH = 64
# An empty part of a name, `.` or `..`; on Windows also what is not a plain name there.
_LEAVING = re.compile(r"(?:^|[/\0])\.{0,2}(?:[/\0]|$)" + (r"|[\\:]" if os.sep == "\\" else ""))
_NAME = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{62}")


class File(Struct, frozen=True):
    """One file of a tree: its name below the root with slashes, the digest of its content, its size in bytes."""

    name: str
    digest: Digest
    size: int


class Tree(Struct, frozen=True):
    """A tree of files, sorted by name. Its digest covers names and contents, never locations or times."""

    files: tuple[File, ...]

    @property
    def digest(self) -> Digest:
        """Digest of names, contents and sizes."""
        return digest_value([(file.name, file.digest, file.size) for file in self.files])

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


class DamagedBlob(Exception):  # noqa: N818 - a state of the store, after which a run builds the result again
    """A stored file is missing, or its content does not have the digest in its name."""

    def __init__(self, digest: str, damage: str) -> None:
        self.digest = digest
        super().__init__(f"blob {digest[:16]} is {damage}")


class Content:
    """The blobs below a root."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs"
        self._prefix = f"{self._blobs}{os.sep}"
        self._fans: set[str] = set()  # folders of blobs that are known to be folders

    def path(self, digest: str) -> Path:
        """The path of the blob with this digest, whether it exists or not."""
        return self._blobs / digest[:2] / digest

    def has(self, tree: Tree) -> bool:
        """Whether every file of a tree exists with its size: one stat per file, no reading."""
        return all(self._has_size(file.digest, file.size) for file in tree.files)

    def _has_size(self, digest: str, size: int) -> bool:
        """Whether a blob is a regular file of this size, in a real folder: a link may lead anywhere."""
        try:
            status = os.lstat(f"{self._prefix}{digest[:2]}{os.sep}{digest}")  # `self.path` takes twice as long as this
        except OSError:
            return False
        return status.st_size == size and stat.S_ISREG(status.st_mode) and self._is_fan(digest[:2])

    def _is_fan(self, fan: str) -> bool:
        if fan not in self._fans and is_real_folder(self._blobs / fan):
            self._fans.add(fan)
        return fan in self._fans

    def ingest(self, folder: Path) -> Tree:
        """Move every file of one of our folders into the store and return its tree.

        Errors: OSError (a full disk, a read-only store, a link or a device among the files); the files moved by then
        are complete and do no harm.
        """
        files = []
        for name, entry in walk_files(folder):
            path, status = Path(entry.path), entry.stat(follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "only regular files can be stored", entry.path)
            if status.st_nlink > 1:
                _sever(path)
            digest = digest_file(path, status.st_size)
            self.adopt(path, digest, status.st_size)
            files.append(File(name, digest, status.st_size))
        return Tree(tuple(files))

    def adopt(self, path: Path, digest: Digest, size: int) -> None:
        """Move one file whose digest has been checked into the store."""
        blob = self.path(digest)
        # A blob that already exists may be damaged: ours is redundant only if the content of the other is right.
        if self._has_size(digest, size) and digest_file(blob, size, mapped=True) == digest and _is_read_only(blob):
            return
        self._clear(blob)
        make_folder(blob.parent.parent)
        make_folder(blob.parent)
        flush(path)  # before it is read-only: Windows flushes only what it may write
        path.chmod(_BLOB_MODE)
        replace_file(path, blob)
        flush(blob.parent)

    def verify(self, file: File) -> None:
        """Read a blob and compare its digest with its name; a damaged blob is removed, so that it is never used.

        Errors: DamagedBlob; OSError if it cannot be determined, for example when file descriptors run out.
        """
        damage = self.damage(file)
        if damage is not None:
            self.drop(file.digest)
            raise DamagedBlob(file.digest, damage)

    def damage(self, file: File) -> str | None:
        """What is wrong with a blob, which is read for that; None if it is intact. Nothing is removed.

        Errors: OSError if it cannot be determined.
        """
        blob = self.path(file.digest)
        try:
            intact = self._has_size(file.digest, file.size) and digest_file(blob, file.size, mapped=True) == file.digest
            damage = "damaged" if os.path.lexists(blob) else "missing"
        except OSError as error:
            if error.errno not in {errno.EIO, errno.ENOENT}:
                raise
            return f"unreadable ({error.strerror})"
        return None if intact else damage

    def seems_intact(self, file: File, since: float) -> bool:
        """Whether a blob has its size, and was not written to since a moment in Unix time: one stat, no reading."""
        return self._has_size(file.digest, file.size) and self.path(file.digest).lstat().st_mtime <= since

    def drop(self, digest: str) -> None:
        """Remove a blob, or what is in its place; do nothing if it is already gone, or if its folder is a link."""
        if is_digest(digest) and self._is_fan(digest[:2]):
            _remove(self.path(digest))

    def _clear(self, blob: Path) -> None:
        """Make way for a blob: remove what no store makes, a link itself rather than what it leads to."""
        if os.path.lexists(blob.parent) and not is_real_folder(blob.parent):
            remove_file(blob.parent)
        elif os.path.lexists(blob) and not is_real_file(blob):
            _remove(blob)

    def view(self, tree: Tree, folder: Path) -> None:
        """Make the files of a tree available to a worker, read-only: as hard links, not copies. Verifies every blob.

        Errors: DamagedBlob, OSError.
        """
        for file in tree.files:
            self.verify(file)
            place = folder / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            link_or_clone(self.path(file.digest), place)

    def blobs(self) -> Iterable[tuple[str, os.stat_result]]:
        """Every blob with its status, in no particular order; what a store does not make is left out."""
        return ((digest, status) for digest, status in self._named() if stat.S_ISREG(status.st_mode))

    def misplaced(self) -> Iterable[str]:
        """The digests in whose place is a folder, a link, a FIFO or a device: `verify` removes it."""
        return (digest for digest, status in self._named() if not stat.S_ISREG(status.st_mode))

    def _named(self) -> Iterable[tuple[str, os.stat_result]]:
        for fan in filter(is_real_folder, entries_of(self._blobs)):
            for path in entries_of(fan):
                try:
                    status = path.lstat()
                except FileNotFoundError:
                    continue  # collected by another process meanwhile
                if _NAME.fullmatch(f"{fan.name}/{path.name}"):
                    yield path.name, status


def are_inside(names: Sequence[str]) -> bool:
    """Whether names with slashes all stay below a folder that they are joined to."""
    text = "\0".join(names)
    return text.count("\0") == len(names) - 1 and _LEAVING.search(text) is None


def is_digest(text: object) -> bool:
    """Whether a value can be the digest in the name of a blob."""
    return isinstance(text, str) and len(text) == _DIGEST_LENGTH and text.isalnum() and text.isascii()


def _remove(path: Path) -> None:
    """Remove a file, or a folder that is in its place; no link is followed."""
    if is_real_folder(path):
        remove_tree(path)
    else:
        remove_file(path)


def _sever(path: Path) -> None:
    """Replace a hard link by a separate file: the file that it shares content with may change outside the store."""
    copy = path.with_name(f".severed-{uuid.uuid4().hex[:8]}")
    clone_file(path, copy)
    replace_file(copy, path)


def _is_read_only(blob: Path) -> bool:
    """Make a blob read-only if it is not; False if it belongs to another user, who could still change it."""
    if sys.platform != "win32" and stat.S_IMODE(blob.stat().st_mode) == _BLOB_MODE:
        return True
    try:
        # The mtime stays: it shows whether an action that reads the blob at this moment has changed it.
        blob.chmod(_BLOB_MODE)
    except PermissionError:
        return False
    return True
