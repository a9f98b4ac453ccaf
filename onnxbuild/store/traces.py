"""Traces: what was made from what. One SQLite file beside the blobs, one row a key, one commit a finished action.

Constraints: a crash leaves either the whole row or none; several processes read and write at once; the last trace of
an action is found by the manifest and the id, any trace by its key. Weighed and set aside: one JSON file for all (DVC
rewrites its lock file after every stage, which made a cold build quadratic), one file a trace (a thousand opens to
decide that there is nothing to do). The layout is `_SCHEMA`.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.digest import Digest, canonical
from onnxbuild.store.content import File, Tree
from onnxbuild.store.files import Signature

DATABASE = "traces.db"  # its name below the store's root

_VERSION = 2
_WAIT_SECONDS = 60.0
_SHORT_WAIT_MS = 100
_PAUSE_SECONDS = 0.01
_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EMFILE,
    sqlite3.SQLITE_BUSY: errno.EAGAIN,
}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS traces (key TEXT PRIMARY KEY, body BLOB NOT NULL, created REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trees (digest TEXT PRIMARY KEY, files BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS latest (
    scope TEXT, action TEXT, key TEXT, body BLOB NOT NULL, PRIMARY KEY (scope, action)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shared (remote TEXT, key TEXT, PRIMARY KEY (remote, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS memo (path TEXT PRIMARY KEY, signature BLOB NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
"""


class Trace(Struct, frozen=True, kw_only=True):
    """The parts of a key, and the result that they gave. `outputs`: port → digest of a tree."""

    parts: Mapping[str, Any]
    outputs: Mapping[str, Digest]
    facts: Mapping[str, Any]
    seconds: float
    worker: str
    created: float = 0.0


class Last(Struct, frozen=True, kw_only=True):
    """How an action of one manifest ended the last time: what `explain` tells, and what reasons are compared with.

    `key` is that of the last success, also after a failure. `facts`: what a failure measured.
    """

    key: str | None
    outcome: str
    reasons: tuple[Mapping[str, Any], ...] = ()
    at: float = 0.0
    message: str | None = None
    facts: Mapping[str, Any] = {}


