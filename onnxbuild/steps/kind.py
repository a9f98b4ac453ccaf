"""What a step kind declares.

A kind is a light declaration. Its worker imports the frameworks; the kind names it as text and never imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, get_type_hints

from msgspec import UNSET, Meta, Struct, UnsetType, convert, structs

from onnxbuild.diagnostics import Severity
from onnxbuild.machine import Machine
from onnxbuild.needs.step_needs import CODE_OF, FILE
from onnxbuild.tables.checkpoints.other_libraries import TIMM
from onnxbuild.tables.positions import positions_of
from onnxbuild.tables.runtimes.further_needs import further_needs
from onnxbuild.tables.tasks import Family

# What `packages` may name besides distributions and what `onnxbuild.needs` has: everything that is installed where the
# action runs, for code that may import any of it.
EVERYTHING = "installed packages"

# Files that only the drivers of GPUs make: NVIDIA's, AMD's, and those of Linux.
GPU_FILES = frozenset({f"{FILE}/dev/nvidiactl", f"{FILE}/dev/kfd", f"{FILE}/dev/dri"})

UNCOMPILED = "uncompiled"  # the input port of a benchmark with the ONNX graph of a compiled variant
JOURNAL = "journal"  # the output port of a folder that is no result, and survives a kill


class Params(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every kind's params: all settings of one step, with defaults filled in."""

    # The field that a scalar stands for: `optimize: O2` is `optimize: {level: O2}`.
    SHORT: ClassVar[str | None] = None
    # Words that stand for whole blocks: `quantize: int8` is `quantize: {method: dynamic}`.
    SHORT_WORDS: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    # Fields that planning fills in from the model and the target: part of the key, not of the manifest language.
    DERIVED: ClassVar[tuple[str, ...]] = ()


def spelled_out(params: type[Params], block: Any) -> Any:
    """A block as a mapping: a short form is replaced by what it stands for; anything else is returned as it is."""
    if isinstance(block, Mapping):
        return block
    if isinstance(block, str) and block in params.SHORT_WORDS:
        return params.SHORT_WORDS[block]
    return block if params.SHORT is None else {params.SHORT: block}


def meanings(params: type[Params]) -> Mapping[str, str]:
    """The description of each field that has one, by the name that a manifest uses."""
    hints = get_type_hints(params, include_extras=True)
    fields = {field.encode_name: getattr(hints[field.name], "__metadata__", ()) for field in structs.fields(params)}
    described = ((name, mark.description) for name, marks in fields.items() for mark in marks if isinstance(mark, Meta))
    return {name: text for name, text in described if text is not None}


def examples(params: type[Params]) -> Mapping[str, Any]:
    """The first example of each field that has one, by the name that a manifest uses."""
    hints = get_type_hints(params, include_extras=True)
    fields = {field.encode_name: getattr(hints[field.name], "__metadata__", ()) for field in structs.fields(params)}
    shown = ((name, mark.examples) for name, marks in fields.items() for mark in marks if isinstance(mark, Meta))
    return {name: values[0] for name, values in shown if values}


# The device of a target where it is not the CPU; left out of a key where it is.
TargetDevice = Annotated[Literal["cuda"] | UnsetType, Meta(description="the target's device, where it is not the CPU")]


# The library that loads the checkpoint; left out of a key where the packages of the key say it.
Library = Annotated[
    Literal["timm"] | UnsetType, Meta(description="the library that loads the checkpoint, where it is timm")
]


class OpeningParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of the params of a step that opens the checkpoint or its tokenizer, which may have to run its own code.

    A person allows that only in `export:`. Planning fills the field in for the other steps, which name it in `DERIVED`.
    """

    # Unset if it is not true, and so left out of the key: models without such code keep the keys that they had.
    trust_remote_code: Annotated[
        bool | UnsetType,
        Meta(description="run the Python code that comes with the checkpoint; a `hub:` source must then name a commit"),
    ] = UNSET

    @property
    def trusts_code(self) -> bool:
        """Whether the checkpoint's own code may run."""
        return self.trust_remote_code is True


