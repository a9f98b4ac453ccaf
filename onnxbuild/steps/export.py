"""export: a PyTorch checkpoint becomes ONNX files with the tokenizer and configs that loaders need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from onnxbuild.diagnostics import did_you_mean
from onnxbuild.steps.exporters import (
    EXPORTERS,
    OF_OTHER_LIBRARIES,
    OWN_OPSETS,
    OWN_PACKAGES,
    Exporter,
    is_own,
    knows_type,
    pick,
    recommended,
    remark,
    what_each_lacks,
)
from onnxbuild.steps.kind import Context, Fault, Kind, OpeningParams
from onnxbuild.tables.architectures import implied
from onnxbuild.tables.checkpoints.other_libraries import TIMM, classes_of
from onnxbuild.tables.tasks import ELSEWHERE, IMAGE_CLASSES, PAST, SENTENCE_TASKS, TASKS, closest_task, pooling_of

_GENAI_FIELDS = ("provider", "options")
_BARE = ("genai", "mobius")  # they do not load the PyTorch model, so neither its attention nor its pooling
_OF_TRANSFORMERS = ("pad_token_id", "allow_missing")  # what only a model that transformers loads has
# What planning reads of an export that no target starts from: trust in code, and the limit of texts.
_READ_WITHOUT_EXPORT = frozenset({"trust_remote_code", "max_length", "task"})
_OWN = "`export: {exporter: path/to/file.py:function}`"


class ExportParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How to export."""

    DERIVED: ClassVar[tuple[str, ...]] = ("task",)

    task: Annotated[str, Meta(description="the model's task")] = ""
    opset: Annotated[
        int,
        Meta(
            description="ONNX opset: optimum writes 14 to 23, transformers 18 to 23, timm and sentence_transformers 14"
            " to 20, a custom exporter 7 to 26; genai and mobius have their own",
            examples=[18, 20, 21, 23],
        ),
    ] = 18
    exporter: Annotated[
        str,
        Meta(
            description="`optimum`, `transformers` (built into transformers 5), `mobius` (graphs written without"
            " tracing), `genai` (the model builder of onnxruntime-genai), `timm`, `sentence_transformers` (for a"
            " StaticEmbedding), a custom function as"
            " `path/to/file.py:function` or `module:function`, or `auto`, which picks the first of these that knows the"
            " model type and the task and that the toolchain has",
            examples=["auto", "optimum", "transformers", "mobius", "genai", "timm", "exporters/mine.py:export"],
        ),
    ] = "auto"
    dtype: Annotated[
        Literal["fp32", "fp16", "q8", "q4"],
        Meta(description="precision of the export; only genai writes q8 and q4 (weights in blocks)"),
    ] = "fp32"
    library: Annotated[
        Literal["auto", "transformers", "sentence_transformers"],
        Meta(description="library that loads the checkpoint"),
    ] = "auto"
    attention: Annotated[
        Literal["auto", "eager", "sdpa"],
        Meta(description="attention of the PyTorch model; `eager` writes its operators out"),
    ] = "auto"
    # Unset fields are left out of a key: exports that do not use them keep the keys that they had.
    pad_token_id: Annotated[
        Annotated[int, Meta(ge=0)] | UnsetType,
        Meta(description="id of the padding token, for a checkpoint whose config.json names none"),
    ] = UNSET
    max_length: Annotated[
        Annotated[int, Meta(ge=2)] | UnsetType,
        Meta(
            description="the longest text, in tokens, for which the graph has to be right: the tokenizer cuts texts at"
            " this length, nothing longer is validated, and longer texts in other steps are faults",
            examples=[64, 512],
        ),
    ] = UNSET
    provider: Annotated[
        Literal["cpu", "cuda", "dml", "webgpu"] | UnsetType,
        Meta(description="execution provider that genai builds for"),
    ] = UNSET
    allow_missing: Annotated[
        tuple[str, ...] | UnsetType,
        Meta(
            description="weights that the checkpoint may lack although outputs depend on them: names, or patterns with"
            " `*`; any other such weight fails the export",
            examples=[["*.final_norm.weight"]],
        ),
    ] = UNSET
    options: Annotated[
        Mapping[str, str | int | float | bool] | UnsetType,
        Meta(description="extra options of genai's builder, by name"),
    ] = UNSET


