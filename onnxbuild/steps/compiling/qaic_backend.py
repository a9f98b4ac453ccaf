"""compile qaic: Qualcomm Cloud AI 100, decoders that keep their cache on the card, and encoders with pooling."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from onnxbuild.needs.devices import CARD_TOOL
from onnxbuild.needs.step_needs import PROGRAM
from onnxbuild.steps.compiling.backend_kind import COMPILE, HOST_DOUBLE, KEY, Backend, CompileParams, check_device
from onnxbuild.steps.kind import Context, Fault
from onnxbuild.tables.compiling.cloud_ai_families import DECODERS, ENCODERS, rope_that_varies
from onnxbuild.tables.compiling.cloud_ai_sdks import OWN_OPTIONS, PARTITIONS, SDKS, flag_of
from onnxbuild.tables.tasks import family_of, pooling_of

QEFFICIENT = "QEfficient"  # the distribution

_CORES = 16  # of one device
_OF_DECODERS = ("prefill_seq_len", "prompt_len", "ctx_len", "full_batch_size", "mxint8_kv")
_OF_ENCODERS = ("seq_len", "pooling")
# Kinds before `compile` that change nothing in the checkpoint, from which the graph is written.
_HARMLESS = frozenset({"fetch", "prepare", "export"})


class QaicParams(CompileParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The shapes of the program, the cores and cards that it runs on, and what the compiler makes smaller."""

    producer: Annotated[
        Literal["onnxbuild", "qefficient"],
        Meta(description="what writes the graph: onnxbuild, or the package QEfficient of the model's toolchain"),
    ] = "onnxbuild"
    prefill_seq_len: Annotated[int, Meta(description="tokens of a prompt that one run reads")] = 32
    prompt_len: Annotated[int | UnsetType, Meta(description="another name of `prefill_seq_len`")] = UNSET
    ctx_len: Annotated[int, Meta(description="tokens that the cache holds, of prompt and answer")] = 128
    batch_size: Annotated[int, Meta(description="texts that run side by side, from the first token to the last")] = 1
    full_batch_size: Annotated[
        int | UnsetType,
        Meta(description="rows of the cache for continuous batching: a text that ends makes room for the next one"),
    ] = UNSET
    seq_len: Annotated[tuple[int, ...], Meta(description="lengths that an encoder is compiled for, in tokens")] = (128,)
    pooling: Annotated[
        Literal["auto", "mean", "cls", "max", "none"],
        Meta(description="what an encoder makes of its tokens; `auto`: what `modules.json` says, or else nothing"),
    ] = "auto"
    num_cores: Annotated[int, Meta(description="cores of each device, up to 16")] = 16
    num_devices: Annotated[int, Meta(description="devices that share each tensor")] = 1
    mxfp6: Annotated[bool, Meta(description="weights of matrix products in MXFP6")] = False
    mxint8_kv: Annotated[bool, Meta(description="the cache in MXINT8 instead of fp16")] = False
    hw_version: Annotated[Literal["ai100", "ai200"], Meta(description="the hardware")] = "ai100"
    sdk: Annotated[
        Literal["1.17", "1.18", "1.19", "1.20", "1.21", "1.22", "1.23"],
        Meta(description="version of the Cloud AI SDK that compiles"),
    ] = "1.23"
    options: Annotated[
        Mapping[str, bool | int | str],
        Meta(
            description="further options of the compiler: `true` is a flag, other values follow `=`",
            examples=[{"aic_enable_depth_first": True}, {"mos": 1}],
        ),
    ] = {}

    @property
    def chunk(self) -> int:
        """Tokens of a prompt that one run reads, by whichever name."""
        return self.prefill_seq_len if self.prompt_len is UNSET else self.prompt_len


def _resolve(params: QaicParams, context: Context) -> QaicParams:
    """Fold `prompt_len` into `prefill_seq_len`; set what the family of the model does not read to its default."""
    default = QaicParams()
    folded = msgspec.structs.replace(params, prefill_seq_len=params.chunk, prompt_len=UNSET)
    unread = _OF_ENCODERS if context.family == "decoder" else _OF_DECODERS
    return msgspec.structs.replace(folded, **{name: getattr(default, name) for name in unread})


