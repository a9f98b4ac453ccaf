"""The decision: whether the store has a result for a key, and if not, which parts of the key have changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.digest import Digest
from onnxbuild.execute.events import Reason
from onnxbuild.execute.key import KeyParts, flatten
from onnxbuild.execute.sharing.compiled_elsewhere import is_final
from onnxbuild.protocol import plain
from onnxbuild.store.store import Store
from onnxbuild.store.traces import Trace

# Instead of an option: the destination of an upload no longer has what was uploaded.
LACKING = "lacks files"

# A result that is not final: another machine may have compiled what is only prepared here.
PREPARED = Reason("prepared", "here", "compiled elsewhere")

_ABSENT = object()


class Hit(Struct, frozen=True):
    """The store has a result with this key."""

    key: Digest
    trace: Trace


class Rebuild(Struct, frozen=True):
    """The store has no such result. `reasons`: the parts that differ from the last trace of this action."""

    key: Digest
    reasons: tuple[Reason, ...]


def decide(parts: KeyParts, last: Trace | None, store: Store, *, force: str = "", own: bool = False) -> Hit | Rebuild:
    """Decide whether an action must run. `last`: the trace of its last success, for the reasons.

    `force`: the option that makes it run whatever is stored, empty for none; or `LACKING`.

    `own`: a result that came from a remote store does not count.
    """
    key = parts.key
    if force:
        return Rebuild(key, (Reason("destination" if force == LACKING else "forced", None, force),))
    trace = store.lookup(key, own=own)
    if trace is not None:
        return Hit(key, trace)
    if (origin := store.refused(key, own=own)) is not None:
        return Rebuild(key, (Reason("remote", origin.remote, "built here"),))
    return Rebuild(key, reasons_for(parts, last))


def asks_elsewhere(decision: Hit | Rebuild, store: Store) -> bool:
    """Whether a remote store is asked for a better result: there is none here, or one that is not final."""
    return isinstance(decision, Rebuild) or (store.remote is not None and not is_final(decision.trace))


def of_upload(decision: Hit | Rebuild, ran: Callable[[Digest], bool]) -> Hit | Rebuild:
    """The decision for an upload. `ran`: whether the last upload from here made the result with a key.

    Whatever was uploaded later has replaced what an earlier result says is there, and so may one that failed.
    """
    if isinstance(decision, Hit) and not ran(decision.key):
        return Rebuild(decision.key, (Reason("upload", None, "replaced"),))
    return decision


def reasons_for(parts: KeyParts, last: Trace | None) -> tuple[Reason, ...]:
    """Why the store has no result: the parts that differ from the last trace."""
    if last is None:
        return (Reason("trace", None, "never built"),)
    changed = differences(last.parts, plain(parts))
    return changed or (Reason("store", "result", "missing or damaged"),)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Reason, ...]:
    """The parts in which two keys differ, by dotted name, sorted: params first, since they are why other parts change.

    A part that is empty on one side and absent on the other is named only if nothing else differs: a newer onnxbuild
    has added it, or its entries are named instead.
    """
    before, after = flatten(_normal(old)), flatten(_normal(new))
    names = sorted(before.keys() | after.keys(), key=lambda name: (not name.startswith("params."), name))
    changed = [name for name in names if before.get(name, _ABSENT) != after.get(name, _ABSENT)]
    telling = [name for name in changed if not _is_empty(name, before, after)] or changed
    return tuple(Reason(name, before.get(name), after.get(name)) for name in telling)


def _is_empty(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    values = [one[name] for one in (before, after) if name in one]
    return len(values) == 1 and values[0] in ({}, [])


def _normal(parts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Encode and decode as JSON, as in a trace: tuples become lists, so that equal values compare equal."""
    normal: Mapping[str, Any] = msgspec.json.decode(msgspec.json.encode(parts))
    return normal
