"""`include:` names further files, whose entries are added to those of the file that includes them."""

from __future__ import annotations

import os

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, Span, fault
from onnxbuild.manifest.document import Array, Table
from onnxbuild.manifest.reach import Reach
from onnxbuild.manifest.reading.budget import DEEPEST_INCLUDES, MOST_FILES, MOST_VALUES
from onnxbuild.manifest.reading.manifest_file import read_bytes
from onnxbuild.manifest.reading.yaml_reader import LARGEST_EXPANSION, read_document
from onnxbuild.manifest.reading.yaml_text import LARGEST_BYTES

# Sections whose entries are joined; every other key may appear in one file only.
_JOINED = ("vars", "datasets", "targets", "models", "defaults")


def read_with_includes(path: str, reach: Reach, faults: list[Diagnostic]) -> tuple[Table, tuple[str, ...]]:
    """The joined document and the files that it was read from, the manifest first; includes are within `reach`.

    Errors: DiagnosticError if the manifest itself cannot be read; faults of included files are collected.
    """
    return _Reading(reach, faults).joined(path)


class _TooMuch(DiagnosticError):  # noqa: N818 - passes the place where other faults are collected
    """The files together are too large: no further one is read."""


class _Reading:
    """One manifest being read with all that it includes; holds what the steps share."""

    def __init__(self, reach: Reach, faults: list[Diagnostic]) -> None:
        self._reach, self._faults = reach, faults
        self._files: dict[str, str] = {}  # by their real paths
        self._values = self._bytes = 0

    def joined(self, path: str) -> tuple[Table, tuple[str, ...]]:
        root = self._read(path, None)
        self._join_includes(root, (path,))
        return root, tuple(self._files.values())

    def _read(self, path: str, at: Span | None) -> Table:
        data = read_bytes(path, at)
        self._files[os.path.realpath(path)] = path
        self._bytes += len(data)
        self._bound(len(self._files), MOST_FILES, "files", at)
        self._bound(self._bytes, max(LARGEST_BYTES, len(data)), "bytes", at)  # one file is judged by its reader
        table = read_document(data, path, self._faults)
        self._values += table.weight
        self._bound(self._values, MOST_VALUES + LARGEST_EXPANSION, "values", at)
        return table

    def _bound(self, found: int, most: int, what: str, at: Span | None) -> None:
        """Bound all files together. Errors: DiagnosticError OB021."""
        if found > most:
            message = f"a manifest and the files that it includes have at most {most:,} {what} together"
            raise _TooMuch(fault("OB021", message, span=at, hint="split it up into several manifests"))

    def _join_includes(self, into: Table, chain: tuple[str, ...]) -> None:
        if len(chain) > DEEPEST_INCLUDES:
            message = f"files that include files are nested more than {DEEPEST_INCLUDES} deep"
            self._faults.append(fault("OB021", message, span=into.value_span("include")))
            return
        for name, at in _names(into, self._faults):
            path = os.path.normpath(os.path.join(os.path.dirname(chain[-1]), name))
            problem = self._reach.problem(name, path, at) or _cycle(path, chain, at)
            if problem is not None:
                self._faults.append(problem)
            elif os.path.realpath(path) not in self._files:
                self._join_file(into, path, at, chain)

    def _join_file(self, into: Table, path: str, at: Span, chain: tuple[str, ...]) -> None:
        try:
            table = self._read(path, at)
        except _TooMuch:
            raise
        except DiagnosticError as error:
            self._faults.extend(error.diagnostics)
            return
        self._join_includes(table, (*chain, path))
        _join(into, table, self._faults)


def _cycle(path: str, chain: tuple[str, ...], at: Span) -> Diagnostic | None:
    above = _known(path, chain)
    if above is None:
        return None
    cycle = " → ".join([*chain[chain.index(above) :], path])
    hint = "a file must not include itself, directly or through others"
    return fault("OB002", f"include cycle: {cycle}", span=at, hint=hint)


def _names(table: Table, faults: list[Diagnostic]) -> list[tuple[str, Span]]:
    written = table.get("include", [])
    entries = [(written, table.value_span("include"))]
    if isinstance(written, Array):
        entries = list(zip(written, written.items_at, strict=True))
    names = [(name, at) for name, at in entries if isinstance(name, str)]  # the structural check reports the others
    for name, at in names:
        if "${" in name:
            faults.append(fault("OB025", "a reference is not allowed in `include:`", span=at))
    return [(name, at) for name, at in names if "${" not in name]


def _known(path: str, among: tuple[str, ...]) -> str | None:
    real = os.path.realpath(path)
    return next((one for one in among if os.path.realpath(one) == real), None)


def _join(into: Table, other: Table, faults: list[Diagnostic]) -> None:
    for key, value in other.items():
        if key in {"include", "onnxbuild"}:
            continue
        if key not in into:
            into.put(key, value, other.key_span(key), other.value_span(key))
        elif key in _JOINED and isinstance(value, Table) and isinstance(into[key], Table):
            _join_section(into, key, value, faults)
        else:
            faults.append(_duplicate(key, other.key_span(key), into.key_span(key)))


def _join_section(into: Table, key: str, value: Table, faults: list[Diagnostic]) -> None:
    section = into[key]
    for name, entry in value.items():
        if name in section:
            faults.append(_duplicate(name, value.key_span(name), section.key_span(name)))
        else:
            section.put(name, entry, value.key_span(name), value.value_span(name))


def _duplicate(key: str, at: Span, first: Span) -> Diagnostic:
    return fault("OB014", f"duplicate key `{key}`", span=at, hint=f"the first one is at {first}")