def _model_type(context: Context) -> str:
    return str((context.config or {}).get("model_type") or "")


def _resolve(params: ExportParams, context: Context) -> ExportParams:
    exporter = _picked(params, context)
    lowest, highest = EXPORTERS[exporter].opsets if exporter in EXPORTERS else OWN_OPSETS
    opset = lowest if lowest == highest else params.opset
    trust = True if params.trusts_code else UNSET
    return replace(params, task=context.task or "", exporter=exporter, opset=opset, trust_remote_code=trust)


def _picked(params: ExportParams, context: Context) -> str:
    if params.exporter != "auto":
        return params.exporter
    return pick(_model_type(context), context.task or "", context.versions)


def _check(params: ExportParams, context: Context) -> Iterable[Fault]:
    name = _picked(params, context)
    if context.config is None and not is_own(name):
        yield Fault(
            code="OB027",
            of_source=True,
            message="the checkpoint has weights, but no config.json",
            hint="save it beside the weights with `config.save_pretrained`: it names the model type",
        )
        return
    yield from _check_task(context)
    yield from _check_classes(context)
    if not context.exports:  # of the exporter, nothing matters
        yield from _check_unread(context)
        return
    yield from _check_missing(params)
    if is_own(name):
        yield from _check_opset(params, OWN_OPSETS)
        return
    if name not in EXPORTERS:
        yield Fault(
            code="OB301",
            field="exporter",
            message=f"unknown exporter `{name}`",
            hint=did_you_mean(name, EXPORTERS)
            or f"one of auto, {', '.join(EXPORTERS)}, or {_OWN} for a custom exporter",
        )
        return
    yield from _check_exporter(params, context, EXPORTERS[name])


def _check_unread(context: Context) -> Iterable[Fault]:
    """OB325 for what is written of an export that no target starts from."""
    for field in sorted(context.written - _READ_WITHOUT_EXPORT):
        message = f"`{field}` has no effect: the backends of all targets start from the checkpoint, not from the export"
        yield Fault(code="OB325", field=field, message=message, hint="remove it", severity="warning")


def _check_task(context: Context) -> Iterable[Fault]:
    model_type = _model_type(context)
    if context.task is None:
        known = _tasks_of(model_type, context.versions)
        if not known and knows_type(model_type):
            yield _no_exporter(model_type)
            return
        near = did_you_mean(model_type, _model_types()) if not known and not _has_code(context) else None
        if near is not None:
            yield Fault(code="OB301", of_source=True, message=f"unknown model type `{model_type}`", hint=near)
            return
        why = implied(context.config or {}, context.versions)
        meant = ", ".join(why.candidates) or known or ", ".join(sorted(TASKS))
        yield Fault(
            code="OB303", message=f"`task:` is missing, and {why.because}", hint=f"set `task:` to one of {meant}"
        )
    elif context.task not in TASKS:
        yield unknown_task(context.task, model_type, context.versions)


def _check_classes(context: Context) -> Iterable[Fault]:
    config = context.config or {}
    if config.get("model_type") == TIMM and context.task == IMAGE_CLASSES and classes_of(config) == 0:
        message = "the checkpoint of timm has no classes: `num_classes` is 0"
        yield Fault(code="OB651", message=message, hint="set `task: feature-extraction`, which exports its features")


def _no_exporter(model_type: str) -> Fault:
    return Fault(
        code="OB638",
        of_source=True,
        message=f"no exporter exports {model_type} right: {what_each_lacks(model_type, '')}",
        hint=f"write {_OWN} with a function that exports it",
    )


