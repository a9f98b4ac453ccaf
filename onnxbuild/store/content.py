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
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from onnxbuild.digest import Digest, digest_file, digest_value
from onnxbuild.store.files import clone_file, flush, link_or_clone, remove_file, replace_file, walk_files


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

    def path(self, digest: str) -> Path:
        """The path of the blob with this digest, whether it exists or not."""
        return self._blobs / digest[:2] / digest

    def has(self, tree: Tree) -> bool:
        """Whether every file of a tree exists with its size: one stat per file, no reading."""
        for file in tree.files:
            try:
                if os.stat(self.path(file.digest)).st_size != file.size:
                    return False
            except OSError:
                return False
        return True

    def ingest(self, folder: Path) -> Tree:
        """Move every file of one of our folders into the store and return its tree.

        Errors: OSError (a full disk, a read-only store); the files moved by then are complete and do no harm.
        """
        files = []
        for name, entry in walk_files(folder):
            status = entry.stat()
            size = status.st_size
            digest = digest_file(Path(entry.path), size)
            if entry.is_symlink() or status.st_nlink > 1:
                _sever(Path(entry.path))
            self.adopt(Path(entry.path), digest, size)
            files.append(File(name, digest, size))
        return Tree(tuple(files))

    def adopt(self, path: Path, digest: Digest, size: int) -> None:
        """Move one file whose digest has been checked into the store."""
        blob = self.path(digest)
        # A blob that already exists may be damaged: ours is redundant only if the content of the other is right.
        if _size(blob) == size and digest_file(blob, size) == digest:
            # The new ctime makes it young: no trace names it for this result yet, and a collection keeps young blobs.
            # The mtime stays: it shows whether an action that reads the blob at this moment has changed it.
            blob.chmod(0o444)
            return
        blob.parent.mkdir(parents=True, exist_ok=True)
        flush(path)  # before it is read-only: Windows flushes only what it may write
        path.chmod(0o444)
        replace_file(path, blob)
        flush(blob.parent)

    def verify(self, file: File) -> None:
        """Read a blob and compare its digest with its name; a damaged blob is removed, so that it is never used.

        Errors: DamagedBlob; OSError if it cannot be determined, for example when file descriptors run out.
        """
        blob = self.path(file.digest)
        try:
            intact = _size(blob) == file.size and digest_file(blob, file.size) == file.digest
            damage = "damaged" if blob.exists() else "missing"
        except OSError as error:
            if error.errno not in {errno.EIO, errno.ENOENT}:
                raise
            intact, damage = False, f"unreadable ({error.strerror})"
        if not intact:
            self.drop(file.digest)
            raise DamagedBlob(file.digest, damage)

    def drop(self, digest: str) -> None:
        """Remove a blob; do nothing if it is already gone."""
        remove_file(self.path(digest))

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
        """Every blob with its status, in no particular order."""
        for fan in _listing(self._blobs):
            for entry in _listing(Path(fan.path)):
                try:
                    yield entry.name, entry.stat()
                except FileNotFoundError:
                    continue  # collected by another process meanwhile


def _sever(path: Path) -> None:
    """Replace a link by a separate file: the file that it shares content with may change outside the store."""
    copy = path.with_name(f"{path.name}.severed")
    clone_file(path, copy)
    replace_file(copy, path)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _listing(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
