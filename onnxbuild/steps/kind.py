"""What a step kind declares.

A kind is a light declaration; its worker, which imports the frameworks, is named as text and never imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from msgspec import UNSET, Struct, UnsetType

from onnxbuild.diagnostics import Severity
from onnxbuild.machine import Machine
from onnxbuild.tables.tasks import Family


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


def trusted(context: Context) -> bool | UnsetType:
    """The value of `trust_remote_code` in the params of a step that opens what the checkpoint brings."""
    return True if context.trusts_code else UNSET