def _check_missing(params: ExportParams) -> Iterable[Fault]:
    """OB625 for a pattern that is no part of a name: it would switch the check of missing weights off."""
    for pattern in () if params.allow_missing is UNSET else params.allow_missing:
        if not pattern.strip("*?. "):
            yield Fault(
                code="OB625",
                field="allow_missing",
                message=f"the pattern `{pattern}` allows every weight to be missing",
                hint="name the weights that the failed export lists, or a part of their names: `*.final_norm.*`",
            )


def unknown_task(task: str, model_type: str, versions: Mapping[str, str]) -> Fault:
    """OB302 with the nearest task and the tasks that the model type has, or with all tasks where neither is known."""
    near, known = closest_task(task), _tasks_of(model_type, versions)
    meant = f"did you mean `{near}`?" if near is not None and task not in ELSEWHERE else None
    has = f"{model_type} has {known}" if known else None
    hint = " ".join(one for one in (meant, has) if one is not None) or f"one of {', '.join(TASKS)}"
    why = f": {ELSEWHERE[task]}" if task in ELSEWHERE else ""
    return Fault(code="OB302", message=f"unknown task `{task}`{why}", hint=hint)


def _tasks_of(model_type: str, versions: Mapping[str, str]) -> str:
    """The tasks of a model type: of the exporters that the toolchain can run, else of the first that it cannot."""
    knowing = [one for one in EXPORTERS.values() if one.tasks_of(model_type)]
    able = [one for one in knowing if one.lacks(versions) is None]
    tasks = sorted({task for one in able or knowing[:1] for task in one.tasks_of(model_type)})
    return ", ".join(tasks) + ("" if able or not knowing else remark(knowing[0].name, versions))


def _has_code(context: Context) -> bool:
    """Whether the checkpoint's own code defines its model type."""
    return "auto_map" in (context.config or {})


def _model_types() -> list[str]:
    """Every model type that an exporter knows."""
    return sorted({name for one in EXPORTERS.values() for types in one.types.values() for name in types.split()})


def _check_exporter(params: ExportParams, context: Context, exporter: Exporter) -> Iterable[Fault]:
    conflict = exporter.lacks(context.versions)
    if conflict is not None:
        yield _version_fault(exporter, *conflict, context)
    if exporter.is_missing(context.versions):
        yield _missing_exporter(exporter)
    if exporter.opsets[0] != exporter.opsets[1]:
        yield from _check_opset(params, exporter.opsets)
    yield from _check_fields(params, exporter)
    yield from _check_pooling(params, context, exporter)
    if not _suits(exporter, context):
        yield _unknown_model(params, context, exporter, _model_type(context), context.task or "")
    elif exporter.name == "optimum":
        yield from _check_decoder(context, exporter)


def _check_decoder(context: Context, exporter: Exporter) -> Iterable[Fault]:
    """OB640 for a composed model whose decoder optimum exports without a past, as it does BERT."""
    decoder, task = (context.config or {}).get("decoder"), context.task or ""
    model_type = decoder.get("model_type") if isinstance(decoder, Mapping) else None
    if model_type is None or not task.endswith(PAST):
        return
    if not any(known.endswith(PAST) for known in exporter.tasks_of(model_type)):
        yield Fault(
            code="OB640",
            field="exporter",
            message=f"`optimum` exports the decoder of the model, a {model_type}, without a past",
            hint=f"set `task: {task.removesuffix(PAST)}`, which computes the whole text again for each token",
        )


def _version_fault(exporter: Exporter, package: str, version: str, context: Context) -> Fault:
    lowest, below = exporter.needs[package]
    fitting = [one.name for one in EXPORTERS.values() if one.lacks(context.versions) is None and _suits(one, context)]
    other = f"{recommended(fitting[0], context.versions)} works with that version, or " if fitting else ""
    return Fault(
        code="OB105",
        field="exporter",
        message=f"`{exporter.name}` needs {package} from {lowest} and below {below}, this toolchain has {version}",
        hint=f"{other}give the model a toolchain with a suitable {package}: see how-to/toolchains in the documentation",
    )


