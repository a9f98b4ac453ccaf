"""The folder in which one action runs: its inputs, its empty outputs, and the checks of both after the worker."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from onnxbuild.execute.job import Job
from onnxbuild.planning.action_graph import FilesSource, OutputRef, RowsSource
from onnxbuild.protocol import Failure
from onnxbuild.store.files import link_or_clone, walk_files
from onnxbuild.store.new_outputs import UnfitOutput, make_fit
from onnxbuild.store.store import Store


class Rejected(Exception):  # noqa: N818 - carries a failure to the one place that reports it
    """The worker failed, or its result must not be recorded."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


class ActionFolder:
    """The folder of one attempt, below a working folder of the store. `ports`: the names of the outputs."""

    def __init__(self, root: Path, job: Job, ports: tuple[str, ...], store: Store) -> None:
        self._root, self._job, self._store = root, job, store
        self._stamps: Mapping[str, tuple[int, int]] = {}
        self.outputs = {port: root / "outputs" / port for port in ports}
        self.scratch = root / "scratch"

    def prepare(self) -> Mapping[str, str]:
        """Create the folders, write the inputs, and return the folder of each input. Errors: DamagedBlob, OSError."""
        folders = {port: self._root / "inputs" / port for port in self._job.action.inputs}
        for port, folder in folders.items():
            folder.mkdir(parents=True)
            self._write_input(port, folder)
        for folder in (self.scratch, *self.outputs.values()):
            folder.mkdir(parents=True)
        self._stamps = _stamps(self._root / "inputs")
        return {port: str(folder) for port, folder in folders.items()}

    def _write_input(self, port: str, folder: Path) -> None:
        source = self._job.action.inputs[port]
        if isinstance(source, FilesSource):
            _link_files(source, folder)
        elif isinstance(source, OutputRef):
            self._store.content.view(self._store.tree(self._job.parts.inputs[port]), folder)
        elif isinstance(source, RowsSource):
            _write_rows(source, folder)

    def check_inputs_untouched(self) -> None:
        """Check that the worker has not changed its inputs. Errors: Rejected."""
        if _stamps(self._root / "inputs") != self._stamps:
            raise Rejected(Failure(code="OBE63", message="the worker changed its inputs, which are read-only"))

    def check_outputs(self) -> None:
        """Check that every output has files, and nothing else once links are copies. Errors: Rejected, OSError."""
        try:
            make_fit(self.outputs, self._root / "inputs")
        except UnfitOutput as unfit:
            raise Rejected(Failure(code="OBE76" if unfit.is_link else "OBE64", message=str(unfit))) from None
        for port, folder in self.outputs.items():
            if next(walk_files(folder), None) is None:
                raise Rejected(Failure(code="OBE64", message=f"the worker left output `{port}` empty"))

    def check_sources_unchanged(self) -> None:
        """Check that the files from outside still have the content that is in the key. Errors: Rejected, OSError."""
        for port, source in self._job.action.inputs.items():
            if isinstance(source, FilesSource):
                now = self._store.digest_files(source.root, source.files)
                if now.digest != self._job.parts.inputs[port]:
                    hint = ("hint", "run again: this result was not recorded")
                    message = f"input `{port}` changed while the action ran ({source.root})"
                    raise Rejected(Failure(code="OBE57", message=message, notes=(hint,)))


def _link_files(source: FilesSource, folder: Path) -> None:
    """Link the files of a source and no others: the key would not cover another file that the worker saw."""
    for name in source.files:
        target, link = Path(source.root, name), folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        try:
            link.symlink_to(target)
        except OSError:  # Windows allows symbolic links only to administrators and in developer mode
            link_or_clone(target, link)


def _write_rows(source: RowsSource, folder: Path) -> None:
    (folder / "rows.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in source.rows))


def _stamps(folder: Path) -> Mapping[str, tuple[int, int]]:
    """Size and mtime of every input from the store. Not its ctime: each hard link of another action changes that.

    Links lead to files from outside, which anybody may change: `check_sources_unchanged` compares their content.
    """
    if not os.path.exists(folder):
        return {}
    stored = ((name, entry.stat()) for name, entry in walk_files(folder) if not entry.is_symlink())
    return {name: (status.st_size, status.st_mtime_ns) for name, status in stored}
