"""Safe file operations: copies that share extents where the file system allows, signatures, durable renames."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Linux's ioctl that makes a copy-on-write clone; ext4 and tmpfs answer EOPNOTSUPP, other systems their own errors.
_FICLONE = 0x40049409

# Kernel clocks tick every 1 to 10 ms: a file written twice within a tick may have one time stamp for two contents.
_TICK_NS = 20_000_000
_MOST_WAITS = 10

# size, mtime, ctime (both in ns) and inode: as long as all four stay the same, the remembered digest is valid.
Signature = tuple[int, int, int, int]


def signature(status: os.stat_result) -> Signature:
    """The signature that is remembered with a file's digest. `touch -r` can set mtime back, but not ctime."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def settled_signature(path: str | Path) -> Signature:
    """The signature of a file, taken once its last change is older than the clock that stamped it can tell apart.

    A later change then cannot have the same time stamp (the "racy clean" problem of git's index). Errors: OSError,
    also for a file that keeps changing.
    """
    status = os.stat(path)
    for _ in range(_MOST_WAITS):
        changed = changed_ns(signature(status))
        age = time.time_ns() - changed
        if age >= granule_ns(changed):
            return signature(status)
        # A stamp in the future comes from another machine's clock, or from before ours was set back: wait in full.
        time.sleep((granule_ns(changed) - max(age, 0)) / 1e9)
        before, status = signature(status), os.stat(path)
        if age < 0 and signature(status) == before:
            return before
    raise OSError(errno.EBUSY, "changes all the time", str(path))


def granule_ns(stamp_ns: int) -> int:
    """How long a time stamp may lie before the change that it is for.

    File systems that store whole seconds round down: ext3 and HFS+ to 1 s, FAT to 2 s. On a finer file system, a stamp
    is occasionally a whole second; that costs only the wait.
    """
    return _TICK_NS + (2_000_000_000 if stamp_ns % 1_000_000_000 == 0 else 0)


def may_be_exchanged(path: str | Path, stamp: Signature) -> bool:
    """Whether a file may have other content under the same signature: that of a read-only image.

    Images (squashfs, ISO 9660, reproducible ext4) have times that somebody chose, in whole seconds. Another image that
    is mounted in place of one may have the same files with the same sizes, times and inodes.
    """
    if stamp[2] % 1_000_000_000 or not hasattr(os, "statvfs"):
        return False
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def changed_ns(stamp: Signature) -> int:
    """The time of the last change in a signature; on Windows ctime is the time of creation."""
    return stamp[1] if sys.platform == "win32" else stamp[2]


def clone_file(source: str | Path, target: str | Path) -> None:
    """Copy content: as a copy-on-write clone where the file system can, else inside the kernel, else by reading.

    `target` must not exist: a link in its place would lead elsewhere. Errors: OSError; `target` is then incomplete, and
    the caller removes it.
    """
    with open(source, "rb") as reader, open(target, "xb") as writer:
        if not (_clone(reader.fileno(), writer.fileno()) or _copy_in_kernel(reader.fileno(), writer.fileno())):
            shutil.copyfileobj(reader, writer, 1 << 20)


def _clone(reader: int, writer: int) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.ioctl(writer, _FICLONE, reader)
    except OSError:
        return False
    return True


def _copy_in_kernel(reader: int, writer: int) -> bool:
    """Copy by copy_file_range, which Linux has; False leaves both files at their beginning."""
    if not hasattr(os, "copy_file_range"):
        return False
    remaining = os.fstat(reader).st_size
    try:
        while remaining > 0:
            copied = os.copy_file_range(reader, writer, remaining)
            if copied == 0:
                break
            remaining -= copied
    except OSError:
        # Across file systems on old kernels. Begin again, since the error does not say how far the copy came.
        os.lseek(reader, 0, os.SEEK_SET)
        os.lseek(writer, 0, os.SEEK_SET)
        os.ftruncate(writer, 0)
        return False
    return True


def link_or_clone(source: Path, target: Path) -> None:
    """Make `target` a hard link to a file, or a copy with its mode where links fail. Errors: OSError."""
    try:
        target.hardlink_to(source)
    except OSError:  # EMLINK after 65,000 links on ext4, EPERM where links are forbidden, EXDEV across disks
        clone_file(source, target)
        shutil.copymode(source, target)


