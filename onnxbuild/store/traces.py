"""Traces: what was made from what. One SQLite file beside the blobs, one row a key, one commit a finished action.

Constraints: a crash leaves either the whole row or none; several processes read and write at once; the last trace of
an action is found by the manifest and the id, any trace by its key. Weighed and set aside: one JSON file for all (DVC
rewrites its lock file after every stage, which made a cold build quadratic), one file a trace (a thousand opens to
decide that there is nothing to do). The layout is `_SCHEMA`.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.digest import Digest, canonical
from onnxbuild.store.content import File, Tree
from onnxbuild.store.files import Signature

_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS traces (key TEXT PRIMARY KEY, body BLOB NOT NULL, created REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trees (digest TEXT PRIMARY KEY, files BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS latest (
    scope TEXT, action TEXT, key TEXT, body BLOB NOT NULL, PRIMARY KEY (scope, action)
) WITHOUT ROWID;
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

    `key` is that of the last success, also after a failure.
    """

    key: str | None
    outcome: str
    reasons: tuple[Mapping[str, Any], ...] = ()
    at: float = 0.0
    message: str | None = None


class Traces:
    """The database; usable from several threads."""

    def __init__(self, path: Path, *, readonly: bool) -> None:
        """Open or make it. Errors: sqlite3.Error where the file is no database or cannot be made."""
        self._lock = threading.Lock()
        if readonly:
            # A WAL database on a read-only file system opens only when told that nobody else writes.
            address = f"file:{path}?mode=ro&immutable=1" if path.exists() else ":memory:"
            self._db = sqlite3.connect(address, uri=True, check_same_thread=False)
            if not path.exists():
                self._db.executescript(_SCHEMA)
            return
        self._db = sqlite3.connect(path, timeout=60.0, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        if self._db.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            self._db.executescript(f"{_SCHEMA} PRAGMA user_version={_VERSION};")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    def find(self, key: str) -> Trace | None:
        """The trace with this key."""
        row = self._one("SELECT body FROM traces WHERE key = ?", key)
        return None if row is None else msgspec.json.decode(row[0], type=Trace)

    def record(self, key: str, trace: Trace, trees: Iterable[Tree]) -> None:
        """Remember a trace with the trees that it names, in one transaction."""
        with self._lock, self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO trees VALUES (?, ?)", [(t.digest, canonical(t.files)) for t in trees]
            )
            self._db.execute("INSERT OR REPLACE INTO traces VALUES (?, ?, ?)", (key, canonical(trace), trace.created))

    def tree(self, digest: str) -> Tree | None:
        """The tree with this digest."""
        row = self._one("SELECT files FROM trees WHERE digest = ?", digest)
        return None if row is None else Tree(msgspec.json.decode(row[0], type=tuple[File, ...]))

    def last(self, scope: str) -> Mapping[str, Last]:
        """How every action of a manifest ended the last time."""
        with self._lock:
            rows = self._db.execute("SELECT action, body FROM latest WHERE scope = ?", (scope,)).fetchall()
        return {action: msgspec.json.decode(body, type=Last) for action, body in rows}

    def note(self, scope: str, lasts: Mapping[str, Last]) -> None:
        """Remember how actions of a manifest ended."""
        now = time.time()
        rows = [
            (scope, action, last.key, canonical(msgspec.structs.replace(last, at=now)))
            for action, last in lasts.items()
        ]
        with self._lock, self._db:
            self._db.executemany("INSERT OR REPLACE INTO latest VALUES (?, ?, ?, ?)", rows)

    def recall(self, paths: Iterable[str]) -> Mapping[str, tuple[Signature, Digest]]:
        """For each path that is known, the signature under which its content had the digest."""
        found = {}
        for path in paths:
            if (row := self._one("SELECT signature, digest FROM memo WHERE path = ?", path)) is not None:
                found[path] = (msgspec.json.decode(row[0], type=Signature), Digest(row[1]))
        return found

    def remember(self, memos: Mapping[str, tuple[Signature, Digest]]) -> None:
        """Remember which content paths had under which signature."""
        rows = [(path, canonical(signature), digest) for path, (signature, digest) in memos.items()]
        with self._lock, self._db:
            self._db.executemany("INSERT OR REPLACE INTO memo VALUES (?, ?, ?)", rows)

    def all_traces(self) -> Mapping[str, Trace]:
        """Every trace by its key."""
        with self._lock:
            rows = self._db.execute("SELECT key, body FROM traces").fetchall()
        return {key: msgspec.json.decode(body, type=Trace) for key, body in rows}

    def all_last(self) -> Mapping[str, Mapping[str, Last]]:
        """For every manifest that used this store, how its actions ended the last time."""
        with self._lock:
            scopes = [row[0] for row in self._db.execute("SELECT DISTINCT scope FROM latest").fetchall()]
        return {scope: self.last(scope) for scope in scopes}

    def forget(self, keys: Iterable[str]) -> None:
        """Remove traces, and the trees that no trace names any more."""
        with self._lock, self._db:
            self._db.executemany("DELETE FROM traces WHERE key = ?", [(key,) for key in keys])
            named = {
                digest
                for (body,) in self._db.execute("SELECT body FROM traces")
                for digest in msgspec.json.decode(body, type=Trace).outputs.values()
            }
            known = [row[0] for row in self._db.execute("SELECT digest FROM trees")]
            self._db.executemany("DELETE FROM trees WHERE digest = ?", [(d,) for d in known if d not in named])

    def forget_scope(self, scope: str) -> None:
        """Forget how the actions of a manifest that is gone ended."""
        with self._lock, self._db:
            self._db.execute("DELETE FROM latest WHERE scope = ?", (scope,))

    def _one(self, query: str, value: str) -> tuple[Any, ...] | None:
        with self._lock:
            row: tuple[Any, ...] | None = self._db.execute(query, (value,)).fetchone()
            return row
