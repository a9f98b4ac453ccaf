"""What passes between the engine and a worker, as JSON lines over a pipe.

A worker in another environment or on another machine is reached in the same way as one beside the engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec
from msgspec import Struct

Facts = Mapping[str, Any]  # measured values: plain JSON, never part of an artifact's digest


class Request(Struct, frozen=True, kw_only=True):
    """One action for a worker. Paths are absolute; inputs are read-only folders, outputs empty ones."""

    id: str
    worker: str  # "module:function"
    params: Mapping[str, Any]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    log: str  # file that receives all that the action prints
    scratch: str = ""  # working folder on the store's disk, removed with all that is left in it
    threads: int = 0  # cores that the action may use; 0 leaves it to the worker
    secrets: Mapping[str, str] = {}  # tokens by name; never logged, never part of a key


class Progress(Struct, frozen=True, kw_only=True, tag="progress"):
    """How far a long step is; `done` of `total` in `unit`, or words alone."""

    id: str
    text: str = ""
    done: float | None = None
    total: float | None = None


class Failure(Struct, frozen=True, kw_only=True):
    """Why a worker failed. `code` is OBE…; `notes` as in `Diagnostic`; `transient` where trying again may help."""

    code: str
    message: str
    notes: tuple[tuple[str, str], ...] = ()
    transient: bool = False
    facts: Mapping[str, Any] = {}


class Response(Struct, frozen=True, kw_only=True, tag="response"):
    """The end of one request: facts, or a failure. `peak_bytes` is the worker's peak resident memory.

    `retire`: the worker is to serve no more requests.
    """

    id: str
    facts: Mapping[str, Any] = {}
    failure: Failure | None = None
    seconds: float = 0.0
    peak_bytes: int = 0
    retire: bool = False


Message = Progress | Response


class Tell(Protocol):
    """What a worker reports through while it works: words, and how much of how much where that can be counted."""

    def __call__(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Pass it on to whoever watches; cheap enough for every file, too dear for every tensor."""


class CheckFailed(Exception):  # noqa: N818 - it is an outcome of a check, not an error of ours
    """Raised by a worker whose result must not count: wrong numbers, a step that did nothing, a bad input."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        notes: Iterable[tuple[str, str]] = (),
        facts: Facts | None = None,
        transient: bool = False,
    ) -> None:
        """Say which code, what was found against what bound, and what helps."""
        self.failure = Failure(
            code=code, message=message, notes=tuple(notes), facts=dict(facts or {}), transient=transient
        )
        super().__init__(f"{code} {message}")


def plain(value: Any) -> Any:
    """A Struct or mapping as plain JSON values (the form that keys, requests and traces hold)."""
    return msgspec.to_builtins(value)