def _missing_exporter(exporter: Exporter) -> Fault:
    return Fault(
        code="OB637",
        field="exporter",
        message=f"the toolchain does not have `{exporter.name}`",
        hint=f"add `{exporter.requirement}` to the `requirements` of the toolchain",
    )


def _suits(exporter: Exporter, context: Context) -> bool:
    """Whether an exporter knows the model, or what the model is is not known."""
    model_type, task = _model_type(context), context.task or ""
    return not model_type or task not in TASKS or exporter.knows(model_type, task)


def _check_opset(params: ExportParams, opsets: tuple[int, int]) -> Iterable[Fault]:
    lowest, highest = opsets
    if not lowest <= params.opset <= highest:
        yield Fault(
            code="OB308",
            field="opset",
            message=f"opset {params.opset} cannot be exported: expected {lowest} to {highest}",
            hint="18 is the default; from 20 on Gelu is one operator",
        )


def _check_fields(params: ExportParams, exporter: Exporter) -> Iterable[Fault]:
    """Fields that this exporter does not read, and values that it cannot write."""
    if params.dtype not in exporter.dtypes:
        yield Fault(
            code="OB325",
            field="dtype",
            message=f"`{exporter.name}` does not export `dtype: {params.dtype}`",
            hint=f"one of {', '.join(exporter.dtypes)}; a target's `quantize:` makes {params.dtype} of an fp32 export",
        )
    unread = [field for field in _GENAI_FIELDS if getattr(params, field) is not UNSET and exporter.name != "genai"]
    others = exporter.name in OF_OTHER_LIBRARIES
    if (others or params.library == "sentence_transformers") and not _loads(exporter, params.library):
        unread.append("library")
    if params.attention != "auto" and exporter.name in (*_BARE, *OF_OTHER_LIBRARIES):
        unread.append("attention")
    unread += [field for field in _OF_TRANSFORMERS if others and getattr(params, field) is not UNSET]
    for field in unread:
        yield Fault(code="OB325", field=field, message=f"`{field}` has no effect with `exporter: {exporter.name}`")


def _loads(exporter: Exporter, library: str) -> bool:
    """Whether an exporter loads checkpoints with a library."""
    if exporter.name in OF_OTHER_LIBRARIES:
        return library in {"auto", exporter.name}
    return exporter.name not in _BARE


def _check_pooling(params: ExportParams, context: Context, exporter: Exporter) -> Iterable[Fault]:
    """sentence-transformers loads a checkpoint with its pooling; without the library the bare encoder is exported."""
    if exporter.name in (*_BARE, *OF_OTHER_LIBRARIES):
        return
    sentences = replace(params, task=context.task or "", exporter=exporter.name)
    if params.library == "sentence_transformers" and context.task in TASKS and context.task not in SENTENCE_TASKS:
        yield Fault(
            code="OB325",
            field="library",
            message=f"`library: sentence_transformers` exports sentence vectors, not `{context.task}`",
            hint=f"set `task:` to one of {', '.join(SENTENCE_TASKS)}, or leave `library:` out",
        )
    elif pooling_of(context.task) == "always" and _may_pool(sentences) and _lacks(context, "sentence-transformers"):
        yield Fault(
            code="OB105",
            field="library",
            message="the task needs sentence-transformers to load its pooling, and this toolchain lacks it",
            hint="add it to the toolchain, or write `export: {library: transformers}` for the bare encoder",
        )


def _lacks(context: Context, package: str) -> bool:
    return context.versions.get(package) == "absent"