class Runtime(Struct, frozen=True, kw_only=True):
    """What runs a compiled variant: the backend, and what it needs where it runs, as `packages` of a kind names it.

    `uses`: what it uses besides, where that is there; left out of a key where it is unset.
    """

    backend: str
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] | UnsetType = UNSET


# Filled in by planning for a compiled variant; left out of the key of every other one.
RunsWith = Annotated[Runtime | UnsetType, Meta(description="the backend that runs the variant, where it is compiled")]


class TargetFacts(Struct, frozen=True, kw_only=True):
    """What planning knows of one variant of a model, for the packages that it may go into."""

    precision: str  # of its graph: fp32, fp16, int8, q4 …
    steps: tuple[tuple[str, Mapping[str, Any]], ...] = ()  # kind and params of each step that changed the graph
    device: str = "cpu"
    backend: str = ""  # that it is compiled for
    needs: tuple[str, ...] = ()  # what runs it, where it is compiled

    def params_of(self, kind: str) -> Mapping[str, Any] | None:
        """The params of its last step of a kind; None if it has none."""
        return next((params for name, params in reversed(self.steps) if name == kind), None)


class Context(Struct, frozen=True, kw_only=True):
    """What a kind's pure functions may look at besides the params: the model, as far as planning knows it."""

    task: str | None
    family: Family
    config: Mapping[str, Any] | None  # config.json of the checkpoint, if it can be read without a download
    precision: str  # of the graph that comes in: fp32, fp16, int8, q4 …
    previous: tuple[str, ...]  # kinds that ran before this one, in order
    reference: str  # artifact type that variants are compared with: checkpoint | onnx
    device: str  # cpu | cuda
    machine: Machine
    # Versions of distributions in the model's toolchain, as far as planning knows them. "absent": its lock has none.
    versions: Mapping[str, str] = {}
    opset: int | None = None  # of the standard operators of the graph that comes in, if planning knows it
    exporter: str | None = None  # what writes the graph; None for an ONNX source
    max_length: int | None = None  # tokens up to which the export holds, where a person has accepted a limit
    trusts_code: bool = False  # whether the manifest lets the checkpoint's own code run
    graphs: int = 1  # of an ONNX source, as far as planning knows
    written: frozenset[str] = frozenset()  # the keys that a person wrote in this block
    targets: Mapping[str, TargetFacts] = {}  # of the model, by name, in their order; only for packages
    left_out: Mapping[str, str] = {}  # compiled targets that the package does not take, with their backends
    listed: tuple[str, ...] = ()  # the packages of the model, where it has names without params; only for packages
    runtime: Runtime | UnsetType = UNSET  # of a compiled variant
    program_limits: tuple[tuple[str, int], ...] = ()  # params of a backend that limit the tokens of a text
    call_limits: tuple[tuple[str, int], ...] = ()  # those that limit the tokens of one call, and not what is written
    exports: bool = True  # whether a target starts from the export; only for the export
    files: frozenset[str] | None = None  # of the checkpoint, if they are known; only for packages

    @property
    def target_device(self) -> Literal["cuda"] | UnsetType:
        """The value of a `TargetDevice`."""
        return "cuda" if self.device == "cuda" else UNSET

    @property
    def positions(self) -> int | None:
        """The most tokens that the model, its export and a compiled program accept, None if nothing names a limit."""
        own = (positions_of(self.config), self.max_length, *dict(self.program_limits).values())
        return min((limit for limit in own if limit is not None), default=None)

    @property
    def of_one_call(self) -> Context:
        """The same, where `positions` is the most tokens that one call takes."""
        return structs.replace(self, program_limits=(*self.program_limits, *self.call_limits), call_limits=())

    @property
    def limiting_param(self) -> str | None:
        """The param of the backend that a text would not fit; None if something else limits it."""
        return next((name for name, limit in self.program_limits if limit == self.positions), None)

    @property
    def limit(self) -> str:
        """What limits `positions`, in words."""
        if self.max_length is not None and self.positions == self.max_length:
            return f"the export's `max_length: {self.max_length}`"
        if self.limiting_param is not None:
            return f"the target's `{self.limiting_param}: {self.positions}`"
        return f"the model's {self.positions} positions"


