"""Files done safely: copies that share extents where the file system allows, signatures, durable renames."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# Linux's ioctl that makes a copy-on-write clone; ext4 and tmpfs answer EOPNOTSUPP.
_FICLONE = 0x40049409

# Kernel clocks tick every 1 to 10 ms: a file written twice within a tick may carry one time stamp for two contents.
_TICK_NS = 20_000_000

# size, mtime, ctime (all in ns) and inode: what a content must have kept for its digest to be believed.
Signature = tuple[int, int, int, int]


def signature(status: os.stat_result) -> Signature:
    """What is remembered of a file beside its digest. ctime cannot be set back, as mtime can with `touch -r`."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def settled_signature(path: str | Path) -> Signature:
    """The signature of a file, taken after its last change is older than a tick of the clock.

    A change that comes later then cannot hide behind the same time stamp (the "racy clean" problem of git's index).
    """
    status = os.stat(path)
    while (age := time.time_ns() - status.st_ctime_ns) < _TICK_NS and age >= 0:
        time.sleep((_TICK_NS - age) / 1e9)
        status = os.stat(path)
    return signature(status)


def copy_file(source: str | Path, target: str | Path) -> None:
    """Copy content: a clone that costs nothing where the file system can, else inside the kernel, else by hand.

    Errors: OSError; `target` is then incomplete and the caller's to remove.
    """
    with open(source, "rb") as reader, open(target, "wb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        except OSError:
            _copy_bytes(reader.fileno(), writer.fileno())


def _copy_bytes(reader: int, writer: int) -> None:
    remaining = os.fstat(reader).st_size
    try:
        while remaining > 0:
            copied = os.copy_file_range(reader, writer, remaining)
            if copied == 0:
                break
            remaining -= copied
    except OSError:
        # Across file systems on old kernels; begin again, since nothing says how far it came.
        os.lseek(reader, 0, os.SEEK_SET)
        os.lseek(writer, 0, os.SEEK_SET)
        os.ftruncate(writer, 0)
        with open(reader, "rb", closefd=False) as source, open(writer, "wb", closefd=False) as target:
            shutil.copyfileobj(source, target, 1 << 20)


def flush(path: str | Path) -> None:
    """Force a file or folder to the disk, so that a rename after it never uncovers a half-written one."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a small file so that a reader sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def walk_files(folder: str | Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every file below a folder as (name with slashes, entry), sorted; links to files count as the files.

    Errors: OSError for a folder that cannot be read.
    """
    yield from _walk(str(folder), "")


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    with os.scandir(folder) as entries:
        ordered = sorted(entries, key=lambda entry: entry.name)
    for entry in ordered:
        if entry.is_dir():
            yield from _walk(entry.path, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry


def remove_tree(folder: str | Path) -> None:
    """Remove a folder of ours whatever the modes in it; one that is gone already is fine."""

    def retry(function: object, path: str, _error: object) -> None:
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(path), 0o700)
            (os.rmdir if function is os.rmdir else os.unlink)(path)

    if sys.version_info >= (3, 12):
        shutil.rmtree(folder, onexc=retry)
    else:
        shutil.rmtree(folder, onerror=retry)
