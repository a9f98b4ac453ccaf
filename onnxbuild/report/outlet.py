"""Standard output and error as commands see them: text that is safe to print, and no exception for a lost reader.

`open_streams` puts an `Outlet` in place of `sys.stdout` and of `sys.stderr`, so that no command can forget it. In what
is written, control characters are escaped and secrets masked. Colours and the live view use another method, `draw`,
which passes only their sequences; rich escapes the text before it adds them (`rich_console`).

A stream that can no longer be written to is not an error of the command that prints: a build goes on, and keeps its
exit code. `lost` says what happened, for `main`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from typing import Any, TextIO

from onnxbuild.printable import printable
from onnxbuild.secrets import redacted

# What rich writes: colours; erasing and moving by lines; hiding the cursor; returning to the start of the line.
_OURS = r"(\x1b\[[0-9;]*m|\x1b\[[0-9]*[AK]|\x1b\[\?25[lh]|\r)"
_OPAQUE = "the stream is closed"
_STDERR = 2


class Outlet(io.TextIOBase):
    """A stream to a person or a program, which writes to Python's own stream."""

    def __init__(self, stream: TextIO, *, lost: str | None = None) -> None:
        """Write to `stream`. `lost`: why nothing can be written from the start."""
        self._stream = stream
        self.lost, self.closed_at_start = lost, lost is not None
        self.reader_left = False
        with contextlib.suppress(OSError, ValueError, AttributeError):
            os.set_blocking(stream.fileno(), True)  # a pipe that a program left non-blocking would lose text

    def write(self, text: str) -> int:
        """Write a text of any origin."""
        self._put(printable(redacted(text)))
        return len(text)

    def draw(self, text: str) -> None:
        """Write a text with our own colours and movements of the cursor. Other control characters are escaped."""
        parts = re.split(_OURS, redacted(text))
        self._put("".join(part if number % 2 else printable(part) for number, part in enumerate(parts)))

    def flush(self) -> None:
        """Pass on what is buffered."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._lose(error)

    def _put(self, text: str) -> None:
        try:
            self._stream.write(text)
        except (OSError, ValueError) as error:
            self._lose(error)

    def _lose(self, error: Exception) -> None:
        if isinstance(error, UnicodeError):
            raise error
        self.reader_left = isinstance(error, BrokenPipeError)
        self.lost = self.lost or (isinstance(error, OSError) and error.strerror) or _OPAQUE
        with contextlib.suppress(OSError, ValueError, AttributeError):
            # At exit, Python would try to write its buffer again, and report the error.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)

    # -- what other code asks of a stream ------------------------------------------------------------------------------

    @property
    def encoding(self) -> str:  # type: ignore[override] # io.TextIOBase itself has a property
        """The encoding of the stream below."""
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """How the stream below treats what it cannot encode."""
        return self._stream.errors

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """The descriptor of the stream below."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether the stream below is a terminal."""
        return self._stream.isatty()

    def close(self) -> None:
        """Flush; the stream below stays open until the process ends."""
        self.flush()


class Canvas:
    """A stream for rich: it writes with `draw`, if the stream below has that method."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text that rich has made."""
        draw(text, self._stream)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def draw(text: str, stream: TextIO) -> None:
    """Write a text whose parts from outside have been made printable, with colours."""
    if isinstance(stream, Outlet):
        stream.draw(text)
    else:
        stream.write(text)


def open_streams() -> None:
    """Put an `Outlet` before stdout and stderr, and give those that are closed (`>&-`) the null device.

    A closed stream is None in Python, and its descriptor would go to the next file that is opened: to the store's.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    sys.stdout, sys.stderr = _outlet(sys.stdout), _outlet(sys.stderr)


def _outlet(stream: TextIO | None) -> Outlet:
    if stream is None:
        return Outlet(open(os.devnull, "w", encoding="utf-8"), lost="it is closed")
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # a terminal in ASCII shows `?` for `→`, rather than an error
    return Outlet(stream)
