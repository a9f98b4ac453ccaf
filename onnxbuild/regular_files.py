"""Files in folders of somebody else: reading regular files only, of a limited size, and never following a link.

Also the names of files that somebody else has written: whether such a file stays below its folder.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import sys
from pathlib import Path, PurePath, PurePosixPath

# Flags for every file that somebody else may have put in its place: no link is followed, no FIFO is waited for. None of
# them exists on Windows, where a folder cannot contain a FIFO or a device.
_SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)

# A junction of Windows leads elsewhere as a link does; other systems have no such tags.
_JUNCTION = getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", None)

DEEPEST_FOLDER = 64
_MOST_NAME_BYTES, _MOST_PATH_BYTES = 255, 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

# Names that Windows does not allow for files, with any suffix.
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
_NOT_ON_WINDOWS = frozenset('<>:"|?*\\')


class NotRegular(OSError):  # noqa: N818 - an OSError whose text says what the file is instead
    """A path is a symbolic link, a folder, a FIFO, a socket or a device, or the file is too large."""


def read_regular(path: str | os.PathLike[str], most_bytes: int) -> bytes:
    """The content of a regular file of at most `most_bytes`.

    A FIFO is not waited for and a device is not read. Only the last part of the path may not be a link; folders on
    the way are followed. Errors: NotRegular; OSError for a file that is missing or cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(most_bytes + 1) if size <= most_bytes else b""
    if size > most_bytes or len(data) > most_bytes:
        raise NotRegular(errno.EFBIG, f"is larger than {most_bytes} bytes", os.fspath(path))
    return data


def open_regular(path: str | os.PathLike[str]) -> io.FileIO:
    """A regular file, open for reading; the caller limits how much it reads. Errors: as `read_regular`."""
    return io.FileIO(descriptor_of(path, os.O_RDONLY), "rb", closefd=True)


def descriptor_of(path: str | os.PathLike[str], flags: int) -> int:
    """The descriptor of a regular file, opened with these flags; the umask decides the mode of a new file.

    Errors: NotRegular; OSError as of `os.open`.
    """
    try:
        descriptor = os.open(path, flags | _SAFELY | _BINARY, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotRegular(errno.ELOOP, "is a symbolic link", os.fspath(path)) from None
        raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    raise NotRegular(errno.EINVAL, f"is {_kind(mode)}, not a regular file", os.fspath(path))


def check_folder(path: Path) -> None:
    """Check that an absolute path leads to a folder, or that one can be created there, whoever may write.

    Errors: OSError, such as NotADirectoryError for a file on the way, or that of a name that is too long.
    """
    for place in (path, *path.parents):
        try:
            mode = os.stat(place).st_mode
        except FileNotFoundError:
            if place.is_symlink():  # a link that leads nowhere
                raise
            continue
        if not stat.S_ISDIR(mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        return


def is_folder(place: str) -> bool:
    """Whether a path is a folder, and not a link to one."""
    try:
        status = os.lstat(place)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and not leads_elsewhere(status)


def is_link(place: str) -> bool:
    """Whether a path is a link, or a junction of Windows."""
    try:
        return leads_elsewhere(os.lstat(place))
    except OSError:
        return False


def is_behind_link(folder: str | os.PathLike[str], name: str) -> bool:
    """Whether a folder on the way from `folder` to a name below it, such as `onnx/model.onnx`, is a link."""
    parts = name.split("/")[:-1]
    return any(is_link(os.path.join(folder, *parts[: count + 1])) for count in range(len(parts)))


def leads_elsewhere(status: os.stat_result) -> bool:
    """Whether what `os.lstat` has looked at is a link, or a junction of Windows."""
    return stat.S_ISLNK(status.st_mode) or (_JUNCTION is not None and getattr(status, "st_reparse_tag", 0) == _JUNCTION)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def is_safe_name(name: str) -> bool:
    """Whether a file of this name stays below the folder that it is written to, on any file system of this machine."""
    path = PurePath(name)  # with the separators and drives of this system
    parts = name.split("/")
    plain = bool(name) and str(PurePosixPath(name)) == name and not path.anchor and ".." not in path.parts
    short = _bytes(name) <= _MOST_PATH_BYTES and len(parts) <= DEEPEST_FOLDER
    return plain and short and all(map(_is_safe_part, parts))


def _is_safe_part(part: str) -> bool:
    if part in {"", ".", ".."} or _bytes(part) > _MOST_NAME_BYTES or _CONTROL.search(part):
        return False
    return sys.platform != "win32" or _suits_windows(part)


def _bytes(name: str) -> int:
    return len(name.encode("utf-8", "surrogateescape"))


def _suits_windows(part: str) -> bool:
    stem = part.partition(".")[0].rstrip(" ").lower()
    return not (set(part) & _NOT_ON_WINDOWS or part[-1] in ". " or stem in _RESERVED)