class Fault(Struct, frozen=True, kw_only=True):
    """What a kind's check finds. `field` is the param at fault, None for the whole step; planning adds the place.

    `of_source`: the fault is in the model's source, whatever the step says.
    """

    code: str
    message: str
    field: str | None = None
    hint: str | None = None
    severity: Severity = "error"
    of_source: bool = False


class Kind(Struct, frozen=True, kw_only=True):
    """A step kind: its params, and the worker that carries it out.

    `inputs` and `outputs` map ports to artifact types (checkpoint, onnx, report, samples). `packages` returns the
    distributions whose versions belong to the key, as installed where the action runs. `version` is raised whenever
    the worker's result changes for equal params. `measures` puts the machine into the key.
    """

    name: str
    version: int
    params: type[Params]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    worker: str  # "module:function"
    summary: str = ""  # what it does, in one line, where several kinds share their params
    packages: Callable[[Any], tuple[str, ...]] = lambda _params: ()
    pool: str = "cpu"  # "cpu", or "alone": a benchmark has the machine to itself; see `pool_of`
    measures: bool = False
    is_plugin: bool = False  # set for the kinds of plugins: their code is part of the key by content
    transient: bool = False  # a failure may be temporary (a download): it is tried again, with backoff
    timeout_seconds: float = 3600.0
    # The worker runs no code but its own and its libraries', and changes nothing in the process that outlives the
    # action. Any other worker is confined to its folders as far as the system can, and ends with its action.
    pure: bool = False
    runs_code: Callable[[Mapping[str, Any]], bool] = lambda _params: False  # whether plain params name code to run
    # Whether the worker gets one more output folder, JOURNAL, in which it finds what it noted before it was killed.
    resumes: Callable[[Mapping[str, Any]], bool] = lambda _params: False
    # Whether the worker needs the network: only then does it see tokens and the addresses of proxies.
    network: Callable[[Mapping[str, Any]], bool] = lambda _params: False
    # Modules that the actions after this one import and that take long: a second worker imports them meanwhile.
    warms: tuple[str, ...] = ()
    memory_factor: float = 3.0  # estimated peak memory as a multiple of the size of all inputs
    on_by_default: bool = False  # a check that runs unless the manifest switches it off
    resolve: Callable[[Any, Context], Any] = lambda params, _context: params  # fills derived fields and every `auto`
    check: Callable[[Any, Context], Iterable[Fault]] = lambda _params, _context: ()
    # The precision of the graph that the step writes. It selects the thresholds of the checks that follow.
    precision_after: Callable[[Any, Context], str] = lambda _params, context: context.precision
    backend: str = ""  # the backend that it compiles for
    # What compiles; where it is absent, the step prepares everything that the compiler is handed.
    compiler: Callable[[Any], tuple[str, ...]] = lambda _params: ()
    # What runs the result.
    runtime: Callable[[Any, Context], Runtime | UnsetType] = lambda _params, context: context.runtime
    # The params that limit the tokens of a text in the result, with their values.
    program_limits: Callable[[Any], Mapping[str, int]] = lambda _params: {}
    # The params that limit the tokens of one call. A model that writes text goes on behind them.
    call_limits: Callable[[Any], Mapping[str, int]] = lambda _params: {}
    takes_compiled: bool = False  # whether compiled variants go into the package that it writes
    # Whether the worker runs code that is in its inputs: Python of a package, or libraries that its files name. A
    # build has written that code itself; of a folder from elsewhere, it is somebody else's.
    runs_inputs: bool = False
    # Whether a run has changed something besides its outputs, as its facts say. Then it is not called unchanged.
    has_changed: Callable[[Mapping[str, Any]], bool] = lambda _facts: False
    package: str = ""  # the package that it writes, or checks with its client
    # The params of the check with the package's client; None if the manifest switches it off.
    client_params: Callable[[Any, Context], Any] = lambda _params, _context: None
    # The roles of the dataset columns that the step reads, where its params name a dataset.
    columns: Callable[[Any, Context], tuple[str, ...]] = lambda _params, _context: ()
    # What is wrong with params once `rows` says which columns their dataset names.
    check_rows: Callable[[Any, Context], Iterable[Fault]] = lambda _params, _context: ()


