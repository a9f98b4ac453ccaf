"""The store: artifacts by content, traces by key, working folders that vanish with the run that made them."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, fault
from onnxbuild.digest import Digest, digest_file
from onnxbuild.store import locks
from onnxbuild.store.claims import Claims
from onnxbuild.store.content import Content, DamagedBlob, File, Tree
from onnxbuild.store.files import remove_tree, settled_signature, signature
from onnxbuild.store.traces import DATABASE, Trace, Traces

# What SQLite needs to open a database in WAL mode: the shared index alone takes 32 KB.
_SMALLEST_FREE_BYTES = 64 << 10

if TYPE_CHECKING:  # most runs find everything here
    from onnxbuild.store.remote import Parcel, Remote, Tell


class Store:
    """One store on disk, open for one process. Use it as a context manager.

    `readonly`: nothing is written, not even working folders; what is stored can still be read. `claims`: results that
    are looked up or made are kept by a collection for as long as the store is open (see `store.claims`). `remote`: what
    is asked for results that are not here.
    """

    def __init__(
        self, root: Path, *, readonly: bool = False, claims: bool = True, remote: Remote | None = None
    ) -> None:
        """Open the store below `root`, making it if it is new. Errors: DiagnosticError OB021."""
        self.root = root
        self.readonly = readonly
        self.remote = remote
        self.content = Content(root)
        self._opening = threading.Lock()  # the first working folders of a run are asked for by several threads at once
        self._run: contextlib.ExitStack | None = None
        self._work = root / "work" / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._claims = Claims(root, self._own_work) if claims and not readonly else None
        try:
            if not readonly:
                root.mkdir(parents=True, exist_ok=True)
            self.traces = Traces(root / DATABASE, readonly=readonly)
        except (OSError, sqlite3.Error) as error:
            raise DiagnosticError(_unusable(root, error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give everything back and close the database."""
        self.release()
        if self.remote is not None:
            self.remote.close()
        self.traces.close()

    def release(self) -> None:
        """Remove what was being made, and let a collection have what was claimed: the work is done."""
        if self._run is not None:
            remove_tree(self._work)
            self._run.close()
            self._run = None
        if self._claims is not None:
            self._claims.close()
            # Also where this run has made nothing: one that died may have been the last to have anything to build.
            with contextlib.suppress(OSError, locks.Waiting):
                sweep(self.root, wait=False)

    # -- what is known ------------------------------------------------------------------------------------------------

    def lookup(self, key: str) -> Trace | None:
        """The trace with this key, if every file that it names is still there."""
        with self._undisturbed():
            trace = self.traces.find(key)
            if trace is None or not self.holds(trace):
                return None
            self._claim(key)
            return trace

    def offered(self, key: str) -> Trace | None:
        """The trace that the remote store has for this key, without fetching what it names."""
        parcel = self.remote.offer(key) if self.remote is not None else None
        return None if parcel is None else parcel.trace

    def obtain(self, key: str, tell: Tell = lambda _done, _all: None) -> Trace | None:
        """The trace with this key, fetched with all that it names from the remote store if it is not here.

        Errors: OSError of the local disk.
        """
        trace = self.lookup(key)
        if trace is not None or self.remote is None:
            return trace
        parcel = self.remote.offer(key)
        return None if parcel is None else self._fetch(key, parcel, self.remote, tell)

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
                trace = self._record(key, parcel.trace, trees)
                # A collection may have taken, in the meantime, what was here and hence not fetched.
                if not self.holds(trace):
                    return None
            self.traces.mark_shared(remote.address.shown, [key])
            return trace
        finally:
            remove_tree(work)

    def share(self, key: str, tell: Tell = lambda _done, _all: None) -> int | None:
        """Write a result to the remote store, if it is not there; bytes sent, or None where that did not succeed."""
        from onnxbuild.store.remote import parcel_of

        trace = self.traces.find(key)
        if self.remote is None or trace is None or not self.holds(trace):
            return None
        try:
            sent = self.remote.push(key, parcel_of(trace, map(self.tree, trace.outputs.values())), self.content, tell)
        except DamagedBlob:
            return None  # the next run builds it again, and shares that
        if sent is not None and not self.readonly:
            self.traces.mark_shared(self.remote.address.shown, [key])
        return sent

    def holds(self, trace: Trace) -> bool:
        """Whether all outputs of a trace are there (a stat each)."""
        trees = [self.traces.tree(digest) for digest in trace.outputs.values()]
        return all(tree is not None and self.content.has(tree) for tree in trees)

    def tree(self, digest: str) -> Tree:
        """The tree with this digest, which a trace has named."""
        tree = self.traces.tree(digest)
        assert tree is not None, f"BUG: tree {digest} is named by a trace and not stored"
        return tree

    def digest_files(self, root: str, names: tuple[str, ...]) -> Tree:
        """The tree of files outside the store; content is read only where size, mtime, ctime or inode have changed.

        Errors: OSError for a file that cannot be read.
        """
        paths = [os.path.join(root, name) for name in names]
        known = self.traces.recall(paths)
        files, fresh = [], {}
        for name, path in zip(names, paths, strict=True):
            status = os.stat(path)
            seen = known.get(path)
            if seen is not None and seen[0] == signature(status):
                digest = seen[1]
            else:
                before = settled_signature(path)
                digest = digest_file(Path(path), status.st_size)
                if signature(os.stat(path)) == before:
                    fresh[path] = (before, digest)
            files.append(File(name, digest, status.st_size))
        if fresh and not self.readonly:
            self.traces.remember(fresh)
        return Tree(tuple(files))

    # -- what is made -------------------------------------------------------------------------------------------------

    def workspace(self) -> Path:
        """A new empty folder on the store's file system; it is removed when the store closes, or swept after a crash.

        Errors: OSError.
        """
        place = self._own_work() / uuid.uuid4().hex[:12]
        place.mkdir(parents=True)
        return place

    def publish(self, key: str, trace: Trace, ports: Mapping[str, Path]) -> Trace:
        """Take the folders of all output ports into the store and record the trace: first content, then the claim.

        Errors: OSError; nothing is then recorded.
        """
        with self._undisturbed():
            trees = {port: self.content.ingest(folder) for port, folder in ports.items()}
            return self._record(key, trace, trees)

    def _record(self, key: str, trace: Trace, trees: Mapping[str, Tree]) -> Trace:
        """Record a trace whose content is in the store."""
        complete = Trace(
            parts=trace.parts,
            outputs={port: tree.digest for port, tree in trees.items()},
            facts=trace.facts,
            seconds=trace.seconds,
            worker=trace.worker,
            created=time.time(),
        )
        self.traces.record(key, complete, trees.values())
        self._claim(key)
        return complete

    def lock(
        self, key: str, on_wait: Callable[[locks.Holder | None], None], cancelled: Callable[[], bool]
    ) -> contextlib.AbstractContextManager[None]:
        """The lock under which one process builds this key while the others wait for its result."""
        folder = self.root / "locks"
        folder.mkdir(exist_ok=True)
        return locks.hold(folder / key, on_wait=on_wait, cancelled=cancelled)

    def _undisturbed(self) -> contextlib.AbstractContextManager[None]:
        """No collection deletes anything while the body runs."""
        return contextlib.nullcontext() if self._claims is None else self._claims.section()

    def _claim(self, key: str) -> None:
        if self._claims is not None:
            self._claims.add(key)

    def _own_work(self) -> Path:
        with self._opening:
            if self._run is None:
                self._run = self._open_work()
        return self._work

    def _open_work(self) -> contextlib.ExitStack:
        run = contextlib.ExitStack()
        with _sweeping(self.root):
            _sweep(self.root)
            self._work.mkdir(parents=True)
            run.enter_context(locks.hold(self._work / "owner"))
        return run


