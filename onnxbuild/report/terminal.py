"""What a stream can show: whether it is a terminal that can be redrawn, whether it shows colour, how wide it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TextIO

_NO = frozenset({"", "0", "false"})
_ANSI_ON_WINDOWS = frozenset({"WT_SESSION", "TERM", "TERM_PROGRAM", "ANSICON", "ConEmuANSI"})
_DUMB = frozenset({"dumb", "unknown"})


def can_redraw(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the stream is a terminal that shows a live view. A CI log is not, even if it claims to be a terminal.

    Windows consoles do not set TERM; elsewhere a terminal without TERM is treated as a dumb one.
    """
    in_ci = environ.get("CI", "").lower() not in _NO
    term = environ.get("TERM") or ("windows" if sys.platform == "win32" else "dumb")
    return stream.isatty() and term not in _DUMB and not in_ci


def wants_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to write in colour: on a terminal, unless NO_COLOR has a value (as no-color.org defines it)."""
    if sys.platform == "win32" and not _ANSI_ON_WINDOWS & environ.keys():
        return False  # an old console would show the escape sequences themselves
    return can_redraw(stream, environ) and not environ.get("NO_COLOR")


def fitted(text: str, stream: TextIO, hang: int | None = None) -> str:
    """The text as it is printed to a stream: on a terminal, long lines break at spaces rather than inside a word."""
    from onnxbuild.report.wording import folded

    return folded(text, width_of(stream), hang)


def width_of(stream: TextIO) -> int | None:
    """The columns of the terminal that a stream writes to; None for a pipe or a file, which have no width."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None if stream.isatty() else None
    except (OSError, ValueError):
        return None
