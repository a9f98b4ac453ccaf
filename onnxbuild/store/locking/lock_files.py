"""Opening the files of locks, and `flock` on them.

The file of a lock may belong to another user who shares the store, and anything may be in its place. It is opened
without following a link, and only a regular file is a lock.
"""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from onnxbuild.regular_files import descriptor_of
from onnxbuild.store.group_access import grant_as_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

HAS_FLOCK = fcntl is not None

# What file systems without locks answer: NFS without its lock service, Lustre without the mount option, some of FUSE.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
# Between its creation and the moment when its mode is set, another user's lock file cannot be opened.
_PATIENCE_SECONDS = 0.2
_RETRY_SECONDS = 0.005


class NoLocks(OSError):  # noqa: N818 - callers ask for it, and take another kind of lock
    """The file system has no `flock`."""


def open_lock_file(path: Path, *, create: bool = True) -> int:
    """The descriptor of a lock file. Errors: FileNotFoundError if it is missing and `create` is false, OSError."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            descriptor = _created(path) if create else None
            descriptor = _existing(path) if descriptor is None else descriptor
        except FileNotFoundError:
            if not (create and path.parent.is_dir()):
                raise
        except PermissionError:
            if time.monotonic() > until:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return descriptor


def _created(path: Path) -> int | None:
    try:
        descriptor = descriptor_of(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    except FileExistsError:
        return None
    grant_as_folder(path, descriptor)
    return descriptor


def _existing(path: Path) -> int:
    """A read-only file of another user is enough for `flock`, but the holder cannot be written to it."""
    try:
        return descriptor_of(path, os.O_RDWR)
    except OSError as error:
        if error.errno not in _DENIED:
            raise
        return descriptor_of(path, os.O_RDONLY)


def try_flock(descriptor: int) -> bool:
    """Take the lock alone, without waiting; False if another descriptor has it. Errors: NoLocks, OSError."""
    try:
        _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def share_flock(descriptor: int) -> None:
    """Wait until nobody holds the lock alone, and share it. Errors: NoLocks, OSError."""
    _flock(descriptor, fcntl.LOCK_SH)


def release_flock(descriptor: int) -> None:
    """Give up the lock."""
    _flock(descriptor, fcntl.LOCK_UN)


def _flock(descriptor: int, operation: int) -> None:
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            raise NoLocks(error.errno, "the file system has no locks") from error
        raise
