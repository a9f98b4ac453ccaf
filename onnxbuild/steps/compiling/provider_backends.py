"""compile tensorrt, cuda, webgpu, coreml, migraphx, dml: checked here, and compiled where the device is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from onnxbuild.needs.step_needs import FILE
from onnxbuild.steps.compiling.backend_kind import Backend, CompileParams, check_device
from onnxbuild.steps.compiling.int8_rows import DATA, check_rows, check_unread
from onnxbuild.steps.compiling.sizes_of_calls import PROFILES, check_profiles, check_tokens
from onnxbuild.steps.dataset_rows import (
    DerivedRows,
    Rows,
    RowSeed,
    Samples,
    check_call,
    check_length,
)
from onnxbuild.steps.exporters import EXPORTERS
from onnxbuild.steps.kind import Context, Fault
from onnxbuild.tables.runtimes.further_needs import further_needs
from onnxbuild.tables.runtimes.runtime_limits import LIMITS, RuntimeLimits
from onnxbuild.tables.tasks import reads_text_rows

_WORKER = "onnxbuild.workers.compile.checked.checked_worker"
_ENGINE = "onnxbuild.workers.engines.compiled.provider_engine:ProviderModel"
_NVIDIA = f"{FILE}/dev/nvidiactl"
_ON_CUDA = frozenset({"tensorrt", "cuda"})
FLOATS = frozenset({"fp32", "fp16", "bf16"})
_BLOCKED = ("q", "bnb")  # begin the names of precisions with weights in blocks, such as `q4f16` and `q4-stored`


class ProviderParams(CompileParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a provider of ONNX Runtime compiles the graph when it is loaded."""

    DERIVED: ClassVar[tuple[str, ...]] = (*CompileParams.DERIVED, "provider")

    provider: Annotated[
        str | UnsetType, Meta(description="short name of the provider, which is that of the backend")
    ] = UNSET
    options: Annotated[
        Mapping[str, str],
        Meta(
            description="further options of the provider, in the words of its documentation",
            examples=[{"device_id": "1"}],
        ),
    ] = {}


