"""The remote store: read when the local store lacks a result, and written after the checks of the result.

Constraints: a reader gets a whole result or nothing; nothing that arrives is used before its digest has been checked;
a remote store that is slow, full, broken or forged costs one warning and a local build; an upload that was interrupted
is repeated.

Layout, below the address: `blobs/ab/ab12…` holds content, named by its digest, and `traces/ab/ab12….json` a trace with
the trees that it names, written after the last of its blobs. Alternatives that were rejected: the database of traces as
one object (two machines would overwrite each other), and one object per tree (one more request for some hundred bytes).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from onnxbuild.diagnostics import Diagnostic, fault
from onnxbuild.digest import canonical, digest_value
from onnxbuild.store.content import Content, File, Tree
from onnxbuild.store.remote.address import Address
from onnxbuild.store.remote.backend import Backend, RemoteUnusable
from onnxbuild.store.remote.parcel import DamagedObject, Parcel, blob_name, parcel_from, trace_name
from onnxbuild.store.remote.transfer import REQUESTS_AT_ONCE, Tell, Transfer, check_file


class Remote:
    """A remote store. After the first failure it is off for the rest of the run; `warnings` has the reason, once."""

    def __init__(self, address: Address, *, readonly: bool = False, backend: Backend | None = None) -> None:
        self.address, self.readonly = address, readonly
        self.warnings: list[Diagnostic] = []
        self._backend = backend or Backend(address)
        self._lock = threading.Lock()
        self._off = False
        self._damaged_once = False
        self._damaged: set[str] = set()  # objects with wrong content, to be written again
        self._known: set[str] = set()  # blobs that the remote store has

    @property
    def usable(self) -> bool:
        """Whether nothing has failed yet."""
        return not self._off

    def close(self) -> None:
        """Close its connections."""
        self._backend.close()

    def offer(self, key: str) -> Parcel | None:
        """The trace for a key, without its content, if the remote store has it."""
        if self._off:
            return None
        try:
            data = self._backend.read(trace_name(key))
            return None if data is None else parcel_from(key, data)
        except DamagedObject as damaged:
            self._report_damage(damaged)
        except RemoteUnusable as unusable:
            self._switch_off(f"cannot be used: {unusable}")
        return None

    def fetch(self, parcel: Parcel, content: Content, work: Path, tell: Tell) -> Mapping[str, Path] | None:
        """Fetch and check the files of a parcel that the local store lacks, by digest; None if one did not arrive.

        Errors: OSError of the local disk.
        """
        missing = [file for file in parcel.files.values() if not content.has(Tree((file,)))]
        if not missing:
            return {}
        places: dict[str, Path] = {file.digest: work / file.digest for file in missing}
        transfer = Transfer(self._backend, places, sum(file.size for file in missing), tell)
        try:
            transfer.run(missing)
            for file in missing:
                check_file(places[file.digest], file)
        except DamagedObject as damaged:
            self._report_damage(damaged)
            # The result that is built instead may have other files: then the trace must be written again, too.
            self._damaged.add(trace_name(digest_value(parcel.trace.parts)))
            return None
        except RemoteUnusable as unusable:
            self._switch_off(f"cannot be used: {unusable}")
            return None
        self._known.update(places)
        return places

    def push(self, key: str, parcel: Parcel, content: Content, tell: Tell = lambda _done, _all: None) -> int | None:
        """Write a result: the content that is missing, then the trace. The bytes sent, or None if that failed.

        Errors: DamagedBlob for a local file that is damaged.
        """
        if self._off or self.readonly:
            return None
        name = trace_name(key)
        try:
            fresh = [file for file in parcel.files.values() if file.digest not in self._known]
            total, sent = sum(file.size for file in fresh), 0
            with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
                for size in pool.map(lambda file: self._send(file, content), fresh):
                    sent += size
                    tell(sent, total)
            if self._backend.size(name) is None or name in self._damaged:
                self._backend.write(name, canonical(parcel))
                self._damaged.discard(name)
        except (RemoteUnusable, OSError) as error:
            self._switch_off(f"cannot be written: {error}")
            return None
        return sent

    def _send(self, file: File, content: Content) -> int:
        name = blob_name(file.digest)
        if self._off:
            raise RemoteUnusable("it has failed before")
        sent = 0
        if name in self._damaged or self._backend.size(name) != file.size:
            content.verify(file)  # a damaged local file must not be shared
            self._backend.upload(name, content.path(file.digest))
            self._damaged.discard(name)
            sent = file.size
        self._known.add(file.digest)
        return sent

    def _report_damage(self, damaged: DamagedObject) -> None:
        with self._lock:
            first = not self._damaged_once
            self._damaged_once = True
            self._damaged.add(damaged.name)
            if first:
                message = f"the remote store {self.address.shown} contains a damaged object: {damaged.name}: {damaged}"
                hint = "the result is built locally" + ("" if self.readonly else ", and written again")
                self.warnings.append(fault("OB046", message, severity="warning", hint=hint))

    def _switch_off(self, why: str) -> None:
        with self._lock:
            if not self._off:
                self._off = True
                message = f"the remote store {self.address.shown} {why}"
                hint = "this run continues without it; `--offline` skips it"
                self.warnings.append(fault("OB045", message, severity="warning", hint=hint))