def _unknown_model(params: ExportParams, context: Context, exporter: Exporter, model_type: str, task: str) -> Fault:
    """A model type or a task that the table lacks. No exporter knows a type that a checkpoint's own code defines."""
    tasks = exporter.tasks_of(model_type)
    other = _other_exporter(context, exporter, model_type, task)
    failing = exporter.failing(model_type, task)
    if failing is not None:
        return Fault(
            code="OB638",
            field="exporter",
            message=f"`{exporter.name}` does not export {model_type} right for `{task}`: {failing}",
            hint=other or _other_task(context, model_type) or _by_hand(model_type, task),
        )
    if tasks:
        return Fault(
            code="OB302",
            message=f"`{exporter.name}` does not export {model_type} for `{task}`",
            hint=other or f"set `task:` to one of {', '.join(sorted(tasks))}",
        )
    own = _has_code(context)
    if own and not params.trusts_code:
        return Fault(
            code="OB201",
            message=f"the checkpoint comes with its own Python code for the model type `{model_type}`",
            hint="read it, then write `export: {trust_remote_code: true}`, and the commit in `source:`",
        )
    known = knows_type(model_type)
    near = did_you_mean(model_type, _model_types()) if not known else _other_task(context, model_type)
    return Fault(
        code="OB301",
        field="exporter",
        of_source=other is None and near is not None and not known and not own,
        severity="warning" if own and params.trusts_code else "error",
        message=f"`{exporter.name}` does not know the model type `{model_type}`",
        hint=other or near or _by_hand(model_type, task),
    )


def _by_hand(model_type: str, task: str) -> str:
    """A custom exporter as the way out, with what each exporter lacks if at least one knows the type."""
    why = f"no exporter can ({what_each_lacks(model_type, task)}): " if knows_type(model_type) else ""
    return f"{why}write {_OWN} with a function that exports it"


def _other_exporter(context: Context, exporter: Exporter, model_type: str, task: str) -> str | None:
    """The exporter that knows the model where this one does not; first those that the toolchain can run."""
    others = [one for one in EXPORTERS.values() if one is not exporter and one.knows(model_type, task)]
    others.sort(key=lambda one: (one.lacks(context.versions) is not None, one.is_missing(context.versions)))
    return f"the model exports with {recommended(others[0].name, context.versions)}" if others else None


def _other_task(context: Context, model_type: str) -> str | None:
    """A task for which an exporter knows the model; first those that the toolchain can run."""
    able = sorted(EXPORTERS.values(), key=lambda one: one.lacks(context.versions) is not None)
    known = next(((one.name, tasks[0]) for one in able if (tasks := one.tasks_of(model_type))), None)
    return f"the model exports for `{known[1]}` with {recommended(known[0], context.versions)}" if known else None


def _packages(params: ExportParams) -> tuple[str, ...]:
    exporter = EXPORTERS.get(params.exporter)
    packages = exporter.packages if exporter is not None else OWN_PACKAGES
    loader = ("sentence-transformers",) if _may_pool(params) else ()
    converter = ("onnxruntime",) if params.dtype == "fp16" and "onnxruntime" not in packages else ()
    return (*packages, *loader, *converter)


def _may_pool(params: ExportParams) -> bool:
    """Whether sentence-transformers may load the checkpoint: it does if the folder is a sentence-transformer."""
    if params.library != "auto":
        return params.library == "sentence_transformers"
    return params.exporter == "optimum" or (params.exporter == "transformers" and params.task in SENTENCE_TASKS)


EXPORT = Kind(
    name="export",
    version=4,
    params=ExportParams,
    inputs={"model": "checkpoint"},
    outputs={"model": "onnx"},
    worker="onnxbuild.workers.export.worker:run",
    pure=True,
    warms=("torch", "transformers", "onnxbuild.workers.validate.worker"),
    runs_code=lambda params: is_own(str(params.get("exporter", ""))),
    packages=_packages,
    resolve=_resolve,
    check=_check,
    precision_after=lambda params, _context: params.dtype,
    memory_factor=6.0,
)
