"""Datasets as planning sees them: where the rows come from, and which columns they have."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from onnxbuild.diagnostics import Diagnostic, fault
from onnxbuild.manifest.spec import Dataset
from onnxbuild.planning.action_graph import FilesSource, RowsSource
from onnxbuild.planning.local_files import LocalFiles, absolute_path
from onnxbuild.planning.lock_file import dataset_name, is_hub_name
from onnxbuild.planning.locked import Lock
from onnxbuild.planning.sources import Fetched, locked_fetch, unknown_scheme
from onnxbuild.regular_files import open_regular
from onnxbuild.steps.dataset_rows import ENDINGS

_SHOWN_FILES = 8
_LONGEST_LINE = 1 << 20  # characters of a first row that planning reads
_HUB_EXAMPLE = "write `hub:organization/name` or `hub:organization/name@revision`"


class DatasetReader:
    """Reads the sources of datasets."""

    def __init__(self, lock: Lock, local: LocalFiles) -> None:
        self._lock, self._local = lock, local
        self._on_hub: dict[str, Fetched | None] = {}
        self._columns: dict[str, tuple[str, ...] | None] = {}
        self._usable: set[str] = set()  # datasets in files that may be read and that exist

    def check(self, dataset: Dataset) -> None:
        """Faults of a dataset's source: an unknown scheme, a missing file, several files to choose from."""
        faults = self._local.faults
        scheme, _, rest = dataset.source.partition(":") if isinstance(dataset.source, str) else ("", "", "")
        if dataset.files is not None and scheme != "hub":
            message = f"`files` of the dataset `{dataset.name}`, whose source is not `hub:`"
            faults.append(fault("OB032", message, span=dataset.span, hint="remove it: the source names the rows"))
        if not isinstance(dataset.source, str):
            return
        if scheme == "file":
            self._check_file(rest, dataset)
        elif scheme == "hub":
            self._on_hub[dataset.name] = self._fetched(rest, dataset)
        else:
            faults.append(unknown_scheme(dataset.source, dataset.span, ("file", "hub")))

    def rows(self, dataset: Dataset) -> FilesSource | RowsSource | Fetched | None:
        """A dataset as an input of an action, or how it is fetched; None if `check` found a fault."""
        if not isinstance(dataset.source, str):
            return RowsSource(dataset.source)
        scheme, _, rest = dataset.source.partition(":")
        if scheme == "hub":
            return self._on_hub.get(dataset.name)
        path = absolute_path(rest, dataset.span)
        return FilesSource(os.path.dirname(path), (os.path.basename(path),)) if scheme == "file" else None

    def columns(self, dataset: Dataset) -> tuple[str, ...] | None:
        """The columns that every row has, judging by the first row; None if they are not known."""
        if dataset.name not in self._columns:
            self._columns[dataset.name] = _columns_of(dataset) if self._is_readable(dataset) else None
        return self._columns[dataset.name]

    def _check_file(self, rest: str, dataset: Dataset) -> None:
        path = absolute_path(rest, dataset.span)
        if not path.endswith(ENDINGS):
            message = f"`{dataset.source}` has no known format"
            hint = f"expected a file that ends in {', '.join(ENDINGS)}"
            self._local.faults.append(fault("OB026", message, span=dataset.span, hint=hint))
        elif self._local.exists(rest, path, dataset.span, os.path.isfile):
            self._local.files[path] = None
            self._usable.add(dataset.name)

    def _is_readable(self, dataset: Dataset) -> bool:
        """Whether the first row may be read. One outside the reach of the manifest would appear in a message."""
        return not isinstance(dataset.source, str) or dataset.name in self._usable

    def _fetched(self, text: str, dataset: Dataset) -> Fetched | None:
        """The files of a dataset on the Hub, at the commit in the lock."""
        if not is_hub_name(text):
            message = f"`hub:{text}` is not a source"
            self._local.faults.append(fault("OB026", message, span=dataset.span, hint=_HUB_EXAMPLE))
            return None
        params, entry = locked_fetch(dataset_name(text), self._lock)
        if entry is None:
            return Fetched(params=params, inputs={}, unlocked=True)
        chosen = [one for one in entry.files if dataset.files is None or fnmatchcase(one, dataset.files)]
        problem = _unclear(text, dataset.files, chosen, entry.files)
        if problem is not None:
            self._local.faults.append(msgspec.structs.replace(problem, span=dataset.span))
            return None
        return Fetched(params={**params, "files": chosen}, inputs={})


def _unclear(repo: str, pattern: str | None, chosen: Sequence[str], files: Sequence[str]) -> Diagnostic | None:
    """What is wrong with the choice of a dataset's files: there are none, or several that nobody chose."""
    more = f" and {len(files) - _SHOWN_FILES} more" if len(files) > _SHOWN_FILES else ""
    shown = ", ".join(files[:_SHOWN_FILES]) + more
    if not files:
        hint = f"rows are read from {', '.join(ENDINGS)}: download it, convert it, and use `file:`"
        return fault("OB027", f"`hub:{repo}` contains no rows that can be read", hint=hint)
    if not chosen:
        return fault("OB027", f"`files: {pattern}` matches no file of `hub:{repo}`", hint=f"it has {shown}")
    if pattern is None and len(chosen) > 1:
        hint = f"choose with a pattern, such as `files: {chosen[-1]}`; it has {shown}"
        return fault("OB012", f"`hub:{repo}` has {len(chosen)} files of rows, and no `files` says which", hint=hint)
    return None


def _columns_of(dataset: Dataset) -> tuple[str, ...] | None:
    if not isinstance(dataset.source, str):
        first, *others = dataset.source or ({},)
        return tuple(column for column in first if all(column in row for row in others))
    scheme, _, rest = dataset.source.partition(":")
    path = absolute_path(rest, dataset.span)
    read = _FIRST_ROW.get(os.path.splitext(path)[1]) if scheme == "file" else None
    try:
        return read(path) if read is not None else None
    except (OSError, ValueError, RecursionError, csv.Error):
        return None  # the step that reads the file reports it


def _text(path: str, newline: str | None = None) -> io.TextIOWrapper:
    """A regular file of text; where a link leads has been checked."""
    return io.TextIOWrapper(
        io.BufferedReader(open_regular(os.path.realpath(path))), encoding="utf-8-sig", newline=newline
    )


def _jsonl_columns(path: str) -> tuple[str, ...] | None:
    with _text(path) as file:
        row = json.loads(file.readline(_LONGEST_LINE))
    return tuple(row) if isinstance(row, dict) else None


def _csv_columns(path: str) -> tuple[str, ...] | None:
    with _text(path, newline="") as file:
        header = next(csv.reader([file.readline(_LONGEST_LINE)]), None)
    return tuple(header) if header else None


# The columns of a parquet file stay unknown: pyarrow takes longer to import than a whole lint.
_FIRST_ROW: Mapping[str, Callable[[str], tuple[str, ...] | None]] = {".jsonl": _jsonl_columns, ".csv": _csv_columns}
