"""The SQLite file beside the blobs: how it is opened, shared by threads, and what its errors mean."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxbuild.store.files import is_real_file, write_atomically
from onnxbuild.store.group_access import grant_as_folder, is_shared

DATABASE = "traces.db"  # its name below the store's root
# A file with random content, written anew with each new database and whenever results are forgotten or replaced: while
# it is unchanged, everything that was recorded is still known. A receipt can compare its stamps without opening SQLite.
GENERATION = "traces.generation"

WAIT_SECONDS = 60.0  # for another process that writes
_VERSION = 3
_RETRY_SECONDS = 0.01
_PATIENCE_SECONDS = 1.0
# What SQLite needs to open a database in WAL mode: the shared index alone takes 32 KB.
_SMALLEST_FREE_BYTES = 64 << 10
_ERRNO = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EMFILE,
    sqlite3.SQLITE_BUSY: errno.EAGAIN,
}
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS traces (key TEXT PRIMARY KEY, body BLOB NOT NULL, created REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trees (digest TEXT PRIMARY KEY, files BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS latest (
    scope TEXT, action TEXT, key TEXT, body BLOB NOT NULL, PRIMARY KEY (scope, action)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS shared (remote TEXT, key TEXT, PRIMARY KEY (remote, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS memo (path TEXT PRIMARY KEY, signature BLOB NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS origins (
    key TEXT PRIMARY KEY, remote TEXT NOT NULL, signer TEXT NOT NULL
) WITHOUT ROWID;
"""
# As SQLite keeps their texts.
_OUR_TABLES = {" ".join(one.split()).replace("IF NOT EXISTS ", "") for one in _SCHEMA.split(";")}
# Versions before 3 recorded which results a remote store has, and not which of them had come from there: all of these
# count as results that nobody signed.
_ADOPTION = "INSERT OR IGNORE INTO origins SELECT key, remote, '' FROM shared;"

_COLUMNS = {
    "traces": "key, body, created",
    "trees": "digest, files",
    "latest": "scope, action, key, body",
    "shared": "remote, key",
    "origins": "key, remote, signer",
    "memo": "path, signature, digest",
}


class NewerDatabase(Exception):  # noqa: N818 - a state that the caller reports
    """A newer version has written the database; its text says which."""


class DatabaseFailed(OSError):  # noqa: N818 - an OSError as of every other file of the store
    """The database cannot be read or written. `is_damage`: it is no longer a database of a store."""

    is_damage = False


class Database:
    """One connection, usable from several threads."""

    def __init__(self, path: Path, *, readonly: bool) -> None:
        """Open or create the file. Errors: NewerDatabase; sqlite3.Error if it is no database or cannot be created."""
        self._lock = threading.Lock()
        self._path = path
        is_known = _has_content(path) and path.with_name(GENERATION).exists()
        self._connection = _open_readonly(path, may_be_new=True) if readonly else _open(path)
        if not (readonly or is_known):
            self.renew()

    def renew(self) -> None:
        """Begin a new generation: receipts of runs before no longer hold. Errors: OSError."""
        write_atomically(self._path.with_name(GENERATION), uuid.uuid4().hex.encode(), prepare=grant_as_folder)

    def write_back(self) -> None:
        """Move what is in the log into the file, as the last connection does when it ends. Errors: OSError."""
        with self._lock:
            try:
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except sqlite3.Error as error:
                raise self._as_os_error(error) from error

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
        code = _ERRNO.get(_code(error), errno.EIO)
        failure = DatabaseFailed(code, str(error), str(self._path))
        failure.is_damage = _code(error) in _DAMAGE
        return failure


def _open(path: Path) -> sqlite3.Connection:
    """A connection for reading and writing; creates the database if it is missing."""
    share_with_group(path)
    began = time.monotonic()
    while True:
        try:
            return _prepared(sqlite3.connect(path, timeout=WAIT_SECONDS, check_same_thread=False))
        except sqlite3.OperationalError as error:
            if time.monotonic() - began > _patience(error, path):
                raise
            time.sleep(_RETRY_SECONDS)


def _prepared(db: sqlite3.Connection) -> sqlite3.Connection:
    try:
        version = _known_version(db)
        _check_schema(db)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        if version != _VERSION:
            # One transaction: a run that is killed here leaves either no table or all.
            db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {_ADOPTION} PRAGMA user_version={_VERSION}; COMMIT;")
            _check_tables(db)
    except BaseException:
        db.close()
        raise
    return db


def _patience(error: sqlite3.OperationalError, path: Path) -> float:
    """For how many seconds to try to open the database again after an error."""
    # When two processes create a database at once, SQLite does not wait for the change of the journal mode, as it
    # waits elsewhere: the second process fails immediately.
    if _code(error) == sqlite3.SQLITE_BUSY:
        return WAIT_SECONDS
    # Another user creates the log or its index at this moment, and sets its mode just after.
    is_new_log = _code(error) in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN} and os.access(path, os.W_OK)
    return _PATIENCE_SECONDS if is_new_log else 0.0


