"""What a step kind declares, and what passes between the engine and a worker.

A kind is a light declaration; its worker, which imports the frameworks, is named as text and never imported here.
Requests and responses are JSON lines over a pipe, so that a worker in another environment or on another machine is
reached as one beside us is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Protocol

import msgspec
from msgspec import UNSET, Struct, UnsetType

from onnxbuild.diagnostics import Severity
from onnxbuild.machine import Machine
from onnxbuild.steps.tasks import Family

Facts = Mapping[str, Any]  # measured values: plain JSON, never part of an artifact's digest


class Params(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every kind's params: all that a person can ask of one step, with defaults filled in."""

    # The field that a scalar stands for: `optimize: O2` is `optimize: {level: O2}`.
    SHORT: ClassVar[str | None] = None
    # Fields that expansion fills in from the model and the target: part of the key, not of the manifest language.
    DERIVED: ClassVar[tuple[str, ...]] = ()


class OpeningParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the params of a step that opens the checkpoint or its tokenizer, whose own code may have to run for it.

    A person says so in `export:` alone; expansion fills the field in for the others, which name it in `DERIVED`.
    """

    # Unset where it is not true, and so left out of a key: that of a model without such code stays what it was.
    trust_remote_code: bool | UnsetType = UNSET

    @property
    def trusts_code(self) -> bool:
        """Whether the checkpoint's own code may run."""
        return self.trust_remote_code is True


class Context(Struct, frozen=True, kw_only=True):
    """What a kind's pure check may look at besides the params: the model, as far as it is known without weights."""

    task: str | None
    family: Family
    config: Mapping[str, Any] | None  # config.json of the checkpoint, where it can be read without a download
    precision: str  # of the graph that comes in: fp32 | fp16 | int8 | int4 …
    previous: tuple[str, ...]  # kinds that ran before this one, in order
    reference: str  # artifact type that variants are compared with: checkpoint | onnx
    device: str  # cpu | cuda
    machine: Machine
    # Of distributions in the model's toolchain, as far as they are known before it is made; "absent" is what its lock
    # lacks.
    versions: Mapping[str, str] = {}
    trusts_code: bool = False  # whether the manifest lets the checkpoint's own code run


class Fault(Struct, frozen=True, kw_only=True):
    """What a kind's check finds: `field` is the param at fault, None for the whole step; expansion adds the place."""

    code: str
    message: str
    field: str | None = None
    hint: str | None = None
    severity: Severity = "error"


class Kind(Struct, frozen=True, kw_only=True):
    """A step kind: what can be asked for and who does it.

    `inputs` and `outputs` map ports to artifact types (checkpoint, onnx, report, samples). `packages` gives the
    distributions whose versions, as installed where the action runs, belong to the key. `version` is raised whenever
    the worker's result changes for equal params. `measures` puts the machine into the key.
    """

    name: str
    version: int
    params: type[Params]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    worker: str
    packages: Callable[[Any], tuple[str, ...]] = lambda _params: ()
    pool: str = "cpu"  # "cpu" | "alone": a benchmark has the machine for itself
    measures: bool = False
    transient: bool = False  # a failure may pass by itself (a download): it is tried again, with backoff
    timeout_seconds: float = 3600.0
    memory_factor: float = 3.0  # estimated peak memory as a multiple of the size of all inputs
    resolve: Callable[[Any, Context], Any] = lambda params, _context: params  # fills derived fields and every `auto`
    check: Callable[[Any, Context], Iterable[Fault]] = lambda _params, _context: ()


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


class Failure(Struct, frozen=True, kw_only=True):
    """Why a worker failed. `code` is OBE…; `notes` as in `Diagnostic`; `transient` where trying again may help."""

    code: str
    message: str
    notes: tuple[tuple[str, str], ...] = ()
    transient: bool = False
    facts: Mapping[str, Any] = {}


class Progress(Struct, frozen=True, kw_only=True, tag="progress"):
    """How far a long step is; `done` of `total` in `unit`, or words alone."""

    id: str
    text: str = ""
    done: float | None = None
    total: float | None = None


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


def trusted(context: Context) -> bool | UnsetType:
    """The value of `trust_remote_code` in the params of a step that opens what the checkpoint brings."""
    return True if context.trusts_code else UNSET


def plain(value: Any) -> Any:
    """A Struct or mapping as plain JSON values (the form that keys, requests and traces hold)."""
    return msgspec.to_builtins(value)
