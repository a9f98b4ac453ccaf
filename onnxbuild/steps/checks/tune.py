"""tune: measures which settings of an ONNX Runtime session serve a variant best, for stated shapes and one goal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from onnxbuild.steps.dataset_rows import check_length
from onnxbuild.steps.kind import Context, Fault, Kind, OpeningParams, trusted
from onnxbuild.tables.choices import Condition, bound_hint, condition
from onnxbuild.tables.sessions.session_settings import SETTINGS, Name

Figure = Literal["latency.p50", "latency.p99", "cpu_time", "throughput"]
LARGER_IS_BETTER = frozenset({"throughput"})

_CALLS = 40  # timed calls of each session, shape and comparison
_CALLS_OF_P99 = 200
_LEAST_OF_P99 = 100  # with fewer calls, the 99th percentile is about the slowest one


class TuneParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which session settings a server should use: measured beside ONNX Runtime's defaults, on this machine."""

    SHORT_WORDS: ClassVar[Mapping[str, Mapping[str, Any]]] = {"best": {"only": "best"}}
    DERIVED: ClassVar[tuple[str, ...]] = ("task", "precision", "trust_remote_code")

    task: Annotated[str, Meta(description="the model's task")] = ""
    precision: Annotated[str, Meta(description="the precision of the graph")] = "fp32"
    batch: Annotated[tuple[int, ...], Meta(description="batch sizes, in samples", examples=[[1, 8]])] = (1,)
    sequence: Annotated[tuple[int, ...], Meta(description="sequence lengths, in tokens", examples=[[16, 128]])] = (128,)
    minimize: Annotated[
        Literal["latency.p50", "latency.p99", "cpu_time"] | UnsetType,
        Meta(description="figure to make small; without a goal it is `latency.p50`"),
    ] = UNSET
    maximize: Annotated[
        Literal["throughput"] | UnsetType,
        Meta(description="figure to make large: samples per second of one session that is called again and again"),
    ] = UNSET
    subject_to: Annotated[
        Mapping[Figure, str],
        Meta(
            description="conditions that every shape must fulfil, in milliseconds per call or samples per second",
            examples=[{"latency.p99": "<= 25"}],
        ),
    ] = {}
    settings: Annotated[
        tuple[Name, ...],
        Meta(
            description=f"settings to try: {', '.join(SETTINGS)}; all without it",
            examples=[["threads", "spinning"]],
        ),
    ] = ()
    threads: Annotated[
        tuple[int, ...],
        Meta(
            description="numbers of threads to try; by default the powers of two, the number of physical cores (on"
            " Linux), and that of all cores",
            examples=[[1, 2, 4]],
        ),
    ] = ()
    iterations: Annotated[
        int | UnsetType,
        Meta(
            description=f"timed calls of each session and shape in a comparison: {_CALLS}, or {_CALLS_OF_P99} for"
            " `latency.p99`"
        ),
    ] = UNSET
    rounds: Annotated[
        int,
        Meta(description="rounds in which the sessions take turns; a setting must be better than the default in each"),
    ] = 8
    warmup: Annotated[int, Meta(description="calls of each session before timing begins")] = 5
    seed: Annotated[int, Meta(description="seed of the inputs")] = 0
    # Planning follows it, and no key depends on it: a variant is tuned alike, whether or not others are.
    only: Annotated[
        Literal["best"] | UnsetType,
        Meta(description="`best`: tune only the variant that `select` chooses, once it is chosen; also `tune: best`"),
    ] = UNSET

    @property
    def goal(self) -> Figure:
        """The figure that is made small or large."""
        return self.maximize or self.minimize or "latency.p50"

    @property
    def figures(self) -> frozenset[Figure]:
        """The figures that matter."""
        return frozenset({self.goal, *self.subject_to})

    @property
    def calls(self) -> int:
        """Timed calls of each session and shape in a comparison."""
        if self.iterations is not UNSET:
            return self.iterations
        return _CALLS_OF_P99 if "latency.p99" in self.figures else _CALLS

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The conditions of a checked block."""
        read = (condition(figure, text) for figure, text in self.subject_to.items())
        return tuple(one for one in read if one is not None)


def _resolve(params: TuneParams, context: Context) -> TuneParams:
    return msgspec.structs.replace(
        params,
        task=context.task or "",
        precision=context.precision,
        sequence=_fitting(params.sequence, context),
        # Only the tokenizer can come with code.
        trust_remote_code=trusted(context),
        only=UNSET,
    )


def _fitting(lengths: tuple[int, ...], context: Context) -> tuple[int, ...]:
    """The default length is cut to what the model takes; a length that a person wrote is not."""
    if "sequence" in context.written or context.positions is None:
        return lengths
    longest = context.positions - (context.family == "decoder")  # a decoder needs one position for its next token
    return tuple(max(1, min(one, longest)) for one in lengths)


def _check(params: TuneParams, context: Context) -> Iterable[Fault]:
    yield from _check_goal(params)
    if context.device != "cpu":
        yield Fault(
            code="OB686",
            message=f"`tune` measures sessions on the CPU, and the target has `device: {context.device}`",
            hint="write `tune: false` in this target",
        )
    for field in ("batch", "sequence", "rounds", *(("iterations",) if params.iterations is not UNSET else ())):
        yield from _check_numbers(field, getattr(params, field))
    if params.threads:
        yield from _check_threads(params, context)
    if "sequence" in context.written:
        yield from check_length("sequence", max(params.sequence, default=1), context)


def _check_numbers(field: str, value: int | tuple[int, ...]) -> Iterator[Fault]:
    values = value if isinstance(value, tuple) else (value,)
    if not values or min(values) < 1:
        yield Fault(code="OB612", field=field, message=f"`{field}` expects numbers from 1, found {list(values)}")


def _check_threads(params: TuneParams, context: Context) -> Iterator[Fault]:
    yield from _check_numbers("threads", params.threads)
    if max(params.threads) > context.machine.cores:
        yield Fault(
            code="OB687",
            field="threads",
            message=f"{max(params.threads)} threads on {context.machine.cores} cores cannot run at the same time",
            hint=f"write at most {context.machine.cores}, or tune on the machine that serves",
        )
    if params.settings and "threads" not in params.settings:
        yield Fault(
            code="OB688",
            field="threads",
            severity="warning",
            message="`threads` has no effect: `settings` does not name it",
            hint="add `threads` to `settings`",
        )


def _check_goal(params: TuneParams) -> Iterator[Fault]:
    """OB685 for a goal or a condition that cannot be followed, OB688 for a percentile of too few calls."""
    if params.minimize and params.maximize:
        yield Fault(
            code="OB685",
            field="maximize",
            message="`tune` needs either `minimize` or `maximize`",
            hint="keep one goal, and bound the other figure in `subject_to`",
        )
    for figure, text in params.subject_to.items():
        example = ">= 20" if figure in LARGER_IS_BETTER else "<= 20"
        read = condition(figure, text)
        if read is None or read.operator[0] != example[0]:
            yield Fault(
                code="OB685",
                field="subject_to",
                message=f"`{figure}` expects a condition such as `{example}`, found `{text}`",
                hint=bound_hint(figure, text),
            )
    if "latency.p99" in params.figures and params.calls < _LEAST_OF_P99:
        yield Fault(
            code="OB688",
            field="iterations",
            severity="warning",
            message=f"the 99th percentile of {params.calls} calls is about their slowest one",
            hint=f"write at least `iterations: {_LEAST_OF_P99}`",
        )


TUNE = Kind(
    name="tune",
    version=1,
    params=TuneParams,
    inputs={"model": "onnx"},
    outputs={"settings": "settings"},
    worker="onnxbuild.workers.tune.worker:run",
    pure=True,
    packages=lambda _params: ("onnxruntime", "transformers"),
    pool="alone",
    measures=True,
    resolve=_resolve,
    check=_check,
    memory_factor=8.0,  # up to four sessions are open at once
)