def share_with_group(path: Path) -> None:
    """Create the file with its folder's permissions if its folder belongs to a group; SQLite copies them to its log.

    Also an existing file gets them, so that a store can be shared later. Errors: OSError.
    """
    if not path.exists() and is_shared(path.parent):
        # Under its name it has its permissions from the beginning: another user may be opening it.
        fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        fresh.touch(exist_ok=False)
        grant_as_folder(fresh)
        with contextlib.suppress(OSError):  # another process was first, or there are no hard links
            path.hardlink_to(fresh)
        fresh.unlink()
    for suffix in ("", "-wal", "-shm"):
        grant_as_folder(path.with_name(path.name + suffix))


def _known_version(db: sqlite3.Connection) -> int:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > _VERSION:
        raise NewerDatabase(f"the version of its {DATABASE} is {version}, and this version knows {_VERSION}")
    return version


def _check_schema(db: sqlite3.Connection) -> None:
    """Check that there is nothing but our tables, as we create them: a view or a trigger runs what its author likes.

    Errors: sqlite3.DatabaseError.
    """
    db.execute("PRAGMA trusted_schema=OFF")
    for kind, name, text in db.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"):
        if kind != "table" or " ".join(text.split()) not in _OUR_TABLES:
            error = sqlite3.DatabaseError(f"the {kind} `{name}` in it is not one of a store")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error


def _check_tables(db: sqlite3.Connection) -> None:
    """Errors: sqlite3.OperationalError if a table is missing or has other columns."""
    for table, columns in _COLUMNS.items():
        db.execute(f"SELECT {columns} FROM {table} LIMIT 0")  # noqa: S608 - our own words


def has_our_tables(path: Path) -> bool:
    """Whether a file is a database of a store, of any version. Opens it for reading only."""
    if not is_real_file(path):
        return False
    with contextlib.suppress(sqlite3.Error, NewerDatabase, OSError):
        _open_readonly(path, may_be_new=False).close()
        return True
    return False


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _open_readonly(path: Path, *, may_be_new: bool) -> sqlite3.Connection:
    """A connection for reading; to an empty database if the file is missing.

    `may_be_new`: a file without tables counts as missing, as a run leaves it that was killed while it created it.
    """
    if not path.exists():
        return _in_memory()
    # SQLite reads a database in WAL mode only if it may create the log's index beside it. A connection that may write
    # also removes it at the end, so it is the first choice, forbidden to write rows. On a read-only file system, the
    # database opens only as immutable. With its log it must not be opened so, or the rows in the log would be missing.
    uri = path.absolute().as_uri()
    for mode in ("mode=rw", "mode=ro", "mode=ro&immutable=1"):
        db = sqlite3.connect(f"{uri}?{mode}", uri=True, timeout=WAIT_SECONDS, check_same_thread=False)
        try:
            db.execute("PRAGMA query_only=ON")
            if may_be_new and not db.execute("SELECT 1 FROM sqlite_master").fetchone():
                db.close()
                return _in_memory()
            is_old = _known_version(db) < _VERSION
            _check_schema(db)
            return _completed(db) if is_old else _tried(db)
        except sqlite3.OperationalError:
            db.close()
            if mode.endswith("immutable=1"):
                raise
        except (sqlite3.Error, NewerDatabase):
            db.close()
            raise
    raise AssertionError("BUG: the loop returns or raises")


def _in_memory() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", check_same_thread=False)
    db.executescript(_SCHEMA)
    return db


def _tried(db: sqlite3.Connection) -> sqlite3.Connection:
    db.execute("SELECT 1 FROM latest").fetchone()
    return db


def _completed(db: sqlite3.Connection) -> sqlite3.Connection:
    """A copy in memory of a database of an earlier version, with the tables that it lacks."""
    _tried(db)
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    db.backup(copy)
    db.close()
    copy.executescript(_SCHEMA + _ADOPTION)
    _check_tables(copy)
    return copy


def is_damaged(error: Exception) -> bool:
    """Whether an error says that the file is not a database of a store, or no longer one."""
    return error.is_damage if isinstance(error, DatabaseFailed) else _code(error) in _DAMAGE


def _code(error: Exception) -> int:
    """SQLite's primary error code; 0 for another error."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def database_error_in_words(root: Path, error: Exception) -> str:
    """Why the store cannot be used. SQLite itself says no more than "disk I/O error" for most problems of a disk."""
    if isinstance(error, OSError) and error.filename == str(root) and error.strerror:
        return error.strerror  # the message names the store
    if not isinstance(error, sqlite3.OperationalError):
        return str(error.strerror if isinstance(error, DatabaseFailed) else error)
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
