"""What a backend declares: the compiler, what it needs on the machine, and the engine that runs the result.

A backend becomes one step kind, `compile-NAME`: a target asks for it with `compile: NAME`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from onnxbuild.steps.kind import Context, Fault, Kind, OpeningParams, Runtime, trusted

COMPILE = "compile-"  # begins the names of the step kinds that compile
KEY = "compile"  # the key of a target

# Distributions register backends with `[project.entry-points."onnxbuild.backends"]` and `name = "module:BACKEND"`.
GROUP = "onnxbuild.backends"

# Where the engine runs a compiled variant. A host double runs the graph that the compiler is given, under the limits of
# the compiled program, and so needs no compiler.
Place = Literal["device", "emulator", "host double"]
HOST_DOUBLE: Final = "host double"


class CompileParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the params of a backend."""

    DERIVED: ClassVar[tuple[str, ...]] = ("backend", "task", "trust_remote_code")

    # Unset once it is settled, and so left out of the key: the name of the kind says it.
    backend: Annotated[str | UnsetType, Meta(description="name of the backend")] = UNSET
    task: Annotated[str, Meta(description="the model's task")] = ""


def check_device(name: str, context: Context, *, takes_cuda: bool = False) -> Iterable[Fault]:
    """OB803 for a backend that compiles for another device than the target's."""
    if context.device != "cpu" and not takes_cuda:
        message = f"`{name}` does not compile for the target's device, `{context.device}`"
        yield Fault(code="OB803", field="backend", message=message, hint="remove `device:` from the target")


class Backend(Struct, frozen=True, kw_only=True):
    """A backend. Its worker gets the ONNX graphs as `model`, and writes the folder of the compiled variant.

    The folder has a `compiled.json` (`onnxbuild.steps.compiling.compiled_record`), and `compile.sh` with the command of
    a compiler that is a program. `engine` runs it in validate, benchmark and generate, in place of ONNX Runtime.

    `packages`: what prepares the input of the compiler; without it, the step fails. `compiler`: what compiles; without
    it, the result is `prepared`. `runs_with`: what the engine needs; without it, checks are skipped.
    `runs_better_with`: what it uses where that is there, such as a device in place of a host double. All four are as
    `packages` of a step kind: `PROGRAM` stands for a program on the PATH, `FILE` for a file of a driver.

    `starts_from`: what `model` is. With `checkpoint`, the backend writes its graphs itself, and nothing is exported for
    it. `limits`: the params that limit the tokens of a text, and their values; `call_limits`: those of a single call.
    """

    name: str
    summary: str  # one line for the reference and for the hover text of an editor
    version: int
    params: type[CompileParams]
    worker: str  # "module:function"
    engine: str  # "module:Class", a `CompiledModel`
    verified_on: Place | None  # where its engine can run a result; None if nothing can
    packages: Callable[[Any], tuple[str, ...]] = lambda _params: ()
    compiler: Callable[[Any], tuple[str, ...]] = lambda _params: ()
    runs_with: Callable[[Any], tuple[str, ...]] = lambda _params: ()
    runs_better_with: Callable[[Any], tuple[str, ...]] = lambda _params: ()
    starts_from: Literal["onnx", "checkpoint"] = "onnx"
    limits: Callable[[Any], Mapping[str, int]] = lambda _params: {}
    call_limits: Callable[[Any], Mapping[str, int]] = lambda _params: {}
    optional: Mapping[str, str] = {}  # settings that need another distribution, and which
    resolve: Callable[[Any, Context], Any] = lambda params, _context: params
    check: Callable[[Any, Context], Iterable[Fault]] = lambda _params, _context: ()
    precision_after: Callable[[Any, Context], str] = lambda _params, context: context.precision
    columns: Callable[[Any, Context], tuple[str, ...]] = lambda _params, _context: ()
    memory_factor: float = 4.0
    timeout_seconds: float = 3600.0
    pure: bool = False  # as in `Kind`
    resumes: Callable[[Mapping[str, Any]], bool] = lambda _params: False  # as in `Kind`

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The step kind that compiles."""
        return (_compiler(self),)


def _runtime(backend: Backend, params: CompileParams) -> Runtime:
    return Runtime(
        backend=backend.name,
        needs=backend.runs_with(params),
        uses=backend.runs_better_with(params) or UNSET,
    )


def _compiler(backend: Backend) -> Kind:
    def resolve(params: CompileParams, context: Context) -> Any:
        filled = msgspec.structs.replace(
            params,
            backend=UNSET,
            task=context.task or "",
            trust_remote_code=trusted(context) if context.trusts_code else UNSET,
        )
        return backend.resolve(filled, context)

    return Kind(
        name=f"{COMPILE}{backend.name}",
        version=backend.version,
        params=backend.params,
        inputs={"model": backend.starts_from},
        outputs={"model": "compiled"},
        worker=backend.worker,
        summary=backend.summary,
        packages=backend.packages,
        compiler=backend.compiler,
        runtime=lambda params, _context: _runtime(backend, params),
        program_limits=backend.limits,
        call_limits=backend.call_limits,
        backend=backend.name,
        pure=backend.pure,
        resumes=backend.resumes,
        resolve=resolve,
        check=backend.check,
        columns=backend.columns,
        precision_after=backend.precision_after,
        memory_factor=backend.memory_factor,
        timeout_seconds=backend.timeout_seconds,
    )
