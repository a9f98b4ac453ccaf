"""Traces: which inputs produced which results. One SQLite file beside the blobs, one commit per finished action.

Constraints: a crash leaves either a whole row or none; several processes read and write at once; the last trace of an
action is found by manifest and id, any trace by its key. Alternatives that were rejected: one JSON file for everything
(DVC rewrites its lock file after every stage, which made a clean build quadratic), and one file per trace (a thousand
files to open in order to decide that there is nothing to do). `database` has the tables.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from onnxbuild.digest import Digest, canonical, digest_value
from onnxbuild.store.content import File, Tree, are_inside, is_digest
from onnxbuild.store.database import WAIT_SECONDS, Database
from onnxbuild.store.files import Signature

_Value = TypeVar("_Value")

_SHORT_WAIT_MS = 100
_DIGEST_LENGTH = 64
# What `msgspec` raises for bytes that are no such value, and for a column that holds none.
_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, RecursionError)


class Trace(Struct, frozen=True, kw_only=True):
    """The parts of a key, and the result that they produced. `outputs`: port → digest of a tree."""

    parts: Mapping[str, Any]
    outputs: Mapping[str, Digest]
    facts: Mapping[str, Any]
    seconds: float
    worker: str
    created: float = 0.0


# The identity of a key is its 32 bytes in hexadecimal digits.
_SIGNER = re.compile(r"(?:[0-9a-f]{64})?")


class Origin(Struct, frozen=True):
    """Where a result came from that was not made with this store.

    `remote`: the address that is shown. `signer`: the identity of the key that signed it, empty if none did.
    """

    remote: str
    signer: str


class Ran(Struct, frozen=True, kw_only=True):
    """How an action ended when its worker ran the last time: the run that its log is from. `key`: of its result."""

    outcome: str
    seconds: float
    at: float  # the end, in seconds since the epoch
    key: str | None = None
    message: str | None = None


class Last(Struct, frozen=True, kw_only=True):
    """The last outcome of an action of one manifest: `explain` shows it, and reasons are found by comparing with it.

    `key` is the key of the last success, even if the action has failed since. `facts`: what a failure measured.
    `ran` survives hits; stores of earlier versions lack it.
    """

    key: str | None
    outcome: str
    reasons: tuple[Mapping[str, Any], ...] = ()
    at: float = 0.0
    message: str | None = None
    facts: Mapping[str, Any] = {}
    ran: Ran | None = None


_TRACE = msgspec.json.Decoder(Trace)
_LAST = msgspec.json.Decoder(Last)
_FILES = msgspec.json.Decoder(tuple[File, ...])
_SIGNATURE = msgspec.json.Decoder(Signature)


class Traces:
    """The tables of the database; usable from several threads."""

    def __init__(self, path: Path, *, readonly: bool) -> None:
        """Open or create it. Errors: sqlite3.Error if the file is not a database or cannot be created."""
        self._db = Database(path, readonly=readonly)

    def renew(self) -> None:
        """Begin a new generation: receipts of runs before no longer hold. Errors: OSError."""
        self._db.renew()

    def write_back(self) -> None:
        """Give the file of the database its size, which a receipt compares. Errors: OSError."""
        self._db.write_back()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def find(self, key: str) -> Trace | None:
        """The trace with this key; None also if its row is damaged: the result is then built again."""
        row = self._db.one("SELECT body FROM traces WHERE key = ?", key)
        return None if row is None else _trace(key, row[0])

    def record(self, key: str, trace: Trace, trees: Iterable[Tree], origin: Origin | None = None) -> None:
        """Store a trace with the trees that it names, and where it came from, in one transaction."""
        with self._db.transaction() as db:
            db.executemany(
                "INSERT OR REPLACE INTO trees VALUES (?, ?)", [(t.digest, canonical(t.files)) for t in trees]
            )
            db.execute("INSERT OR REPLACE INTO traces VALUES (?, ?, ?)", (key, canonical(trace), trace.created))
            db.execute("DELETE FROM origins WHERE key = ?", (key,))
            if origin is not None:
                db.execute("INSERT INTO origins VALUES (?, ?, ?)", (key, origin.remote, origin.signer))

    def origin(self, key: str) -> Origin | None:
        """Where the result with this key came from; None if it was made with this store."""
        row = self._db.one("SELECT remote, signer FROM origins WHERE key = ?", key)
        return None if row is None else _origin(*row)

    def tree(self, digest: str) -> Tree | None:
        """The tree with this digest; None also if its row is damaged."""
        row = self._db.one("SELECT files FROM trees WHERE digest = ?", digest)
        return None if row is None else _tree(digest, row[0])

    def last(self, scope: str) -> Mapping[str, Last]:
        """The last outcome of every action of a manifest."""
        with self._db.transaction() as db:
            rows = db.execute("SELECT action, body FROM latest WHERE scope = ?", (scope,)).fetchall()
        return dict(_readable((action, _decoded(body, _LAST)) for action, body in rows))

    def note(self, scope: str, lasts: Mapping[str, Last]) -> None:
        """Store the last outcomes of actions of a manifest. If that fails, later reasons are less exact."""
        now = time.time()
        rows = [
            (scope, action, last.key, canonical(msgspec.structs.replace(last, at=now)))
            for action, last in lasts.items()
        ]
        with contextlib.suppress(OSError), self._db.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO latest VALUES (?, ?, ?, ?)", rows)

    def recall(self, paths: Iterable[str]) -> Mapping[str, tuple[Signature, Digest]]:
        """For each known path, its digest and the signature that the file had when the digest was computed."""
        memos: dict[str, tuple[Signature, Digest]] = {}
        for path in paths:
            if (row := self._db.one("SELECT signature, digest FROM memo WHERE path = ?", path)) is not None:
                signature = _decoded(row[0], _SIGNATURE)
                if signature is not None and is_digest(row[1]):
                    memos[path] = (signature, Digest(row[1]))
        return memos

    def remember(self, memos: Mapping[str, tuple[Signature, Digest]]) -> None:
        """Store digests of paths, with their signatures. If that fails, the files are read again the next time."""
        rows = [(path, canonical(signature), digest) for path, (signature, digest) in memos.items()]
        with contextlib.suppress(OSError), self._db.transaction() as db:
            # A plan stores digests, too, and must not wait for a run that writes at this moment.
            db.execute(f"PRAGMA busy_timeout = {_SHORT_WAIT_MS}")
            try:
                db.executemany("INSERT OR REPLACE INTO memo VALUES (?, ?, ?)", rows)
            finally:
                db.execute(f"PRAGMA busy_timeout = {WAIT_SECONDS * 1000:.0f}")

    def mark_shared(self, remote: str, keys: Iterable[str]) -> None:
        """Store that a remote store has these results. If that fails, a later run asks it again."""
        with contextlib.suppress(OSError), self._db.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO shared VALUES (?, ?)", [(remote, key) for key in keys])

    def unmark_shared(self, key: str) -> None:
        """Forget which remote stores have a result of this key."""
        with self._db.transaction() as db:
            db.execute("DELETE FROM shared WHERE key = ?", (key,))

    def outdate_receipts(self) -> None:
        """Let no run be answered by a receipt of this store that is older than this moment. Errors: OSError."""
        self._db.renew()

    def unshared(self, remote: str, keys: Iterable[str]) -> list[str]:
        """The keys for which it is not known whether a remote store has them."""
        with self._db.transaction() as db:
            rows = db.execute("SELECT key FROM shared WHERE remote = ?", (remote,)).fetchall()
        known = {row[0] for row in rows}
        return [key for key in keys if key not in known]

    def all_traces(self) -> Mapping[str, Trace]:
        """Every readable trace by its key."""
        with self._db.transaction() as db:
            rows = db.execute("SELECT key, body FROM traces").fetchall()
        return dict(_readable((key, _trace(key, body)) for key, body in rows))

    def last_keys(self) -> Mapping[str, frozenset[str]]:
        """For every manifest that used this store, the keys of the last success of its actions."""
        keys: dict[str, set[str]] = {}
        with self._db.transaction() as db:
            for scope, key in db.execute("SELECT scope, key FROM latest"):
                keys.setdefault(str(scope), set()).update([key] if isinstance(key, str) else [])
        return {scope: frozenset(of) for scope, of in keys.items()}

    def all_last(self) -> Mapping[str, Mapping[str, Last]]:
        """The last outcome of every action, for every manifest that used this store."""
        with self._db.transaction() as db:
            scopes = [row[0] for row in db.execute("SELECT DISTINCT scope FROM latest").fetchall()]
        return {scope: self.last(scope) for scope in scopes}

    def forget(self, keys: Iterable[str]) -> None:
        """Remove traces and damaged rows of traces, and the trees that no other trace names."""
        with self._db.transaction() as db:
            traces = [(key, _trace(key, body)) for key, body in db.execute("SELECT key, body FROM traces")]
            gone = {*keys, *(key for key, trace in traces if trace is None)}
            if gone:
                self._db.renew()
            for table in ("traces", "origins"):
                db.executemany(f"DELETE FROM {table} WHERE key = ?", [(key,) for key in gone])  # noqa: S608 - our own words
            named = {
                digest
                for key, trace in traces
                if trace is not None and key not in gone
                for digest in trace.outputs.values()
            }
            known = [row[0] for row in db.execute("SELECT digest FROM trees")]
            db.executemany("DELETE FROM trees WHERE digest = ?", [(d,) for d in known if d not in named])

    def forget_scope(self, scope: str) -> None:
        """Remove the last outcomes of a manifest."""
        with self._db.transaction() as db:
            db.execute("DELETE FROM latest WHERE scope = ?", (scope,))


def _decoded(data: Any, decoder: msgspec.json.Decoder[_Value]) -> _Value | None:
    """A value from its row; None if the row is damaged."""
    try:
        return decoder.decode(data)
    except _UNREADABLE:
        return None


def _readable(pairs: Iterable[tuple[Any, _Value | None]]) -> Iterable[tuple[Any, _Value]]:
    return ((name, value) for name, value in pairs if value is not None)


def _trace(key: Any, body: Any) -> Trace | None:
    """A trace from its row, if it is the trace of this key and has outputs."""
    trace = _decoded(body, _TRACE)
    return trace if trace is not None and trace.outputs and digest_value(trace.parts) == key else None


def _tree(digest: str, files: Any) -> Tree | None:
    """A tree from its row, if it has this digest and files that can be written below a folder."""
    named = _decoded(files, _FILES)
    tree = Tree(named) if named and _are_sound(named) else None
    return tree if tree is not None and tree.digest == digest else None


def _origin(remote: Any, signer: Any) -> Origin:
    """An origin from its row; one that nobody signed if the row is damaged, so that the result is not trusted."""
    is_sound = isinstance(remote, str) and remote.isprintable() and isinstance(signer, str)
    return Origin(remote, signer) if is_sound and _SIGNER.fullmatch(signer) else Origin("an unknown store", "")


def _are_sound(files: Sequence[File]) -> bool:
    """Whether files stay below the folder that they are written to, and their digests below the store's root."""
    digests = "".join([file.digest for file in files])
    are_digests = len(digests) == _DIGEST_LENGTH * len(files) and digests.isalnum() and digests.isascii()
    return are_digests and are_inside([file.name for file in files])
