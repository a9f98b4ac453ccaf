"""The form of each field of a lock file, checked when it is read and before it is written.

A lock comes with a checkout, so somebody else may have written it. Its texts reach pip, the Hub's URLs, file names and
the terminal. Each is therefore of a form that means the same everywhere: a name, a version, a commit, a digest, a path
that stays below its folder.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from msgspec import Struct

from onnxbuild.diagnostics import Diagnostic, Source, Span, fault
from onnxbuild.planning.locked import Lock, LockedSource
from onnxbuild.planning.toolchains import LockedPackage, LockedToolchain, normalized

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_SOURCE_KEY = re.compile(rf"hub:(?:datasets/)?{_PART}(?:/{_PART})?@[^\s\x00-\x20\x7f]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Compiled when the first toolchain is checked: most locks have none, and every lint reads its lock.
_TOOLCHAIN_KEY = r"\S+-\d+\.\d+ \S+: \S.*"
_SHA256 = r"[0-9a-f]{64}"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"  # PEP 508
# PEP 440 in its canonical and its accepted spellings (https://peps.python.org/pep-0440/#appendix-b).
_VERSION = (
    r"(?ai:v?(?:\d+!)?\d+(?:\.\d+)*(?:[-_.]?(?:alpha|a|beta|b|preview|pre|c|rc)[-_.]?\d*)?"
    r"(?:-\d+|[-_.]?(?:post|rev|r)[-_.]?\d*)?(?:[-_.]?dev[-_.]?\d*)?(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?)"
)


class _Wrong(Struct, frozen=True):
    """A value of the wrong form; `near` are texts that precede it in the lock file, the most specific last."""

    what: str
    value: str
    expected: str
    near: tuple[str, ...]


def lock_faults(lock: Lock, source: Source) -> list[Diagnostic]:
    """OB031 for each field of a lock that has the wrong form, at its place in the text."""
    wrong = [one for key, entry in lock.sources.items() for one in _of_source(key, entry)]
    wrong += [one for key, entry in lock.toolchains.items() for one in _of_toolchain(key, entry)]
    return [_fault(one, source) for one in wrong]


def _of_source(key: str, entry: LockedSource) -> Iterator[_Wrong]:
    if not _SOURCE_KEY.fullmatch(key) or not key.isprintable():
        yield _Wrong("the name of a source", key, "`hub:ORGANIZATION/NAME@REVISION`", (key,))
    if not _COMMIT.fullmatch(entry.commit):
        yield _Wrong("the commit of a source", entry.commit, "40 hexadecimal digits", (key, entry.commit))
    for name in entry.files:
        if not is_safe_path(name):
            yield _Wrong("the name of a file", name, "a path that stays below its folder", (key, name))


def _of_toolchain(key: str, entry: LockedToolchain) -> Iterator[_Wrong]:
    if not re.fullmatch(_TOOLCHAIN_KEY, key) or not key.isprintable():
        yield _Wrong("the name of a toolchain", key, "a Python, a platform and requirements in one line", (key,))
    names: set[str] = set()
    for package in entry.packages:
        yield from _of_package(key, package)
        if normalized(package.name) in names:
            yield _Wrong("the name of a package", package.name, "each package once", (key, package.name))
        names.add(normalized(package.name))


def _of_package(key: str, package: LockedPackage) -> Iterator[_Wrong]:
    near = (key, package.name)
    if not re.fullmatch(_NAME, package.name):
        yield _Wrong("the name of a package", package.name, "letters, digits, `.`, `_` and `-`", near)
    if not re.fullmatch(_VERSION, package.version):
        yield _Wrong(
            "the version of a package", package.version, "a version such as `2.13.0`", (*near, package.version)
        )
    if not re.fullmatch(_SHA256, package.sha256):
        yield _Wrong("the hash of a package", package.sha256, "64 hexadecimal digits", (*near, package.sha256))


@functools.lru_cache(maxsize=4096)  # the files of a thousand repositories have the same few names
def is_safe_path(name: str) -> bool:
    """Whether a name is a relative path with `/` that stays below its folder on every system."""
    parts = name.split("/")
    return name.isprintable() and not {"", ".", ".."} & {*parts} and not re.search(r"[\\:]", name)


def _fault(wrong: _Wrong, source: Source) -> Diagnostic:
    value = wrong.value if wrong.value.isprintable() else ascii(wrong.value)[1:-1]
    message = f"{wrong.what} is `{value}`, expected {wrong.expected}" if value else f"{wrong.what} is empty"
    hint = "remove the entry and run `onnxbuild lock`"
    return fault("OB031", f"`{source.path}`: {message}", span=_span(wrong.near, source), hint=hint)


def _span(near: tuple[str, ...], source: Source) -> Span:
    """The place of the last text that can be found, each searched for after the one before it."""
    import json

    at, length = 0, 1
    for text in near:
        quoted = json.dumps(text, ensure_ascii=False)
        found = source.text.find(quoted, at)
        if found >= 0:
            at, length = found, len(quoted)
    line = source.text.count("\n", 0, at) + 1
    column = at - (source.text.rfind("\n", 0, at) + 1) + 1
    return Span(source, line, column, length if near else 1)
