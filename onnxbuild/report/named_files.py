"""The files that the command line names as outputs: `--output FILE`, `--profile FILE`, `--plots DIR`.

A file of somebody else is kept.
A mistyped option must not cost a manifest, a lock file or a model. A file that exists is replaced only if it is empty
or begins as one that onnxbuild writes under such a name, whatever the command. `cache keygen` replaces nothing at all.
"""

from __future__ import annotations

import errno
import os
import re
import stat

from onnxbuild.regular_files import NotRegular, descriptor_of, open_regular

_DEVICES = "/dev/"  # /dev/stdout is a link of the system to a pipe, a terminal or a file
_BEGINNINGS = (
    rb'\{"traceEvents":\[',
    rb"digraph onnxbuild \{\n",
    rb"flowchart LR\n    n0\[",
    rb"```mermaid\nflowchart LR\n(?:(?!```).)*```\n\Z",  # and nothing after the drawing
    rb'<svg xmlns="[^"]*" width="\d+" height="\d+" viewBox="[^"]*" font-family="monospace" font-size="12">\s*<defs>',
    rb'\{\s*"actions": \[\s*(?:\{\s*"id": |\])',
    rb'\{\s*"title": "onnxbuild manifest",',
    rb'<!doctype html>\n<html lang="en">\n<head>\n(?:<meta [^\n]*\n){3}<meta name="generator" content="onnxbuild ',
    rb"<!-- a report of onnxbuild -->\n",
    rb"---\n# A card of onnxbuild\. ",
    rb"model,target,precision,figure,value,unit,",
    rb'\{\s*"onnxbuild": "[^"]*",\s*"source": ',
    rb"\x89PNG\n\x1a\n.{25,120}tEXtSoftware\x00onnxbuild",
    rb"<\?xml [^>]*>\n<!DOCTYPE svg (?:(?!</metadata>).)*<dc:title>onnxbuild</dc:title>",
)
_OURS = re.compile(b"|".join(_BEGINNINGS), re.DOTALL)
_MOST_BYTES = 16 << 20  # of a drawing in Markdown, which is read to its end


class NotOurs(OSError):  # noqa: N818 - an OSError whose text says why nothing was written
    """A file exists, and onnxbuild has not written it."""


def write_named(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a text or bytes to the file that the command line names, and not to where a link of that name leads.

    A checkout may contain a link with the usual name of a drawing, which leads to a file of the user.
    Errors: NotOurs; NotRegular; OSError for a file that cannot be written.
    """
    data = content.encode() if isinstance(content, str) else content
    if os.path.abspath(path).startswith(_DEVICES):
        with open(path, "wb") as device:
            device.write(data)
        return
    check_named(path)
    with open(descriptor_of(path, os.O_WRONLY | os.O_CREAT), "wb") as file:
        file.truncate()
        file.write(data)


def check_named(path: str | os.PathLike[str]) -> None:
    """Check that nothing of somebody else is in the place of an output; it may be missing. Errors: as `write_named`."""
    if os.path.abspath(path).startswith(_DEVICES):
        return
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    with open_regular(path) as file:
        beginning = file.read(_MOST_BYTES)
    if beginning and not _OURS.match(beginning.replace(b"\r\n", b"\n")):
        raise NotOurs(errno.EEXIST, "it exists, and onnxbuild has not written it", os.fspath(path))


def hint_for(error: OSError, path: str) -> str | None:
    """What helps against an error of these functions."""
    if isinstance(error, NotOurs | NotRegular):
        return "name another file, or remove this one"
    folder = os.path.dirname(path)
    return f"create the folder `{folder}` first" if folder and not os.path.exists(folder) else None
