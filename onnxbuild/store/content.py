"""Artifacts by content: files as blobs named by their digest, folders as trees that list them.

Constraints: a reader never sees a part of a file; equal files are kept once; a damaged blob is noticed when it is
used; two processes may publish the same file at the same moment; nothing needs a lock.

Layout, below the store's root:

    blobs/ab/ab12…      content, mode 0444, named by its digest
    work/<run>/…        what is being made; swept when the run that owns it is dead

Trees live in the traces' database: they are small, and a tree without a trace is never looked up. Weighed and set
aside: one folder a tree (hard links between them break onnx, which refuses linked external data; copies double the
disk), and packing small files together (no model has enough of them to matter).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from onnxbuild.digest import Digest, digest_file, digest_value
from onnxbuild.store.files import copy_file, flush, walk_files


class File(Struct, frozen=True):
    """One file of a tree: its name below the root with slashes, digest of the content, size in bytes."""

    name: str
    digest: Digest
    size: int


class Tree(Struct, frozen=True):
    """A named tree of files, sorted by name. Its digest covers names and contents; never places or times."""

    files: tuple[File, ...]

    @property
    def digest(self) -> Digest:
        """Digest of names, contents and sizes."""
        return digest_value([(file.name, file.digest, file.size) for file in self.files])

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


class DamagedBlob(Exception):  # noqa: N818 - a state of the store, which a run answers by building again
    """A stored file is missing, or is no longer what its name says."""

    def __init__(self, digest: str, found: str) -> None:
        self.digest = digest
        super().__init__(f"blob {digest[:16]} is {found}")


class Content:
    """The blobs below a root."""

    def __init__(self, root: Path) -> None:
        self._blobs = root / "blobs"

    def path(self, digest: str) -> Path:
        """Where the blob with this digest stands or would stand."""
        return self._blobs / digest[:2] / digest

    def has(self, tree: Tree) -> bool:
        """Whether every file of a tree is there with its size: a stat each, no reading."""
        for file in tree.files:
            try:
                if os.stat(self.path(file.digest)).st_size != file.size:
                    return False
            except OSError:
                return False
        return True

    def ingest(self, folder: Path) -> Tree:
        """Move every file of a folder of ours into the store and return the tree that it was.

        Errors: OSError (a full disk, a read-only store); what was moved by then is whole and harmless.
        """
        files = []
        for name, entry in walk_files(folder):
            status = entry.stat()
            size = status.st_size
            digest = digest_file(Path(entry.path), size)
            if entry.is_symlink() or status.st_nlink > 1:
                _sever(Path(entry.path))
            self._adopt(Path(entry.path), digest, size)
            files.append(File(name, digest, size))
        return Tree(tuple(files))

    def adopt(self, path: Path, digest: Digest, size: int) -> None:
        """Move one file whose digest has been checked into the store."""
        self._adopt(path, digest, size)

    def _adopt(self, path: Path, digest: Digest, size: int) -> None:
        blob = self.path(digest)
        # A copy that stands already may be damaged: only one that proves itself makes ours superfluous.
        if _size(blob) == size and digest_file(blob, size) == digest:
            # Its ctime makes it young: no trace names it for this result yet, and a collection spares the young. Its
            # mtime stays, by which an action that reads it at this moment is held to have left it alone.
            blob.chmod(0o444)
            return
        blob.parent.mkdir(parents=True, exist_ok=True)
        path.chmod(0o444)
        flush(path)
        path.replace(blob)
        flush(blob.parent)

    def verify(self, file: File) -> None:
        """Read a blob and compare it with its name; one that is damaged is removed, so that it is never served.

        Errors: DamagedBlob; OSError where it cannot be told, such as for want of file descriptors.
        """
        blob = self.path(file.digest)
        try:
            intact = _size(blob) == file.size and digest_file(blob, file.size) == file.digest
            found = "damaged" if blob.exists() else "missing"
        except OSError as error:
            if error.errno not in {errno.EIO, errno.ENOENT}:
                raise
            intact, found = False, f"unreadable ({error.strerror})"
        if not intact:
            self.drop(file.digest)
            raise DamagedBlob(file.digest, found)

    def drop(self, digest: str) -> None:
        """Remove a blob; one that is gone already is fine."""
        self.path(digest).unlink(missing_ok=True)

    def view(self, tree: Tree, folder: Path) -> None:
        """Lay a tree out read-only for a worker: hard links, no copies. Every blob is verified first.

        Errors: DamagedBlob, OSError.
        """
        for file in tree.files:
            self.verify(file)
            place = folder / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                place.hardlink_to(self.path(file.digest))
            except OSError:  # EMLINK after 65,000 links on ext4, EPERM where links are forbidden
                copy_file(self.path(file.digest), place)
                place.chmod(0o444)

    def materialize(self, tree: Tree, folder: Path) -> None:
        """Lay a tree out as files of its own (clones where the file system can), so that edits stay outside.

        Errors: DamagedBlob, OSError.
        """
        for file in tree.files:
            self.verify(file)
            place = folder / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            copy_file(self.path(file.digest), place)

    def blobs(self) -> Iterable[tuple[str, os.stat_result]]:
        """Every blob with its status, in no particular order."""
        for fan in _listing(self._blobs):
            for entry in _listing(Path(fan.path)):
                try:
                    yield entry.name, entry.stat()
                except FileNotFoundError:
                    continue  # collected by another process meanwhile


def _sever(path: Path) -> None:
    """Make a file of its own from a link: what it is linked to may be somebody's, and change under the store."""
    copy = path.with_name(f"{path.name}.severed")
    copy_file(path, copy)
    copy.replace(path)


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
