"""What surrounds an action: the log that receives its output, and the folder that it works in."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from onnxbuild.regular_files import descriptor_of


@contextlib.contextmanager
def logged(path: str) -> Iterator[None]:
    """Send all output of this process and its children to a file; nowhere if the path is empty."""
    if not path:
        yield
        return
    descriptor = open_log(path)
    os.ftruncate(descriptor, 0)
    _redirect_output(descriptor)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        _redirect_output(os.open(os.devnull, os.O_RDWR))


def open_log(path: str) -> int:
    """The descriptor of a log; only a regular file is opened, and no link is followed. Errors: OSError."""
    return descriptor_of(path, os.O_WRONLY | os.O_CREAT)


@contextlib.contextmanager
def working_in(folder: str) -> Iterator[None]:
    """Work in the action's own folder: libraries write into the current folder, and gigabytes into /tmp."""
    import tempfile

    if not folder:
        yield
        return
    os.chdir(folder)
    before = tempfile.tempdir
    tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = before
        os.chdir("/")


def end_of_log(log: str, most_bytes: int) -> str:
    """The last bytes of a log as text; empty if it cannot be read."""
    sys.stdout.flush()
    sys.stderr.flush()
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, os.path.getsize(log) - most_bytes))
        return file.read().decode(errors="replace")
    return ""


def _redirect_output(descriptor: int) -> None:
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