class Traces:
    """The database; usable from several threads."""

    def __init__(self, path: Path, *, readonly: bool) -> None:
        """Open or make it. Errors: sqlite3.Error where the file is no database or cannot be made."""
        self._lock = threading.Lock()
        self._path = path
        self._db = _open_readonly(path) if readonly else _open(path)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        """The database for one thread; what is written inside is one transaction.

        Errors: OSError, as for every other file of the store (a full disk, a damaged file).
        """
        with self._lock:
            try:
                with self._db:
                    yield self._db
            except sqlite3.Error as error:
                raise self._as_os_error(error) from error

    def _as_os_error(self, error: sqlite3.Error) -> OSError:
        code = _ERRNO.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, errno.EIO)
        return OSError(code, str(error), str(self._path))

    def find(self, key: str) -> Trace | None:
        """The trace with this key."""
        row = self._one("SELECT body FROM traces WHERE key = ?", key)
        return None if row is None else msgspec.json.decode(row[0], type=Trace)

    def record(self, key: str, trace: Trace, trees: Iterable[Tree]) -> None:
        """Remember a trace with the trees that it names, in one transaction."""
        with self._used() as db:
            db.executemany(
                "INSERT OR REPLACE INTO trees VALUES (?, ?)", [(t.digest, canonical(t.files)) for t in trees]
            )
            db.execute("INSERT OR REPLACE INTO traces VALUES (?, ?, ?)", (key, canonical(trace), trace.created))

    def tree(self, digest: str) -> Tree | None:
        """The tree with this digest."""
        row = self._one("SELECT files FROM trees WHERE digest = ?", digest)
        return None if row is None else Tree(msgspec.json.decode(row[0], type=tuple[File, ...]))

    def last(self, scope: str) -> Mapping[str, Last]:
        """How every action of a manifest ended the last time."""
        with self._used() as db:
            rows = db.execute("SELECT action, body FROM latest WHERE scope = ?", (scope,)).fetchall()
        return {action: msgspec.json.decode(body, type=Last) for action, body in rows}

    def note(self, scope: str, lasts: Mapping[str, Last]) -> None:
        """Remember how actions of a manifest ended. Where that cannot be written, later reasons are less exact."""
        now = time.time()
        rows = [
            (scope, action, last.key, canonical(msgspec.structs.replace(last, at=now)))
            for action, last in lasts.items()
        ]
        with contextlib.suppress(OSError), self._used() as db:
            db.executemany("INSERT OR REPLACE INTO latest VALUES (?, ?, ?, ?)", rows)

    def recall(self, paths: Iterable[str]) -> Mapping[str, tuple[Signature, Digest]]:
        """For each path that is known, the signature under which its content had the digest."""
        found = {}
        for path in paths:
            if (row := self._one("SELECT signature, digest FROM memo WHERE path = ?", path)) is not None:
                found[path] = (msgspec.json.decode(row[0], type=Signature), Digest(row[1]))
        return found

    def remember(self, memos: Mapping[str, tuple[Signature, Digest]]) -> None:
        """Remember which content paths had under which signature. Where that cannot be written, they are read again."""
        rows = [(path, canonical(signature), digest) for path, (signature, digest) in memos.items()]
        with contextlib.suppress(OSError), self._used() as db:
            # A plan remembers too, and must not wait for a run that writes at this moment.
            db.execute(f"PRAGMA busy_timeout = {_SHORT_WAIT_MS}")
            try:
                db.executemany("INSERT OR REPLACE INTO memo VALUES (?, ?, ?)", rows)
            finally:
                db.execute(f"PRAGMA busy_timeout = {_WAIT_SECONDS * 1000:.0f}")

    def mark_shared(self, remote: str, keys: Iterable[str]) -> None:
        """Remember that a remote store has these results. Where that cannot be written, a later run asks it again."""
        with contextlib.suppress(OSError), self._used() as db:
            db.executemany("INSERT OR REPLACE INTO shared VALUES (?, ?)", [(remote, key) for key in keys])

    def unshared(self, remote: str, keys: Iterable[str]) -> list[str]:
        """Those of the keys of which it is not known that a remote store has them."""
        with self._used() as db:
            rows = db.execute("SELECT key FROM shared WHERE remote = ?", (remote,)).fetchall()
        known = {row[0] for row in rows}
        return [key for key in keys if key not in known]

    def all_traces(self) -> Mapping[str, Trace]:
        """Every trace by its key."""
        with self._used() as db:
            rows = db.execute("SELECT key, body FROM traces").fetchall()
        return {key: msgspec.json.decode(body, type=Trace) for key, body in rows}

    def all_last(self) -> Mapping[str, Mapping[str, Last]]:
        """For every manifest that used this store, how its actions ended the last time."""
        with self._used() as db:
            scopes = [row[0] for row in db.execute("SELECT DISTINCT scope FROM latest").fetchall()]
        return {scope: self.last(scope) for scope in scopes}

    def forget(self, keys: Iterable[str]) -> None:
        """Remove traces, and the trees that no trace names any more."""
        with self._used() as db:
            db.executemany("DELETE FROM traces WHERE key = ?", [(key,) for key in keys])
            named = {
                digest
                for (body,) in db.execute("SELECT body FROM traces")
                for digest in msgspec.json.decode(body, type=Trace).outputs.values()
            }
            known = [row[0] for row in db.execute("SELECT digest FROM trees")]
            db.executemany("DELETE FROM trees WHERE digest = ?", [(d,) for d in known if d not in named])

    def forget_scope(self, scope: str) -> None:
        """Forget how the actions of a manifest that is gone ended."""
        with self._used() as db:
            db.execute("DELETE FROM latest WHERE scope = ?", (scope,))

    def _one(self, query: str, value: str) -> tuple[Any, ...] | None:
        try:
            with self._lock:
                row: tuple[Any, ...] | None = self._db.execute(query, (value,)).fetchone()
        except sqlite3.Error as error:
            raise self._as_os_error(error) from error
        else:
            return row


def _open(path: Path) -> sqlite3.Connection:
    """The database for reading and writing, made where it is new."""
    db = sqlite3.connect(path, timeout=_WAIT_SECONDS, check_same_thread=False)
    until = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            # Where two processes make a database at once, SQLite lets the one that comes late to the change of journal
            # fail at once instead of waiting as it does elsewhere.
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            if db.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                db.executescript(f"{_SCHEMA} PRAGMA user_version={_VERSION};")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                db.close()
                raise
            time.sleep(_PAUSE_SECONDS)
        except sqlite3.Error:
            db.close()
            raise
        else:
            return db


def _open_readonly(path: Path) -> sqlite3.Connection:
    """The database for reading; an empty one where there is none."""
    if not path.exists():
        db = sqlite3.connect(":memory:", check_same_thread=False)
        db.executescript(_SCHEMA)
        return db
    # Without its log at hand, a database in WAL mode on a read-only file system opens only when told that nobody
    # writes it; with it, what the log holds must not be missed.
    for flag in ("", "&immutable=1"):
        db = sqlite3.connect(f"file:{path}?mode=ro{flag}", uri=True, check_same_thread=False)
        try:
            db.execute("SELECT 1 FROM latest").fetchone()
        except sqlite3.OperationalError:
            db.close()
            if flag:
                raise
        else:
            return db
    raise AssertionError("BUG: the loop returns or raises")
