"""The remote store: what machines share. Read when the local store lacks a result, written after its checks.

Constraints: whoever can read a result gets all of it or nothing; nothing that arrives is believed before it has been
digested; a remote store that is slow, full, broken or forged costs one warning and a local build; an upload that was
cut off is simply done again.

Layout, below the address: `blobs/ab/ab12…` content, named by its digest, and `traces/ab/ab12….json`, a trace with the
trees that it names, written after the last of its blobs. Weighed and set aside: the traces' database as one object
(two machines would overwrite each other), and an object for each tree (a request more, for a few hundred bytes).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import msgspec
from msgspec import Struct

from onnxbuild.diagnostics import Diagnostic, fault
from onnxbuild.digest import canonical, digest_file, digest_value
from onnxbuild.store.backend import PART_BYTES, Address, Backend, Unusable
from onnxbuild.store.content import Content, File, Tree
from onnxbuild.store.traces import Trace

_LAYOUT = 1
_AT_ONCE = 8  # requests; more gain little on one line, and each holds a part in memory

Tell = Callable[[float, float], None]  # bytes done, bytes in all


class Parcel(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A trace as it travels, with the trees that it names."""

    layout: int
    trace: Trace
    trees: Mapping[str, tuple[File, ...]]

    def tree(self, port: str) -> Tree:
        """The tree at an output port."""
        return Tree(self.trees[self.trace.outputs[port]])

    @property
    def files(self) -> Mapping[str, File]:
        """Every file once, by digest."""
        return {file.digest: file for files in self.trees.values() for file in files}


class _Damaged(Exception):  # noqa: N818 - a state of one object, which is answered by building locally
    """An object is not what its name says; `name` is that of the object."""

    def __init__(self, name: str, what: str) -> None:
        self.name = name
        super().__init__(what)


class Remote:
    """A remote store. After the first failure it is off for the rest of the run; `warnings` says why, once."""

    def __init__(self, address: Address, *, readonly: bool = False, backend: Backend | None = None) -> None:
        self.address, self.readonly = address, readonly
        self.warnings: list[Diagnostic] = []
        self._backend = backend or Backend(address)
        self._lock = threading.Lock()
        self._off = self._damaged_once = False
        self._damaged: set[str] = set()  # objects that did not hold what they should: written again
        self._there: set[str] = set()  # blobs that are known to be there

    @property
    def usable(self) -> bool:
        """Whether it has not failed yet."""
        return not self._off

    def close(self) -> None:
        """Close its connections."""
        self._backend.close()

    def offer(self, key: str) -> Parcel | None:
        """The trace that the remote store has for a key, without its content."""
        if self._off:
            return None
        try:
            data = self._backend.read(_trace_name(key))
            return None if data is None else _proved(key, data)
        except _Damaged as damaged:
            self._report_damage(damaged)
        except Unusable as unusable:
            self._switch_off(f"cannot be used: {unusable}")
        return None

    def fetch(self, parcel: Parcel, content: Content, work: Path, tell: Tell) -> Mapping[str, Path] | None:
        """The files of a parcel that the local store lacks, by digest, each proved; or None where not all arrived.

        Errors: OSError of the local disk.
        """
        missing = [file for file in parcel.files.values() if not content.has(Tree((file,)))]
        if not missing:
            return {}
        places: dict[str, Path] = {file.digest: work / file.digest for file in missing}
        transfer = _Transfer(self, places, sum(file.size for file in missing), tell)
        try:
            transfer.run(missing)
            for file in missing:
                _prove(places[file.digest], file)
        except _Damaged as damaged:
            self._report_damage(damaged)
            # Built again, the result may have other files: then the trace has to be written again as well.
            self._damaged.add(_trace_name(digest_value(parcel.trace.parts)))
            return None
        except Unusable as unusable:
            self._switch_off(f"cannot be used: {unusable}")
            return None
        self._there.update(places)
        return places

    def push(self, key: str, parcel: Parcel, content: Content, tell: Tell = lambda _done, _all: None) -> int | None:
        """Write a result: content first, what is there already not again, then the trace. Bytes sent, None if not all.

        Errors: DamagedBlob for a file of ours that is not what it should be.
        """
        if self._off or self.readonly:
            return None
        name = _trace_name(key)
        try:
            fresh = [file for file in parcel.files.values() if file.digest not in self._there]
            total, sent = sum(file.size for file in fresh), 0
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                for size in pool.map(lambda file: self._send(file, content), fresh):
                    sent += size
                    tell(sent, total)
            if self._backend.size(name) is None or name in self._damaged:
                self._backend.write(name, canonical(parcel))
                self._damaged.discard(name)
        except (Unusable, OSError) as error:
            self._switch_off(f"cannot be written: {error}")
            return None
        return sent

    def _send(self, file: File, content: Content) -> int:
        name = _blob_name(file.digest)
        if self._off:
            raise Unusable("it has failed before")
        sent = 0
        if name in self._damaged or self._backend.size(name) != file.size:
            content.verify(file)  # a damaged file of ours must not be handed on
            self._backend.upload(name, content.path(file.digest))
            self._damaged.discard(name)
            sent = file.size
        self._there.add(file.digest)
        return sent

    def _report_damage(self, damaged: _Damaged) -> None:
        with self._lock:
            first = not self._damaged_once
            self._damaged_once = True
            self._damaged.add(damaged.name)
            if first:
                message = f"the remote store {self.address.shown} holds a damaged object: {damaged.name}: {damaged}"
                hint = "what it belongs to is built here" + ("" if self.readonly else ", and written again")
                self.warnings.append(fault("OB046", message, severity="warning", hint=hint))

    def _switch_off(self, why: str) -> None:
        with self._lock:
            if not self._off:
                self._off = True
                message = f"the remote store {self.address.shown} {why}"
                hint = "this run goes on without it; `--offline` does not ask it"
                self.warnings.append(fault("OB045", message, severity="warning", hint=hint))


