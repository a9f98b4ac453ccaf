"""The store: artifacts by content, traces by key, and the working folder of the run that has it open."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.digest import Digest
from onnxbuild.regular_files import check_folder
from onnxbuild.store import locks
from onnxbuild.store.claims import Claims
from onnxbuild.store.content import Content, DamagedBlob, Tree
from onnxbuild.store.database import DATABASE, DatabaseFailed, NewerDatabase
from onnxbuild.store.files import remove_tree
from onnxbuild.store.group_access import make_folder
from onnxbuild.store.marker import check_store, newer, unusable
from onnxbuild.store.outside_files import Patience, digest_outside_files
from onnxbuild.store.traces import Origin, Trace, Traces
from onnxbuild.store.working_folders import WorkingFolder, forget_journal, journal, sweep

if TYPE_CHECKING:  # most runs ask no remote store
    from onnxbuild.store.remote.parcel import Parcel
    from onnxbuild.store.remote.remote_store import Remote
    from onnxbuild.store.remote.transfer import Tell


class Store:
    """One store on disk, open for one process. Use it as a context manager.

    `readonly`: nothing is written, not even working folders; results can still be read. `claims`: a collection keeps
    the results that are looked up or made, for as long as the store is open (see `store.claims`). `remote`: the store
    that is asked for results that this one lacks. `trust`: identities of keys; if there are any, a result from a remote
    store, whoever fetched it, counts only if one of them has signed it. `say` is told which file is being read if that
    takes long.
    """

    def __init__(
        self,
        root: Path,
        *,
        readonly: bool = False,
        claims: bool = True,
        remote: Remote | None = None,
        trust: frozenset[str] = frozenset(),
        say: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """Open the store below `root`; create it if it is missing.

        Errors: DiagnosticError OB040; OB070, OB071 and OB072 for a folder that is no store, or a newer one.
        """
        self.root = root
        self.readonly = readonly
        self.remote = remote
        self._trust = trust
        self._patience = Patience(say)
        self.content = Content(root)
        self._work = WorkingFolder(root)
        self._claims = Claims(root, self._work.path) if claims and not readonly else None
        try:
            check_folder(root)
            if not readonly:
                root.mkdir(parents=True, exist_ok=True)
            if root.exists():
                check_store(root, readonly=readonly)
            self.traces = Traces(root / DATABASE, readonly=readonly)
        except NewerDatabase as error:
            raise DiagnosticError(newer(root, str(error))) from error
        except (OSError, sqlite3.Error) as error:
            raise DiagnosticError(unusable(root, error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()
        if isinstance(error, DatabaseFailed):  # it can happen in any command, which can only report it
            raise DiagnosticError(unusable(self.root, error)) from error

    def close(self) -> None:
        """Release everything and close the database."""
        self.release()
        if self.remote is not None:
            self.remote.close()
        self.traces.close()

    def release(self) -> None:
        """Remove the working folder and give up all claims: the work is done."""
        if self._claims is not None:
            self._claims.close()
        self._work.remove()
        if self._claims is not None:
            # Also after a run that made nothing: it may be the first after one that died.
            with contextlib.suppress(OSError, locks.Waiting):
                sweep(self.root, wait=False)

    # -- lookup ------------------------------------------------------------------------------------------------

    def lookup(self, key: str, *, own: bool = False) -> Trace | None:
        """The trace with this key, if the store has every file that it names; `own`: and if it was made locally."""
        with self._undisturbed():
            trace = self.traces.find(key)
            if trace is None or self.refused(key, own=own) or not self.holds(trace):
                return None
            self._claim(key)
            return trace

    def refused(self, key: str, *, own: bool = False) -> Origin | None:
        """Where a result came from that does not count for this reason; None if it counts, or is missing."""
        if not own and not self._trust:
            return None
        origin = self.traces.origin(key)
        return origin if origin is not None and (own or origin.signer not in self._trust) else None

    def offered(self, key: str) -> Trace | None:
        """The trace that the remote store has for this key; does not fetch its files."""
        parcel = self.remote.offer(key) if self.remote is not None else None
        return None if parcel is None else parcel.trace

    def obtain(
        self,
        key: str,
        tell: Tell = lambda _done, _all: None,
        *,
        is_final: Callable[[Trace], bool] = lambda _trace: True,
    ) -> Trace | None:
        """The trace with this key; if it is missing, fetch it with its files from the remote store.

        A trace that is not final gives way to one of the remote store that is. Errors: OSError of the local disk.
        """
        trace = self.lookup(key)
        if self.remote is None or (trace is not None and is_final(trace)):
            return trace
        parcel = self.remote.offer(key)
        if parcel is None or (trace is not None and not is_final(parcel.trace)):
            return trace
        return self._fetch(key, parcel, self.remote, tell) or trace

    def _fetch(self, key: str, parcel: Parcel, remote: Remote, tell: Tell) -> Trace | None:
        work = self.workspace()
        try:
            places = remote.fetch(parcel, self.content, work, tell)
            if places is None:
                return None
            with self._undisturbed():
                for digest, place in places.items():
                    self.content.adopt(place, Digest(digest), parcel.files[digest].size)
                trees = {port: parcel.tree(port) for port in parcel.trace.outputs}
                origin = Origin(remote.address.shown, parcel.signer)
                trace = self._replace(key, parcel.trace, trees, origin)
                # A collection may meanwhile have removed a file that existed and hence was not fetched.
                if not self.holds(trace):
                    return None
            if remote.has_ours(parcel):
                self.traces.mark_shared(remote.identity, [key])
            return trace
        finally:
            remove_tree(work)

    def share(self, key: str, tell: Tell = lambda _done, _all: None, *, replaces: bool = False) -> int | None:
        """Write a result to the remote store if it is missing there; the bytes sent, or None if that failed.

        With `replaces`, it takes the place of another result of this key.
        """
        from onnxbuild.store.remote.parcel import parcel_of

        trace = self.traces.find(key)
        if self.remote is None or trace is None or self.refused(key) or not self.holds(trace):
            return None
        try:
            parcel = parcel_of(trace, map(self.tree, trace.outputs.values()))
            sent = self.remote.push(key, parcel, self.content, tell, replaces=replaces)
        except DamagedBlob:
            return None  # the next run builds it again, and shares the new result
        if sent is not None and not self.readonly:
            self.traces.mark_shared(self.remote.identity, [key])
        return sent

    def holds(self, trace: Trace) -> bool:
        """Whether the store has all outputs of a trace (one stat per file)."""
        trees = [self.traces.tree(digest) for digest in trace.outputs.values()]
        return all(tree is not None and self.content.has(tree) for tree in trees)

    def tree(self, digest: str) -> Tree:
        """The tree with this digest, which a trace names. Errors: OSError if it is damaged."""
        tree = self.traces.tree(digest)
        if tree is None:  # `holds` had it; the database was damaged since
            raise OSError(errno.EIO, "the list of a result's files is missing or damaged", str(self.root / DATABASE))
        return tree

    def digest_files(self, root: str, names: tuple[str, ...]) -> Tree:
        """The tree of files outside the store; only files that have changed are read.

        Errors: OSError for a file that cannot be read.
        """
        return digest_outside_files(root, names, self.traces, remember=not self.readonly, patience=self._patience)

    # -- new results -------------------------------------------------------------------------------------------------

    def workspace(self) -> Path:
        """A new empty folder on the store's file system, removed when the store closes, or by a sweep after a crash.

        Errors: OSError.
        """
        place = self._work.path() / uuid.uuid4().hex[:12]
        make_folder(place)
        return place

    def journal(self, key: str, *, anew: bool = False) -> Path:
        """The folder in which an action notes what it has found, so that it continues after a kill; `anew`: empty.

        It stays until the result is published, or until a collection. Errors: OSError.
        """
        if anew:
            forget_journal(self.root, key)
        return journal(self.root, key)

    def publish(
        self,
        key: str,
        trace: Trace,
        ports: Mapping[str, Path],
        *,
        is_final: Callable[[Trace], bool] = lambda _trace: True,
    ) -> Trace:
        """Move the folders of all output ports into the store, then record the trace, and return what is recorded.

        A trace that is not final never takes the place of one that is, which another process may have recorded
        meanwhile. Errors: OSError; then no trace is recorded.
        """
        with self._undisturbed():
            before = None if is_final(trace) else self.lookup(key)
            if before is not None and is_final(before):
                recorded = before
            else:
                trees = {port: self.content.ingest(folder) for port, folder in ports.items()}
                recorded = self._record(key, trace, trees)
        forget_journal(self.root, key)
        return recorded

    def record_again(self, key: str, trace: Trace) -> None:
        """Record a result that the store has under one more key, in place of another result; it is shared anew."""
        with self._undisturbed():
            self._replace(key, trace, {port: self.tree(digest) for port, digest in trace.outputs.items()})

    def _replace(self, key: str, trace: Trace, trees: Mapping[str, Tree], origin: Origin | None = None) -> Trace:
        """Record a trace; if it takes the place of another result, neither a receipt nor a remote store has it yet."""
        before = self.traces.find(key)
        is_other = before is not None and dict(before.outputs) != dict(trace.outputs)
        if is_other:
            self.traces.unmark_shared(key)
        recorded = self._record(key, trace, trees, origin)
        if is_other:
            self.traces.outdate_receipts()
        return recorded

    def _record(self, key: str, trace: Trace, trees: Mapping[str, Tree], origin: Origin | None = None) -> Trace:
        """Record a trace whose content is in the store."""
        complete = Trace(
            parts=trace.parts,
            outputs={port: tree.digest for port, tree in trees.items()},
            facts=trace.facts,
            seconds=trace.seconds,
            worker=trace.worker,
            created=time.time(),
        )
        self.traces.record(key, complete, trees.values(), origin)
        self._claim(key)
        return complete

    def lock(
        self, key: str, on_wait: Callable[[locks.Holder | None], None], cancelled: Callable[[], bool]
    ) -> contextlib.AbstractContextManager[None]:
        """The lock under which one process builds this key, while other processes wait for its result."""
        folder = self.root / "locks"
        make_folder(folder)
        return locks.hold(folder / key, on_wait=on_wait, cancelled=cancelled)

    def _undisturbed(self) -> contextlib.AbstractContextManager[None]:
        """No collection deletes anything while the body runs."""
        return contextlib.nullcontext() if self._claims is None else self._claims.section()

    def _claim(self, key: str) -> None:
        if self._claims is not None:
            self._claims.add(key)


@contextlib.contextmanager
def opened(
    root: Path,
    *,
    write: bool,
    remote: Remote | None = None,
    trust: frozenset[str] = frozenset(),
    say: Callable[[str], None] = lambda _text: None,
) -> Iterator[Store]:
    """The store below `root`. Without `write`, nothing is created or changed: `plan` works on any file system."""
    with Store(root, readonly=not write, claims=write, remote=remote, trust=trust, say=say) as store:
        yield store