class FixedParams(ProviderParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a provider of ONNX Runtime compiles the graph when it is loaded, for one shape of its calls."""

    batch: Annotated[int, Meta(description="rows of a call")] = 1
    sequence: Annotated[int, Meta(description="tokens of a row; shorter rows are padded")] = 128


class ShapeRange(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The smallest, the usual and the largest shape of a call, each as rows and tokens."""

    min: Annotated[tuple[int, int], Meta(description="rows and tokens of the smallest call")] = (1, 1)
    opt: Annotated[tuple[int, int], Meta(description="rows and tokens for which kernels are chosen")] = (1, 128)
    max: Annotated[tuple[int, int], Meta(description="rows and tokens of the largest call")] = (8, 512)


class TensorrtParams(ProviderParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How TensorRT compiles the graph when it is loaded: the shapes of its calls, and the type of its values."""

    DERIVED: ClassVar[tuple[str, ...]] = (*ProviderParams.DERIVED, "rows")

    precision: Annotated[
        Literal["fp32", "fp16", "bf16", "int8"],
        Meta(description="in what the engine computes; `int8` writes a QDQ graph without zero points, ranged on text"),
    ] = "fp32"
    shapes: Annotated[ShapeRange, Meta(description="shapes for which the engine is built")] = ShapeRange()
    engine_cache: Annotated[
        bool,
        Meta(
            description="cache built engines, so that a process builds each once; onnxbuild deletes its own cache when"
            " its worker ends, and other programs keep theirs where they set `trt_engine_cache_path`"
        ),
    ] = True
    dataset: Annotated[
        str | UnsetType, Meta(description="name of the dataset on which `int8` is ranged; else texts of onnxbuild")
    ] = UNSET
    samples: Samples = 64
    sequence: Annotated[int, Meta(description="maximum number of tokens per row that `int8` is ranged on")] = 128
    seed: RowSeed = 0
    rows: DerivedRows = Rows()


def _has_integers(precision: str, limits: RuntimeLimits) -> bool:
    """Whether a graph of this precision has integers that the runtime does not take."""
    if precision.startswith(_BLOCKED):
        return "MatMulNBits" in limits.refused
    return precision not in FLOATS and limits.integers != "any"


def _check_integers(name: str) -> Callable[[Any, Context], Iterable[Fault]]:
    """The check that every provider makes of what planning knows of the graph."""

    def check(_params: Any, context: Context) -> Iterable[Fault]:
        yield from check_device(name, context, takes_cuda=name in _ON_CUDA)
        limits = LIMITS[name]
        if _has_integers(context.precision, limits):
            quantized = "no integers" if limits.integers == "none" else "only integers without zero points"
            message = f"`{name}` takes {quantized}, and the graph is already {context.precision}"
            other = "`compile: {backend: tensorrt, precision: int8}`" if name == "tensorrt" else "`precision: fp16`"
            yield Fault(code="OB822", message=message, hint=f"remove the step before it, and write {other}")
        if context.opset is not None and context.opset > limits.opset:
            message = f"{limits.version} reads opsets up to {limits.opset}, and the graph has {context.opset}"
            yield Fault(code="OB823", message=message, hint=_lower_opset(limits.opset, context))

    return check


def _lower_opset(opset: int, context: Context) -> str:
    """How the graph gets an opset that the runtime reads."""
    if context.exporter is None:
        return f"export the model again with opset {opset}, or choose another backend"
    exporter = EXPORTERS.get(context.exporter)
    if exporter is not None and exporter.opsets[0] > opset:
        return f"`{exporter.name}` writes no lower one: choose another exporter, with `opset: {opset}`"
    return f"write `export: {{opset: {opset}}}`"


def _check_fixed(params: FixedParams, context: Context) -> Iterable[Fault]:
    yield from _check_integers("coreml")(params, context)
    if context.family != "encoder":
        message = f"`coreml` compiles a graph for one shape, and the inputs of a {context.family} grow with each token"
        yield Fault(code="OB821", field="backend", message=message, hint="compile an encoder")
    if params.batch < 1:
        yield Fault(code="OB612", field="batch", message="`batch` expects a number from 1")
    if params.sequence < 1:
        yield Fault(code="OB612", field="sequence", message="`sequence` expects a number from 1")
    yield from check_length("sequence", params.sequence, context)
    yield from check_call("sequence", params.batch, params.sequence)
    if context.family == "encoder":
        hint = "compile an encoder of texts, or choose another backend"
        yield from check_tokens("coreml", context, hint, takes_audio=True)


def _check_tensorrt(params: TensorrtParams, context: Context) -> Iterable[Fault]:
    yield from _check_integers("tensorrt")(params, context)
    if params.precision != "fp32" and context.precision != "fp32":
        message = f"`precision: {params.precision}` starts from the fp32 graph, and this one is {context.precision}"
        yield Fault(code="OB822", field="precision", message=message, hint="remove the step before it, or this param")
    pairs = zip(params.shapes.min, params.shapes.opt, params.shapes.max, strict=True)
    if any(not 1 <= low <= usual <= high for low, usual, high in pairs):
        message = "`shapes` expects 1 ≤ `min` ≤ `opt` ≤ `max`, for rows and for tokens"
        yield Fault(
            code="OB824", field="shapes", message=message, hint="such as `{min: [1, 1], opt: [1, 128], max: [8, 512]}`"
        )
    yield from check_call("shapes", *params.shapes.max)
    if "shapes" in context.written:
        yield from check_length("shapes", params.shapes.max[1], context)
    yield from check_profiles(params.options, context)
    if not any(name in params.options for name in PROFILES):
        hint = f"write the sizes as `options: {{{PROFILES[0]}: …}}` and so on, or `compile: cuda`, which takes any size"
        yield from check_tokens("tensorrt", context, hint)
    if params.precision == "int8":
        yield from check_rows("precision", params, context, instead="precision: fp16")
    else:
        yield from check_unread("precision", DATA, context)


def _resolve_tensorrt(params: TensorrtParams, context: Context) -> TensorrtParams:
    """Shapes within the positions of the model. Fields that only `int8` reads get their defaults elsewhere."""
    if "shapes" not in context.written and context.positions is not None:
        usual, most = (min(one[1], context.positions) for one in (params.shapes.opt, params.shapes.max))
        params = msgspec.structs.replace(params, shapes=ShapeRange(opt=(1, usual), max=(8, most)))
    if params.precision == "int8":
        return params
    return msgspec.structs.replace(params, dataset=UNSET, samples=64, sequence=128, seed=0, rows=Rows())


def _largest_call(params: TensorrtParams) -> Mapping[str, int]:
    """The tokens of the largest call; profiles among the options replace `shapes`."""
    return {} if any(name in params.options for name in PROFILES) else {"shapes.max": params.shapes.max[1]}


def _fixed_call(params: FixedParams) -> Mapping[str, int]:
    """The tokens of each call. A graph that reads audio has no tokens."""
    return {"sequence": params.sequence} if reads_text_rows(params.task) else {}


def _backend(name: str, summary: str, distribution: str, *files: str, **more: Any) -> Backend:
    """A backend that needs a distribution with the provider, files of a driver, and what a table adds."""
    needs = (distribution, *files)
    settle = more.pop("resolve", lambda params, _context: params)

    def resolve(params: Any, context: Context) -> Any:
        return settle(msgspec.structs.replace(params, provider=name), context)

    return Backend(
        resolve=resolve,
        name=name,
        summary=summary,
        version=1,
        engine=_ENGINE,
        verified_on="device",
        packages=lambda _params: ("onnx",),
        compiler=lambda _params: (*needs, *further_needs(name)),
        runs_with=lambda _params: needs,
        pure=True,
        **{"params": ProviderParams, "worker": f"{_WORKER}:run", "check": _check_integers(name), **more},
    )


def _gpu_on_linux() -> tuple[str, ...]:
    """The folder of the GPUs of Linux; the other systems have none, and always have a GPU."""
    return (f"{FILE}/dev/dri",) if sys.platform == "linux" else ()


TENSORRT = _backend(
    "tensorrt", "NVIDIA TensorRT through ONNX Runtime: shape profiles, fp16, bf16 and symmetric int8",
    "onnxruntime-gpu", _NVIDIA,
    params=TensorrtParams,
    worker=f"{_WORKER}:run_tensorrt",
    check=_check_tensorrt,
    call_limits=_largest_call,
    resolve=_resolve_tensorrt,
    precision_after=lambda params, context: context.precision if params.precision == "fp32" else params.precision,
    columns=lambda params, _context: ("text",) if params.dataset and params.precision == "int8" else (),
)  # fmt: skip
CUDA = _backend("cuda", "NVIDIA GPUs through ONNX Runtime", "onnxruntime-gpu", _NVIDIA)
WEBGPU = _backend(
    "webgpu", "WebGPU through ONNX Runtime's plug-in, as in browsers", "onnxruntime-ep-webgpu",
    *_gpu_on_linux(),
)  # fmt: skip
COREML = _backend(
    "coreml", "Apple's Core ML through ONNX Runtime, for one shape", "onnxruntime",
    f"{FILE}/System/Library/Frameworks/CoreML.framework", params=FixedParams,
    worker=f"{_WORKER}:run_fixed", check=_check_fixed, call_limits=_fixed_call,
)  # fmt: skip
MIGRAPHX = _backend("migraphx", "AMD GPUs through MIGraphX", "onnxruntime-migraphx", f"{FILE}/dev/kfd")
DML = _backend("dml", "DirectML on Windows", "onnxruntime-directml")

PROVIDER_BACKENDS = (TENSORRT, CUDA, WEBGPU, COREML, MIGRAPHX, DML)
