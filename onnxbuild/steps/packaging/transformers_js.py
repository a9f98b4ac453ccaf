"""package transformers.js: the folder that Transformers.js loads in Node and in browsers, checked with the library."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from onnxbuild.needs.step_needs import PROGRAM
from onnxbuild.steps.kind import Context, Fault, TargetFacts
from onnxbuild.steps.packaging.package_kind import Client, ClientParams, Package, PackageParams, Roles, in_package
from onnxbuild.tables.publishing.javascript_dtypes import (
    BROWSERS,
    DEFAULT_DTYPES,
    NO_DTYPE,
    OF_PRECISION,
    SUFFIXES,
    Dtype,
    computes_wrong,
    dtypes_of,
    javascript_task,
    read_instead,
)
from onnxbuild.tables.publishing.javascript_halves import HALVED_TYPES, Halves, halves_of
from onnxbuild.tables.tasks import TASKS, proper_name

Library = Literal[3, 4]
Where = Literal["node", "wasm", "webgpu"]

_CHUNK_BYTES = 1_900_000_000  # arrays of 2 GB fail in some browsers

# What has to be in the checkpoint for models of a modality, besides config.json.
_PROCESSOR = ("preprocessor_config.json", "processor_config.json")


_NEWEST: Library = 4


class JavaScriptParams(PackageParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which targets are which dtypes, and with which clients the package is checked."""

    DERIVED: ClassVar[tuple[str, ...]] = (*PackageParams.DERIVED, "recipes")
    OF_CLIENT: ClassVar[tuple[str, ...]] = (*PackageParams.OF_CLIENT, "clients", "library")

    dtypes: Annotated[
        Mapping[Dtype, str] | UnsetType,
        Meta(
            description="the target of each dtype of the library; by default each target has the dtype of its"
            " precision, and int8 is `q8`, which browsers load by default",
            examples=[{"fp32": "fp32", "q8": "int8"}],
        ),
    ] = UNSET
    default_dtype: Annotated[
        Dtype | UnsetType,
        Meta(
            description="the dtype that is loaded where a page names none; without it, browsers load `q8` and Node and"
            " WebGPU `fp32`"
        ),
    ] = UNSET
    chunk_bytes: Annotated[
        int,
        Meta(ge=1, description="a graph with more weights than this has them in files of at most this size"),
    ] = _CHUNK_BYTES
    clients: Annotated[
        tuple[Where, ...] | UnsetType,
        Meta(
            description="with what the package is checked, by default Node: Node, and Chromium with WebAssembly or with"
            " WebGPU (by SwiftShader, so without a GPU)",
            examples=[["node", "wasm"]],
        ),
    ] = UNSET
    library: Annotated[
        Library | UnsetType,
        Meta(description="the major version of Transformers.js that checks the package, by default 4"),
    ] = UNSET
    halves: Annotated[
        Halves | UnsetType,
        Meta(
            description="also write the text half and the vision half of a model such as CLIP, each to a file of its"
            " own: `beside` the whole model, or these `only`"
        ),
    ] = UNSET
    word_timestamps: Annotated[
        bool | UnsetType,
        Meta(
            description="also return what the decoder of Whisper sees of a recording, from which the library computes"
            " the times of words; its generation_config.json needs `alignment_heads`"
        ),
    ] = UNSET
    recipes: Annotated[
        Mapping[str, tuple[tuple[str, Mapping[str, Any]], ...]],
        Meta(description="by dtype, the kind and the params of each step"),
    ] = {}