class _Transfer:
    """The parts of several files, fetched at once into files below a folder of ours."""

    def __init__(self, remote: Remote, places: Mapping[str, Path], total: int, tell: Tell) -> None:
        self._backend, self._places, self._total, self._tell = remote._backend, places, total, tell  # noqa: SLF001 - one module
        self._done = 0
        self._lock = threading.Lock()
        self._failed = False

    def run(self, files: Iterable[File]) -> None:
        """Fetch every part. Errors: Unusable, _Damaged, OSError of the local disk."""
        parts = []
        for file in files:
            self._places[file.digest].touch()
            parts += [(file, start) for start in range(0, file.size, PART_BYTES)]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="fetch") as pool:
            list(pool.map(self._part, parts))

    def _part(self, part: tuple[File, int]) -> None:
        if self._failed:
            return  # one failure ends all: what stands is of no use without the rest
        file, start = part
        end = min(start + PART_BYTES, file.size)
        try:
            data = self._read(file, start, end)
            with open(self._places[file.digest], "r+b") as target:
                os.pwrite(target.fileno(), data, start)
            with self._lock:
                self._done += len(data)
                done = self._done
            self._tell(done, self._total)
        except BaseException:
            self._failed = True
            raise

    def _read(self, file: File, start: int, end: int) -> bytes:
        data = self._backend.read_part(_blob_name(file.digest), start, end)
        if data is None or len(data) != end - start:
            raise _Damaged(_blob_name(file.digest), "it is missing or cut short")
        return data


def _prove(place: Path, file: File) -> None:
    if digest_file(place, file.size) != file.digest:
        raise _Damaged(_blob_name(file.digest), "its content is not what its name says")


def parcel_of(trace: Trace, trees: Iterable[Tree]) -> Parcel:
    """A trace made ready to travel."""
    return Parcel(layout=_LAYOUT, trace=trace, trees={tree.digest: tree.files for tree in trees})


def _proved(key: str, data: bytes) -> Parcel:
    """A trace that has arrived, if it is one, for this key, with its trees whole. Errors: _Damaged."""
    name = _trace_name(key)
    try:
        parcel = msgspec.json.decode(data, type=Parcel)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _Damaged(name, f"it is no trace ({error})") from None
    if parcel.layout != _LAYOUT:
        raise _Damaged(name, f"it has layout {parcel.layout}, expected {_LAYOUT}")
    if digest_value(parcel.trace.parts) != key:
        raise _Damaged(name, "it is the trace of another key")
    if set(parcel.trace.outputs.values()) != set(parcel.trees):
        raise _Damaged(name, "its outputs and its trees differ")
    for digest, files in parcel.trees.items():
        if Tree(files).digest != digest or not all(_is_safe(file) for file in files):
            raise _Damaged(name, "a tree is not what its name says")
    return parcel


def _is_safe(file: File) -> bool:
    """Whether a file's name stays below the folder into which it is laid out, and its digest names a blob."""
    path = PurePosixPath(file.name)
    plain = not path.is_absolute() and ".." not in path.parts and "\0" not in file.name and str(path) == file.name
    return plain and len(file.digest) == 64 and set(file.digest) <= set("0123456789abcdef") and file.size >= 0  # noqa: PLR2004 - hexadecimal digits of 256 bits


def _trace_name(key: str) -> str:
    return f"traces/{key[:2]}/{key}.json"


def _blob_name(digest: str) -> str:
    return f"blobs/{digest[:2]}/{digest}"
