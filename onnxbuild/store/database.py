"""The SQLite file beside the blobs: how it is opened, shared by threads, and what its errors mean."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DATABASE = "traces.db"  # its name below the store's root

WAIT_SECONDS = 60.0  # for another process that writes
_VERSION = 2
_RETRY_SECONDS = 0.01
# What SQLite needs to open a database in WAL mode: the shared index alone takes 32 KB.
_SMALLEST_FREE_BYTES = 64 << 10
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
# Later than the other tables. Earlier versions recorded only which results a remote store has, and not which of them
# had come from there: all of these count as results that nobody signed.
_ORIGINS = """
CREATE {kind} TABLE IF NOT EXISTS origins (
    key TEXT PRIMARY KEY, remote TEXT NOT NULL, signer TEXT NOT NULL
) WITHOUT ROWID;
INSERT OR IGNORE INTO origins SELECT key, remote, '' FROM shared;
"""


class Database:
    """One connection, usable from several threads."""

    def __init__(self, path: Path, *, readonly: bool) -> None:
        """Open or create the file. Errors: sqlite3.Error if it is not a database or cannot be created."""
        self._lock = threading.Lock()
        self._path = path
        self._connection = _open_readonly(path) if readonly else _open(path)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection for one thread; everything written inside is one transaction.

        Errors: OSError, as for every other file of the store (a full disk, a damaged file).
        """
        with self._lock:
            try:
                with self._connection:
                    yield self._connection
            except sqlite3.Error as error:
                raise self._as_os_error(error) from error

    def one(self, query: str, value: str) -> tuple[Any, ...] | None:
        """The first row of a query with one value. Errors: OSError."""
        try:
            with self._lock:
                row: tuple[Any, ...] | None = self._connection.execute(query, (value,)).fetchone()
        except sqlite3.Error as error:
            raise self._as_os_error(error) from error
        else:
            return row

    def _as_os_error(self, error: sqlite3.Error) -> OSError:
        code = _ERRNO.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, errno.EIO)
        return OSError(code, str(error), str(self._path))


def _open(path: Path) -> sqlite3.Connection:
    """A connection for reading and writing; creates the database if it is missing."""
    db = sqlite3.connect(path, timeout=WAIT_SECONDS, check_same_thread=False)
    until = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            # When two processes create a database at once, SQLite does not wait for the change of the journal mode, as
            # it waits elsewhere: the second process fails immediately.
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            if db.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                db.executescript(f"{_SCHEMA} PRAGMA user_version={_VERSION};")
            _add_origins(db)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                db.close()
                raise
            time.sleep(_RETRY_SECONDS)
        except sqlite3.Error:
            db.close()
            raise
        else:
            return db


def _open_readonly(path: Path) -> sqlite3.Connection:
    """A connection for reading; to an empty database if the file is missing."""
    if not path.exists():
        db = sqlite3.connect(":memory:", check_same_thread=False)
        db.executescript(_SCHEMA)
        _add_origins(db)
        return db
    # On a read-only file system, a database in WAL mode without its log opens only as immutable. With its log it must
    # not be opened so, or the rows in the log would be missing.
    uri = path.absolute().as_uri()
    for flag in ("", "&immutable=1"):
        db = sqlite3.connect(f"{uri}?mode=ro{flag}", uri=True, check_same_thread=False)
        try:
            db.execute("SELECT 1 FROM latest").fetchone()
            _add_origins(db, "TEMPORARY")
        except sqlite3.OperationalError:
            db.close()
            if flag:
                raise
        else:
            return db
    raise AssertionError("BUG: the loop returns or raises")


def _add_origins(db: sqlite3.Connection, kind: str = "") -> None:
    """Create the table of origins if it is missing; `kind`: TEMPORARY for a database that cannot be written."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'origins'").fetchone() is None:
        db.executescript(f"BEGIN {'' if kind else 'IMMEDIATE'}; {_ORIGINS.format(kind=kind)} COMMIT;")


def is_damaged(error: Exception) -> bool:
    """Whether an error says that the file is not a database, or no longer one."""
    return getattr(error, "sqlite_errorcode", None) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def database_error_in_words(root: Path, error: Exception) -> str:
    """Why the store cannot be used. SQLite itself says no more than "disk I/O error" for most problems of a disk."""
    if not isinstance(error, sqlite3.OperationalError):
        return str(error)
    with contextlib.suppress(OSError):
        if _is_read_only(root):
            return os.strerror(errno.EROFS)
        import shutil

        if shutil.disk_usage(root).free < _SMALLEST_FREE_BYTES:
            return "the disk is full"
    return str(error)


def _is_read_only(root: Path) -> bool:
    """Whether the file system is mounted read-only; Windows does not say."""
    return hasattr(os, "statvfs") and bool(os.statvfs(root).f_flag & os.ST_RDONLY)
