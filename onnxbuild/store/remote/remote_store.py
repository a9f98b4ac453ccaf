"""The remote store: read when the local store lacks a result, and written after the checks of the result.

Constraints: a reader gets a whole result or nothing; nothing that arrives is used before its digest has been checked;
a remote store that is slow, full, broken or forged costs one warning and a local build; an upload that was interrupted
is repeated.

Layout, below the address: `blobs/ab/ab12…` holds content, named by its digest; `traces/ab/ab12….json` a trace with the
trees that it names, written after the last of its blobs; `signed/SIGNER/ab/ab12….json` the same with a signature.
Alternatives that were rejected: the database of traces as one object (two machines would overwrite each other), one
object per tree (one more request for some hundred bytes), and signatures beside the trace in one object (two signers
who write at the same time would lose one of them, and anybody who may write could remove both).
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from onnxbuild.diagnostics import Diagnostic, fault
from onnxbuild.digest import digest_value
from onnxbuild.store.content import Content, File, Tree
from onnxbuild.store.remote.address import Address
from onnxbuild.store.remote.backend import Backend
from onnxbuild.store.remote.parcel import (
    Parcel,
    Ports,
    blob_name,
    parcel_from,
    plain_object,
    signed_name,
    signed_object,
    signed_parcel_from,
    trace_name,
)
from onnxbuild.store.remote.remote_errors import DamagedObject, RemoteUnusable
from onnxbuild.store.remote.shape import MOST_TRACE_BYTES
from onnxbuild.store.remote.transfer import REQUESTS_AT_ONCE, Tell, Transfer, check_file

if TYPE_CHECKING:
    from onnxbuild.store.remote.signing import PublicKey, SigningKey


class Remote:
    """A remote store. After the first failure it is off for the rest of the run; `warnings` has the reason, once.

    `trust`: if there are any, only what one of these keys has signed is taken. `signing`: what is written is signed.
    `ports`: the output ports of each known kind.
    """

    def __init__(
        self,
        address: Address,
        *,
        readonly: bool = False,
        trust: Iterable[PublicKey] = (),
        signing: SigningKey | None = None,
        ports: Ports | None = None,
        backend: Backend | None = None,
    ) -> None:
        self.address, self.readonly = address, readonly
        self.warnings: list[Diagnostic] = []
        self._trust, self._signing, self._ports = tuple(trust), signing, ports
        self._backend = backend or Backend(address)
        self._lock = threading.Lock()
        self._off = False
        self._warned: set[str] = set()  # codes
        self._damaged: set[str] = set()  # objects with wrong content, to be written again
        self._known: set[str] = set()  # blobs that the remote store has

    @property
    def identity(self) -> str:
        """What the local store records about: this address, and who signs what is written there."""
        return self.address.identity + (f" signed by {self._signing.public.identity}" if self._signing else "")

    def has_ours(self, parcel: Parcel) -> bool:
        """Whether a parcel that has arrived is one that this machine would write."""
        return self._signing is None or parcel.signer == self._signing.public.identity

    @property
    def usable(self) -> bool:
        """Whether nothing has failed yet."""
        return not self._off

    def close(self) -> None:
        """Close its connections."""
        self._backend.close()

    def offer(self, key: str) -> Parcel | None:
        """The trace for a key, without its content, if the remote store has it from somebody who is trusted."""
        if self._off:
            return None
        try:
            return self._signed(key) if self._trust else self._plain(key)
        except RemoteUnusable as unusable:
            self._switch_off(f"cannot be used: {unusable}")
        return None

    def _plain(self, key: str) -> Parcel | None:
        try:
            data = self._backend.read(trace_name(key), MOST_TRACE_BYTES + 1)
            return None if data is None else parcel_from(key, data, self._ports)
        except DamagedObject as damaged:
            self._report_damage(damaged)
        return None

    def _signed(self, key: str) -> Parcel | None:
        for signer in self._trust:
            try:
                data = self._backend.read(signed_name(signer.identity, key), MOST_TRACE_BYTES + 1)
                if data is not None:
                    return signed_parcel_from(key, data, signer, self._ports)
            except DamagedObject as damaged:
                self._report_damage(damaged)
            except ImportError as error:
                raise RemoteUnusable(f"signatures need `pip install onnxbuild[remote]` ({error})") from None
        self._report_unsigned(key)
        return None

    def _report_unsigned(self, key: str) -> None:
        """Report once that there are results, but no trusted ones: a forgotten key looks like an empty store."""
        if "OB076" not in self._warned and self._backend.size(trace_name(key)) is not None:
            message = f"the remote store {self.address.shown} has results that no trusted key has signed"
            names = ", ".join(f"`{key.name}`" for key in self._trust)
            self._warn("OB076", message, f"they are built locally; trusted is {names}")

    def fetch(self, parcel: Parcel, content: Content, work: Path, tell: Tell) -> Mapping[str, Path] | None:
        """Fetch and check the files of a parcel that the local store lacks, by digest; None if one did not arrive.

        Errors: OSError of the local disk.
        """
        missing = [file for file in parcel.files.values() if not content.has(Tree((file,)))]
        if not missing:
            return {}
        places: dict[str, Path] = {file.digest: work / file.digest for file in missing}
        total = sum(file.size for file in missing)
        if total > shutil.disk_usage(work).free:
            message = f"the remote store {self.address.shown} has a result of {total / 1e9:.1f} GB"
            self._warn("OB078", message, "the disk has less space: the result is built locally")
            return None
        transfer = Transfer(self._backend, places, total, tell)
        try:
            transfer.run(missing)
            for file in missing:
                check_file(places[file.digest], file)
        except DamagedObject as damaged:
            self._report_damage(damaged)
            # The result that is built instead may have other files: then the trace must be written again, too.
            self._damaged.update(self._names(digest_value(parcel.trace.parts), parcel.signer))
            return None
        except RemoteUnusable as unusable:
            self._switch_off(f"cannot be used: {unusable}")
            return None
        self._known.update(places)
        return places

    def push(
        self,
        key: str,
        parcel: Parcel,
        content: Content,
        tell: Tell = lambda _done, _all: None,
        *,
        replaces: bool = False,
    ) -> int | None:
        """Write a result: the content that is missing, then the trace. The bytes sent, or None if that failed.

        A trace that is there stays, unless `replaces` is set.

        Errors: DamagedBlob for a local file that is damaged.
        """
        if self._off or self.readonly:
            return None
        if flaw := parcel.flaw:
            what = f"a result of kind `{parcel.trace.parts.get('kind')}` cannot be shared: {flaw}"
            self._warn("OB078", what, "other machines build it themselves")
            return 0  # a later run could not do better
        try:
            fresh = [file for file in parcel.files.values() if file.digest not in self._known]
            total, sent = sum(file.size for file in fresh), 0
            with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
                for size in pool.map(lambda file: self._send(file, content), fresh):
                    sent += size
                    tell(sent, total)
            for name, data in self._objects(key, parcel):
                self._write(name, data, replaces=replaces)
        except (RemoteUnusable, OSError, ImportError) as error:
            self._switch_off(f"cannot be written: {error}")
            return None
        return sent

    def _objects(self, key: str, parcel: Parcel) -> Iterator[tuple[str, bytes]]:
        yield trace_name(key), plain_object(parcel)
        if self._signing is not None:
            yield signed_name(self._signing.public.identity, key), signed_object(key, parcel, self._signing)

    def _names(self, key: str, signer: str) -> Iterator[str]:
        yield trace_name(key)
        yield from (signed_name(signer, key) for signer in (signer,) if signer)

    def _write(self, name: str, data: bytes, *, replaces: bool) -> None:
        if replaces or name in self._damaged or self._size(name) is None:
            self._backend.write(name, data)
            self._damaged.discard(name)

    def _size(self, name: str) -> int | None:
        try:
            return self._backend.size(name)
        except DamagedObject:
            return None

    def _send(self, file: File, content: Content) -> int:
        name = blob_name(file.digest)
        if self._off:
            raise RemoteUnusable("it has failed before")
        sent = 0
        if name in self._damaged or self._size(name) != file.size:
            content.verify(file)  # a damaged local file must not be shared
            self._backend.upload(name, content.path(file.digest))
            self._damaged.discard(name)
            sent = file.size
        self._known.add(file.digest)
        return sent

    def _report_damage(self, damaged: DamagedObject) -> None:
        with self._lock:
            self._damaged.add(damaged.name)
        message = f"the remote store {self.address.shown} contains a damaged object: {damaged.name}: {damaged}"
        self._warn("OB046", message, "the result is built locally" + ("" if self.readonly else ", and written again"))

    def _switch_off(self, why: str) -> None:
        self._off = True
        hint = "nothing more is asked of it in this command; `--offline` does without it"
        self._warn("OB045", f"the remote store {self.address.shown} {why}", hint)

    def _warn(self, code: str, message: str, hint: str) -> None:
        """Warn once per code: what is wrong with one object is usually wrong with many."""
        with self._lock:
            first = code not in self._warned
            self._warned.add(code)
            if first:
                self.warnings.append(fault(code, message, severity="warning", hint=hint))