def packages_of(kind: Kind, params: Any) -> tuple[str, ...]:
    """The packages whose versions a key contains: those that a kind declares, and for a plugin its own code."""
    runtime = getattr(params, "runtime", UNSET)
    of_runtime = () if runtime is UNSET else (*all_needs(runtime), *(() if runtime.uses is UNSET else runtime.uses))
    code = (f"{CODE_OF}{module}" for module in plugin_modules(kind))
    return tuple(dict.fromkeys((*kind.packages(params), *kind.compiler(params), *of_runtime, *code)))


def all_needs(runtime: Runtime) -> tuple[str, ...]:
    """What a runtime needs: what the params say, and what a table adds."""
    return (*runtime.needs, *further_needs(runtime.backend))


def needed_together(kind: Kind, params: Any) -> tuple[tuple[str, ...], ...]:
    """What an action needs at once: its packages with its compiler, and what each of its runtimes needs."""
    runtimes = (getattr(params, "runtime", UNSET), *(getattr(params, "runtimes", None) or {}).values())
    of_runtimes = (all_needs(one) for one in runtimes if one is not UNSET)
    return ((*kind.packages(params), *kind.compiler(params)), *of_runtimes)


def pool_of(kind: Kind, params: Mapping[str, Any]) -> str:
    """The pool of an action: `gpu` where plain params name a GPU, of which one action at a time has the memory."""
    needs = params.get("runtime", {}).get("needs", ())
    if kind.backend:
        needs = kind.compiler(convert(params, kind.params))
    uses_gpu = params.get("device") == "cuda" or not GPU_FILES.isdisjoint(needs)
    return "gpu" if uses_gpu and kind.pool == "cpu" else kind.pool


def plugin_modules(kind: Kind) -> tuple[str, ...]:
    """The top-level modules with the code of a plugin: of its declaration, and of its worker."""
    modules = (kind.params.__module__, kind.worker) if kind.is_plugin else ()
    return tuple(dict.fromkeys(module.partition(":")[0].partition(".")[0] for module in modules))


def runs_others_code(kind: Kind, params: Mapping[str, Any]) -> bool:
    """Whether an action runs code that is neither ours nor a library's: an exporter's, a checkpoint's or a plugin's."""
    return not kind.pure or params.get("trust_remote_code") is True or kind.runs_code(params)


def trusted(context: Context) -> bool | UnsetType:
    """The value of `trust_remote_code` in the params of a step that opens what comes with the checkpoint."""
    return True if context.trusts_code else UNSET


def library_of(config: Mapping[str, Any] | None) -> Literal["timm"] | UnsetType:
    """The value of a `Library` for a model."""
    return "timm" if (config or {}).get("model_type") == TIMM else UNSET


def compared_by(library: Literal["timm"] | UnsetType) -> tuple[str, ...]:
    """The packages that run a variant and the PyTorch model beside it."""
    others = () if library is UNSET else (library, "torchvision")
    return ("onnxruntime", "transformers", "torch", "sentence-transformers", *others)