def sweep(root: Path, *, wait: bool = True) -> None:
    """Remove what runs that died have left: working folders and lock files.

    Errors: OSError; `Waiting` where another process sweeps and `wait` is false.
    """
    if _entries(root / "work") or _entries(root / "locks"):
        with _sweeping(root, wait=wait):
            _sweep(root)


def _sweeping(root: Path, *, wait: bool = True) -> contextlib.AbstractContextManager[None]:
    """Held while working folders are swept, and while one is made: between its birth and its lock it looks dead."""
    return locks.hold(root / "sweeping", on_wait=(lambda _holder: None) if wait else None)


def _sweep(root: Path) -> None:
    for place in _entries(root / "work"):
        if not locks.is_held(place / "owner"):
            remove_tree(place)
    for lock in _entries(root / "locks"):
        # Taking a lock and giving it back removes its file; one that is held stays.
        with contextlib.suppress(locks.Waiting), locks.hold(lock):
            pass


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def opened(root: Path, *, write: bool, remote: Remote | None = None) -> Iterator[Store]:
    """The store below `root`; for reading where it may not be written, so that `plan` works on any file system."""
    readonly = not write and (not root.exists() or not os.access(root, os.W_OK))
    try:
        store = Store(root, readonly=readonly, claims=write, remote=remote)
    except DiagnosticError:
        if write or readonly:
            raise
        store = Store(root, readonly=True, remote=remote)  # a full disk, say
    with store:
        yield store


def _unusable(root: Path, error: Exception) -> Diagnostic:
    hint = "name another with `--store DIR` or ONNXBUILD_STORE"
    if getattr(error, "sqlite_errorcode", None) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        hint += f", or remove {root / DATABASE}: everything is then built again"
    return fault("OB040", f"the store {root} cannot be used: {_words(root, error)}", hint=hint)


def _words(root: Path, error: Exception) -> str:
    """What is wrong. SQLite says "disk I/O error" and "unable to open database file" of most troubles of a disk."""
    if not isinstance(error, sqlite3.OperationalError):
        return str(error)
    with contextlib.suppress(OSError):
        disk = os.statvfs(root)
        if disk.f_flag & os.ST_RDONLY:
            return os.strerror(errno.EROFS)
        if disk.f_bavail * disk.f_frsize < _SMALLEST_FREE_BYTES:
            return "the disk is full"
    return str(error)


__all__ = ["Digest", "File", "Store", "Trace", "Tree", "opened", "sweep"]