def _check(params: QaicParams, context: Context) -> Iterable[Fault]:
    yield from check_device("qaic", context)
    yield from _check_source(params, context)
    yield from _check_producer(params, context)
    yield from _check_numbers(params)
    yield from _check_place(params, context)
    yield from _check_options(params)
    yield from (_check_lengths if context.family == "decoder" else _check_texts)(params, context)


def _check_source(params: QaicParams, context: Context) -> Iterator[Fault]:
    """OB810 for a model that this producer cannot write, OB811 for a graph that was changed before."""
    changed = [kind for kind in context.previous if kind not in _HARMLESS and not kind.startswith(COMPILE)]
    if changed:
        message = f"`{changed[0]}` has no effect: the graph for Cloud AI 100 is written from the checkpoint"
        hint = f"remove `{changed[0]}`; the compiler computes in fp16, and `mxfp6: true` makes the weights smaller"
        yield Fault(code="OB811", message=message, hint=hint)
    if context.reference != "checkpoint":
        message = "the graph for Cloud AI 100 is written from a checkpoint, and the source is an ONNX model"
        yield Fault(code="OB810", message=message, hint="name the checkpoint as the `source`", of_source=True)
        return
    if context.family == "encoder-decoder":
        yield Fault(
            code="OB810", message=f"task `{context.task}` has an encoder and a decoder, and qaic takes one graph"
        )
    if context.family == "encoder" and context.task is not None and pooling_of(context.task) == "never":
        message = f"task `{context.task}` has a head, and the graph of an encoder for Cloud AI 100 ends before it"
        hint = "compile a model of vectors, or this one with another backend"
        yield Fault(code="OB810", field="backend", message=message, hint=hint)
    kind = (context.config or {}).get("model_type")
    known = DECODERS if context.family == "decoder" else ENCODERS
    if params.producer != "onnxbuild" or context.family == "encoder-decoder" or kind is None:
        return
    if kind not in known:
        message = f"onnxbuild cannot write a graph of `{kind}` for Cloud AI 100"
        hint = f"it can for {', '.join(sorted(known))}; or write `producer: qefficient`"
        yield Fault(code="OB810", field="producer", message=message, hint=hint)
    rope = rope_that_varies(context.config or {})
    if rope is not None:
        message = f"`rope_scaling` of type `{rope}` depends on the length of the text, and the graph has one length"
        yield Fault(code="OB810", field="producer", message=message, hint="write `producer: qefficient`")


def _check_producer(params: QaicParams, context: Context) -> Iterator[Fault]:
    """OB815 for a toolchain that lacks QEfficient; whether this interpreter has it is what OB340 looks at."""
    if params.producer == "qefficient" and context.versions.get(QEFFICIENT) == "absent":
        message = f"the model's toolchain does not have `{QEFFICIENT}`, which `producer: qefficient` runs"
        hint = "name an interpreter that has it as the `python:` of the toolchain: it is not on PyPI"
        yield Fault(code="OB815", field="producer", message=message, hint=hint)


def _check_numbers(params: QaicParams) -> Iterator[Fault]:
    """OB812 for numbers below 1, and for more cores than a device has."""
    names = ("prefill_seq_len", "prompt_len", "ctx_len", "batch_size", "full_batch_size", "num_cores", "num_devices")
    for name in names:
        value = getattr(params, name)
        if value is not UNSET and value < 1:
            yield Fault(code="OB812", field=name, message=f"`{name}` expects a number from 1")
    if not params.seq_len or min(params.seq_len) < 1 or len(set(params.seq_len)) < len(params.seq_len):
        yield Fault(code="OB812", field="seq_len", message="`seq_len` expects different numbers from 1")
    if params.num_cores > _CORES:
        message = f"`num_cores: {params.num_cores}` is more than the {_CORES} cores of a device"
        hint = f"write `num_cores: {_CORES}`; `num_devices` adds devices"
        yield Fault(code="OB812", field="num_cores", message=message, hint=hint)


def _check_lengths(params: QaicParams, context: Context) -> Iterator[Fault]:
    """OB812 where a chunk leaves no room for an answer, or the cache is longer than the model."""
    field = "prefill_seq_len" if params.prompt_len is UNSET else "prompt_len"
    if params.ctx_len <= params.chunk:
        message = f"a prompt of {params.chunk} tokens fills a cache of {params.ctx_len}"
        hint = "raise `ctx_len`, or read the prompt in smaller chunks"
        yield Fault(code="OB812", field=field if field in context.written else "ctx_len", message=message, hint=hint)
    if context.positions is not None and params.ctx_len > context.positions:
        message = f"a cache of {params.ctx_len} tokens is longer than {context.limit}"
        yield Fault(code="OB812", field="ctx_len", message=message, hint=f"write `ctx_len: {context.positions}`")