def flush(path: str | Path) -> None:
    """Force a file or folder to the disk, so that a later rename never exposes a half-written one.

    Windows has no such call for folders, and its file system orders the changes of a folder itself.
    """
    is_windows = sys.platform == "win32"
    if is_windows and os.path.isdir(path):
        return
    # Windows flushes only files that are open for writing.
    descriptor = os.open(path, os.O_RDWR if is_windows else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(source: Path, target: Path) -> None:
    """Rename a file over another one; Windows refuses that while the other one is read-only."""
    if sys.platform == "win32" and target.exists():
        target.chmod(0o666)
    source.replace(target)


def remove_file(path: Path) -> None:
    """Remove a file, also a read-only one; do nothing if it is already gone."""
    if sys.platform == "win32":
        with contextlib.suppress(OSError):
            path.chmod(0o666)
    path.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes, *, prepare: Callable[[Path], None] = lambda _path: None) -> None:
    """Write a small file so that a reader sees either the old content or the new content.

    `prepare` gets the path of the complete file before it has its name, for example to change its permissions.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(6).hex()}")  # two threads may see one time
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        prepare(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def walk_files(folder: str | Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything below a folder but folders, as (name with forward slashes, entry), sorted. No link is followed.

    Errors: OSError for a folder that cannot be read.
    """
    pending = _sorted_entries(str(folder), "")
    while pending:
        name, entry = pending.pop()
        if entry.is_dir(follow_symlinks=False):
            pending += _sorted_entries(entry.path, f"{name}/")
        else:
            yield name, entry


def _sorted_entries(folder: str, prefix: str) -> list[tuple[str, os.DirEntry[str]]]:
    """The entries of a folder with their names, the first at the end."""
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name, reverse=True)
    return [(prefix + entry.name, entry) for entry in ordered]


def entries_of(folder: Path) -> list[Path]:
    """The entries of one of our folders; none if it is missing, or if something else is in its place."""
    if not is_real_folder(folder):
        return []
    with contextlib.suppress(FileNotFoundError):
        return list(folder.iterdir())
    return []


def is_real_folder(path: str | Path) -> bool:
    """Whether a path names a folder, not a link to one."""
    return stat.S_ISDIR(_mode(path))


def is_real_file(path: str | Path) -> bool:
    """Whether a path names a regular file, not a link to one."""
    return stat.S_ISREG(_mode(path))


def _mode(path: str | Path) -> int:
    try:
        return os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


# A path of more bytes is refused by Linux at 4,096, and by other systems earlier.
_LONGEST_PATH = 2000
_DEEPEST = 100


def remove_tree(folder: str | Path) -> None:
    """Remove one of our folders, whatever the modes in it; do nothing if it is already gone.

    Links are removed and never followed. What cannot be removed stays: a folder of another user, for example.
    """
    with contextlib.suppress(OSError):
        if not is_real_folder(folder):
            os.unlink(folder)
            return
    for prepare in (lambda _folder: None, _make_removable):
        if os.path.lexists(folder):
            with contextlib.suppress(OSError, RecursionError):
                prepare(str(folder))
                shutil.rmtree(folder, ignore_errors=True)


def _make_removable(top: str) -> None:
    """Make all folders below `top` writable, and move the deep ones up, so that `rmtree` reaches everything."""
    pending = [(top, 0)]
    while pending:
        folder, depth = pending.pop()
        if depth > _DEEPEST or len(folder) > len(top) + _LONGEST_PATH:
            folder, depth = _moved(folder, os.path.join(top, uuid.uuid4().hex)), 1
        os.chmod(folder, 0o700)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, depth + 1))
                elif sys.platform == "win32":
                    # Windows does not remove a read-only file. The attribute belongs to all hard links of a file, so a
                    # blob loses it once a worker has used it. Elsewhere the mode of a blob must not change.
                    os.chmod(entry.path, 0o700)


def _moved(folder: str, target: str) -> str:
    os.chmod(folder, 0o700)
    os.rename(folder, target)
    return target
