"""The messages between the engine and a worker: one JSON object per line, over a pipe.

A worker in another environment or on another machine gets the same messages as a local one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import Struct

from onnxbuild.printable import printable
from onnxbuild.secrets import redacted

Facts = Mapping[str, Any]  # measured values: plain JSON, never part of an artifact's digest


class Request(Struct, frozen=True, kw_only=True):
    """One action for a worker. Paths are absolute; the inputs are read-only folders, the outputs empty folders."""

    id: str
    worker: str  # "module:function"
    params: Mapping[str, Any]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    log: str  # the file that receives everything that the action prints
    scratch: str = ""  # a working folder on the store's disk, removed after the action
    threads: int = 0  # the cores that the action may use; 0 lets the worker decide
    confined: bool = False  # runs code that is not ours: in a worker of its own, with access to these folders alone
    network: bool = False  # needs the network, and so a worker that sees tokens
    warms: tuple[str, ...] = ()  # modules that a second worker imports meanwhile, for the actions that follow


class Progress(Struct, frozen=True, kw_only=True, tag="progress"):
    """The progress of a long step: `text` in words, and `done` of `total` where it can be counted."""

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

    `retire`: the worker must not get another request.
    """

    id: str
    facts: Mapping[str, Any] = {}
    failure: Failure | None = None
    seconds: float = 0.0
    peak_bytes: int = 0
    retire: bool = False


Message = Progress | Response


class Tell(Protocol):
    """How a worker reports progress: words, and `done` of `total` where it can be counted."""

    def __call__(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Report progress. Cheap enough to call for every file, too expensive to call for every tensor."""


class CheckFailed(Exception):  # noqa: N818 - it is the outcome of a check, not an error in our code
    """Raised by a worker whose result must be rejected: wrong numbers, a step without effect, a bad input."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        notes: Iterable[tuple[str, str]] = (),
        facts: Facts | None = None,
        transient: bool = False,
    ) -> None:
        """Name the code, the value and its bound, and what helps."""
        self.failure = Failure(
            code=code, message=message, notes=tuple(notes), facts=dict(facts or {}), transient=transient
        )
        super().__init__(f"{code} {message}")


S = TypeVar("S", bound=Struct)


def without_secrets(message: S) -> S:
    """A message whose texts are free of secrets: what a library prints may hold an address or a token."""
    fields: Mapping[str, Any] = {name: _without_secrets(getattr(message, name)) for name in message.__struct_fields__}
    return msgspec.structs.replace(message, **fields)


def _without_secrets(value: Any) -> Any:
    """The same value with its texts redacted one by one: a secret such as `1234` also occurs in numbers and names."""
    if isinstance(value, str):
        return redacted(_encodable(value))
    if isinstance(value, Struct):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {_without_secrets(key): _without_secrets(one) for key, one in value.items()}
    return type(value)(map(_without_secrets, value)) if isinstance(value, list | tuple) else value


def json_text(value: Any, *, indent: int | None = None) -> str:
    """The JSON of a value, without a line break at the end; `indent` puts each entry on its own line.

    A number that JSON does not have (NaN, infinity) becomes null. In a name that is not UTF-8, each byte that is wrong
    becomes an escape: JSON has Unicode text only.
    """
    try:
        data = msgspec.json.encode(value)
    except UnicodeEncodeError:
        data = msgspec.json.encode(_encodable(msgspec.to_builtins(value)))
    return (data if indent is None else msgspec.json.format(data, indent=indent)).decode()


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value) if any("\ud800" <= one <= "\udfff" for one in value) else value
    if isinstance(value, dict):
        return {_encodable(key): _encodable(one) for key, one in value.items()}
    return [_encodable(one) for one in value] if isinstance(value, list | tuple) else value


def in_order(response: Response) -> Response:
    """A response whose facts are sorted as the store sorts them: so a result reads the same before it is stored."""
    failure = response.failure
    return msgspec.structs.replace(
        response,
        facts=_sorted(response.facts),
        failure=failure and msgspec.structs.replace(failure, facts=_sorted(failure.facts)),
    )


def _sorted(facts: Facts) -> Facts:
    value: Facts = msgspec.to_builtins(facts, order="sorted")
    return value


def plain(value: Any) -> Any:
    """A Struct or mapping as plain JSON values (the form that keys, requests and traces hold)."""
    return msgspec.to_builtins(value)