def _check_texts(params: QaicParams, context: Context) -> Iterator[Fault]:
    """OB812 where an encoder is compiled for more tokens than it has positions."""
    longest = max(params.seq_len, default=0)
    if context.positions is not None and longest > context.positions:
        message = f"`seq_len` has {longest} tokens, and that is longer than {context.limit}"
        yield Fault(code="OB812", field="seq_len", message=message, hint=f"use at most {context.positions}")


def _check_place(params: QaicParams, context: Context) -> Iterator[Fault]:
    """OB813 for params that exclude each other, or that another family of models reads."""
    if {"prefill_seq_len", "prompt_len"} <= context.written and params.prompt_len != params.prefill_seq_len:
        message = "`prompt_len` and `prefill_seq_len` are two names for the same number"
        yield Fault(code="OB813", field="prompt_len", message=message, hint="remove one of them")
    if params.full_batch_size is not UNSET and params.batch_size != 1:
        message = "`batch_size` has no effect with `full_batch_size`: each prompt is read alone"
        yield Fault(code="OB813", field="batch_size", message=message, hint="remove one of them")
    if params.hw_version not in SDKS[params.sdk].hardware:
        message = f"the SDK {params.sdk} compiles for ai100 only"
        yield Fault(
            code="OB813", field="hw_version", message=message, hint="write `sdk: 1.21` or a later one, in quotes"
        )
    is_decoder = context.family == "decoder"
    for name in _OF_ENCODERS if is_decoder else _OF_DECODERS:
        if name in context.written:
            what = "a decoder" if is_decoder else "an encoder"
            yield Fault(code="OB813", field=name, message=f"`{name}` has no effect on {what}", hint="remove it")


def _check_options(params: QaicParams) -> Iterator[Fault]:
    """OB814 for options that onnxbuild writes itself, OB813 for those of several devices with one."""
    for name in params.options:
        flag = flag_of(name)
        if flag in OWN_OPTIONS:
            param = OWN_OPTIONS[flag]
            message = f"onnxbuild writes the option `{name}` of the compiler itself"
            hint = f"write `{param}:` in `{KEY}:` instead" if param else "remove it: no param changes it"
            yield Fault(code="OB814", field="options", message=message, hint=hint)
        elif flag.startswith(PARTITIONS) and params.num_devices == 1:
            message = f"`{name}` spreads a program over devices, and there is one"
            hint = f"remove it, or raise `num_devices` in `{KEY}:`"
            yield Fault(code="OB813", field="options", message=message, hint=hint)


def compiler_of(params: QaicParams) -> str:
    """The program that compiles."""
    return SDKS[params.sdk].program


def _packages(params: QaicParams) -> tuple[str, ...]:
    own = (QEFFICIENT,) if params.producer == "qefficient" else ()
    return (*own, "torch", "transformers", "onnx")


def _limits(params: QaicParams) -> Mapping[str, int]:
    """The tokens of a text that the program takes."""
    if family_of(params.task) == "decoder":
        return {"ctx_len": params.ctx_len}
    return {"seq_len": max(params.seq_len, default=1)}


QAIC = Backend(
    name="qaic",
    summary="Qualcomm Cloud AI 100: decoders with a cache on the card, and encoders with pooling",
    version=2,
    params=QaicParams,
    worker="onnxbuild.workers.compile.qaic.qaic_worker:run",
    engine="onnxbuild.workers.compile.qaic.qaic_engine:QaicModel",
    verified_on=HOST_DOUBLE,
    packages=_packages,
    compiler=lambda params: (f"{PROGRAM}{compiler_of(params)}",),
    runs_with=lambda _params: ("onnxruntime",),
    runs_better_with=lambda _params: (f"{PROGRAM}{CARD_TOOL}",),
    starts_from="checkpoint",
    limits=_limits,
    optional={"producer: qefficient": QEFFICIENT},
    resolve=_resolve,
    check=_check,
    precision_after=lambda _params, _context: "fp16",  # in which the card computes
    pure=True,
)