class JavaScriptClientParams(ClientParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the library runs."""

    clients: Annotated[tuple[Where, ...], Meta(description="with what the package is checked")] = ("node",)
    library: Annotated[Library, Meta(description="the major version of Transformers.js")] = 4
    halves: Annotated[
        Halves | UnsetType, Meta(description="whether the package has the halves of the model, and whether these only")
    ] = UNSET
    word_timestamps: Annotated[bool | UnsetType, Meta(description="whether words have times")] = UNSET


def _roles(params: JavaScriptParams, context: Context) -> Roles:
    if params.dtypes:
        return {str(dtype): (target,) for dtype, target in params.dtypes.items()}
    if isinstance(params.targets, Mapping):
        return {role: (target,) for role, target in params.targets.items()}
    found: dict[str, list[str]] = defaultdict(list)
    for name in params.targets or context.targets:
        found[_dtype_of(context.targets[name]) if name in context.targets else name].append(name)
    return {role: tuple(names) for role, names in found.items()}


def _dtype_of(target: TargetFacts) -> str:
    """The dtype of a target; its precision where there is none, which a check refuses."""
    return OF_PRECISION.get(target.precision, target.precision)


def _resolve(params: JavaScriptParams, context: Context) -> JavaScriptParams:
    recipes = {dtype: context.targets[name].steps for dtype, name in params.graphs.items() if name in context.targets}
    only = next(iter(params.graphs)) if len(params.graphs) == 1 else UNSET
    default = params.default_dtype or only
    return msgspec.structs.replace(params, dtypes=UNSET, recipes=recipes, default_dtype=default)


def _check(params: JavaScriptParams, context: Context) -> Iterable[Fault]:
    """OB762, OB770 to OB775, OB777 and OB778: what the library cannot load, or would not find."""
    if (why := _why_not_run(params.task, context.config)) is not None:
        yield Fault(code="OB770", message=why, hint=_instead(context.config))
        return
    yield from _check_dtypes(params, context)
    yield from _check_default(params)
    yield from _check_files(params, context)
    yield from _check_halves(params, context)
    yield from _check_clients(params, context)
    yield from _check_kernels(params, context)


def _why_not_run(task: str, config: Mapping[str, Any] | None) -> str | None:
    """Why the library does not run the models of a task, or this one; None if it does."""
    if javascript_task(task) is None:
        return f"Transformers.js has no pipeline for the task `{task}`"
    reads = read_instead(task, config)
    if reads is None:
        return None
    return f"the pipeline of Transformers.js for `{task}` reads text, and this model reads {reads}"


def _instead(config: Mapping[str, Any] | None) -> str:
    if halves_of((config or {}).get("model_type")):
        return "write `task: zero-shot-image-classification`, whose pipeline reads both; `halves` embed each alone"
    return "package it as `plain`, and run its graphs with onnxruntime-web"


def _check_dtypes(params: JavaScriptParams, context: Context) -> Iterator[Fault]:
    for dtype, name in params.graphs.items():
        precision = context.targets[name].precision
        if dtype not in SUFFIXES or precision in NO_DTYPE:
            why = NO_DTYPE.get(precision, f"the library has no dtype for {precision}")
            hint = f"leave it out: {in_package('transformers.js', listed=context.listed)}"
            if precision not in NO_DTYPE:
                hint = f"{hint}; or say what it is: `dtypes: {{q8: {name}}}`"
            field = "dtypes" if "dtypes" in context.written else "targets"
            yield Fault(code="OB762", field=field, message=f"the target `{name}`: {why}", hint=hint)
        elif context.targets[name].device == "cuda":
            message = f"the target `{name}` is for CUDA: its operators have no kernels in browsers"
            yield Fault(
                code="OB762",
                field="targets",
                message=message,
                hint=f"leave it out: {in_package('transformers.js', listed=context.listed)}",
            )
        elif (context.targets[name].params_of("precision") or {}).get("keep_io_types") is False:
            message = f"the target `{name}` returns fp16, of which Transformers.js 3 reads other numbers"
            hint = "keep `keep_io_types: true`, which is the default"
            yield Fault(code="OB772", field="dtypes", message=message, severity="warning", hint=hint)
        elif dtype not in dtypes_of(precision, dtype):
            who = "pages that load the default" if dtype == "fp32" else f"pages that load `{dtype}`"
            message = f"`{dtype}` is the target `{name}`, which is {precision}: {who} get it"
            own = OF_PRECISION.get(precision, "q8")
            hint = f"name the dtype that it is: `{own}: {name}`"
            yield Fault(code="OB772", field="dtypes", message=message, severity="warning", hint=hint)


def _check_default(params: JavaScriptParams) -> Iterator[Fault]:
    if params.default_dtype is not UNSET and params.default_dtype not in params.graphs:
        message = f"`default_dtype: {params.default_dtype}` is no dtype of the package: {_listed(params.graphs)}"
        yield Fault(code="OB773", field="default_dtype", message=message, hint="name one of these")
    missing = [dtype for dtype in dict.fromkeys(DEFAULT_DTYPES.values()) if dtype not in params.graphs]
    if params.default_dtype is UNSET and missing:
        yield Fault(
            code="OB773",
            message=f"a page that names no dtype loads `fp32` or `q8` (WebAssembly), and {_listed(missing)} is missing",
            hint=f"add a target for it, or write `default_dtype: {next(iter(params.graphs), 'fp32')}`",
        )


def _check_files(params: JavaScriptParams, context: Context) -> Iterator[Fault]:
    """OB774 for a checkpoint without what the library needs to make inputs of text, images or audio."""
    row = javascript_task(params.task, context.config)
    if context.files is None or row is None:
        return
    names = context.files
    if row.reads_text and not any(_is_tokenizer(name) for name in names):
        hint = "add `tokenizer.json` and `tokenizer_config.json` to the checkpoint"
        yield Fault(code="OB774", message="the checkpoint has no tokenizer", hint=hint, of_source=True)
    if row.reads_media and not names.intersection(_PROCESSOR):
        hint = "add `preprocessor_config.json` to the checkpoint: `processor.save_pretrained(…)` writes it"
        message = f"the checkpoint has no `preprocessor_config.json`, which models of {_modality(context)}s need"
        yield Fault(code="OB774", message=message, hint=hint, of_source=True)


def _check_halves(params: JavaScriptParams, context: Context) -> Iterator[Fault]:
    """OB778 for halves and times of words of models for which the library has neither."""
    model_type = (context.config or {}).get("model_type")
    if params.word_timestamps and model_type not in {None, "whisper"}:
        message = f"Transformers.js computes the times of words for `whisper`, not for `{model_type}`"
        yield Fault(code="OB778", field="word_timestamps", message=message, hint="leave `word_timestamps` out")
    if params.halves is UNSET or model_type is None or halves_of(model_type):
        return
    yield Fault(
        code="OB778",
        field="halves",
        message=f"Transformers.js loads no halves of the model type `{model_type}`, only of {_listed(HALVED_TYPES)}",
        hint="leave `halves` out",
    )


def _is_tokenizer(name: str) -> bool:
    return name in {"tokenizer.json", "vocab.txt", "vocab.json"} or name.endswith((".model", ".spm"))


def _modality(context: Context) -> str:
    row = TASKS.get(proper_name(context.task or ""))
    return "picture" if row is None or row.modality != "audio" else "recording"


def _check_clients(params: JavaScriptParams, context: Context) -> Iterator[Fault]:
    """OB775 for a client that computes other numbers from the graphs of this model type."""
    model_type, library = (context.config or {}).get("model_type"), params.library or _NEWEST
    for client in params.clients or ():
        if computes_wrong(model_type, client, library):
            message = f"Transformers.js {library} computes the graphs of `{model_type}` wrong with {client}"
            yield Fault(code="OB775", field="clients", message=message, hint=f"leave `{client}` out")


def _check_kernels(params: JavaScriptParams, context: Context) -> Iterator[Fault]:
    """OB775 for what a client is known to have no right kernel for, OB777 for what it rounds otherwise."""
    for dtype, name in params.graphs.items():
        target = context.targets[name]
        quantize = target.params_of("quantize") or {}
        if target.precision == "int8":
            yield from _check_integers(dtype, quantize, params, context.config)
        elif params.library == 3 and "webgpu" in (params.clients or ()) and _has_zero_points(quantize):  # noqa: PLR2004
            message = f"`{dtype}`: Transformers.js 3 has no kernel for 4-bit weights with zero points with WebGPU"
            hint = f"write `symmetric: true` in the target `{name}`, or `library: 4` in the package"
            yield Fault(code="OB775", field="clients", message=message, hint=hint)
        elif _computes_in_integers(quantize):
            yield Fault(
                code="OB777",
                severity="warning",
                message=f"`{dtype}` computes in int8 (`accuracy_level: {quantize['accuracy_level']}`), which browsers"
                " round otherwise than this machine, by up to 28 %",
                hint=f"write `accuracy_level: 0` and `symmetric: true` in the target `{name}`",
            )
        if "webgpu" in (params.clients or ()) and dtype in {"fp16", "q4f16", "q2f16"}:
            yield Fault(
                code="OB777",
                field="clients",
                severity="warning",
                message=f"`{dtype}` is not checked with WebGPU: SwiftShader has no `shader-f16`",
                hint="open a page on a machine with a GPU",
            )


def _has_zero_points(quantize: Mapping[str, Any]) -> bool:
    """Whether weights in blocks have zero points; the floats of bitsandbytes have none."""
    is_float = quantize.get("algorithm") in {"nf4", "fp4"}
    return quantize.get("method") == "weight-only" and not is_float and not quantize.get("symmetric")


def _computes_in_integers(quantize: Mapping[str, Any]) -> bool:
    """Whether products with weights in blocks are computed in int8; the floats of bitsandbytes never are."""
    is_float = quantize.get("algorithm") in {"nf4", "fp4"}
    return quantize.get("method") == "weight-only" and not is_float and quantize.get("accuracy_level", 0) != 0


def _check_integers(
    dtype: str, quantize: Mapping[str, Any], params: JavaScriptParams, config: Mapping[str, Any] | None
) -> Iterator[Fault]:
    if quantize.get("method") != "dynamic":
        return
    signed = quantize.get("preset") != "avx2"
    row = javascript_task(params.task, config)
    convolves = row is not None and row.reads_media
    operators = quantize.get("operators") or ("Conv", "MatMul")
    if params.library == 3 and "webgpu" in (params.clients or ()):  # noqa: PLR2004 - a version
        message = f"`{dtype}`: Transformers.js 3 computes products of integers wrong with WebGPU"
        yield Fault(code="OB775", field="clients", message=message, hint="leave `webgpu` out, or write `library: 4`")
    if params.library == 3 and signed and convolves and "Conv" in operators:  # noqa: PLR2004 - a version
        yield Fault(
            code="OB775",
            field="library",
            message=f"`{dtype}`: Transformers.js 3 has no kernel for convolutions with signed int8 weights",
            hint="quantize with `{method: dynamic, preset: avx2}`, whose weights are unsigned, or write `library: 4`",
        )
    elif signed:
        yield Fault(
            code="OB777",
            severity="warning",
            message=f"`{dtype}` has signed int8 weights, which WebAssembly in Transformers.js 4 rounds otherwise than"
            " this machine, by up to 13 %",
            hint="quantize with `{method: dynamic, preset: avx2}`, whose weights are unsigned",
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _for_client(params: JavaScriptParams, _context: Context) -> JavaScriptClientParams:
    return JavaScriptClientParams(
        task=params.task,
        graphs=params.graphs,
        trust_remote_code=UNSET,
        clients=params.clients or ("node",),
        library=params.library or _NEWEST,
        halves=params.halves,
        word_timestamps=params.word_timestamps,
    )


def _programs(params: Any) -> tuple[str, ...]:
    browsers = BROWSERS if set(params.clients) - {"node"} else ()
    return ("onnxruntime", *(f"{PROGRAM}{name}" for name in ("node", "npm", *browsers)))


TRANSFORMERS_JS = Package(
    name="transformers.js",
    summary="the layout of onnx-community, for Transformers.js in Node and in browsers",
    version=2,
    params=JavaScriptParams,
    worker="onnxbuild.workers.package.javascript.javascript_package:run",
    roles=_roles,
    check=_check,
    resolve=_resolve,
    packages=lambda _params: ("onnx", "tokenizers", "transformers"),
    pure=True,
    client=Client(
        worker="onnxbuild.workers.package.javascript.javascript_client:run",
        packages=_programs,
        params=JavaScriptClientParams,
        settle=_for_client,
        reads_data_only=True,
    ),
)
