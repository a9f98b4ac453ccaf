"""validate: proves a variant against the reference: the PyTorch model in fp32, or the ONNX model that it came from."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from onnxbuild.steps.dataset_rows import (
    DerivedRows,
    Rows,
    RowSeed,
    Samples,
    Sequence,
    check_call,
    check_counts,
    check_cut,
    check_length,
)
from onnxbuild.steps.kind import (
    Context,
    Fault,
    Kind,
    Library,
    OpeningParams,
    RunsWith,
    TargetDevice,
    compared_by,
    library_of,
    trusted,
)
from onnxbuild.tables.bounds.figure_names import figure_hint
from onnxbuild.tables.bounds.labels_of_rows import LABEL, ROLES_OF_ANSWERS, why_unmeasured
from onnxbuild.tables.bounds.metric import Metric
from onnxbuild.tables.bounds.written_bound import FORMS, written_bound
from onnxbuild.tables.choices import bound_hint
from onnxbuild.tables.tasks import TEXT, file_role, has_labels, reads_text_rows, row_columns
from onnxbuild.tables.thresholds import METRICS, default_bounds, is_default

# An editor completes and explains the names of metrics.
_METRIC_KEYS = {
    name: {"anyOf": [{"type": "number"}, {"type": "string"}], "description": metric.meaning}
    for name, metric in METRICS.items()
}


class ValidateParams(OpeningParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to compare, and which differences to accept."""

    DERIVED: ClassVar[tuple[str, ...]] = (
        "task",
        "precision",
        "device",
        "library",
        "runtime",
        "rows",
        "trust_remote_code",
        "insisted",
    )

    task: Annotated[str, Meta(description="the model's task")] = ""
    precision: Annotated[str, Meta(description="precision of the variant")] = "fp32"
    device: TargetDevice = UNSET
    library: Library = UNSET
    runtime: RunsWith = UNSET
    shapes: Annotated[
        tuple[tuple[int, int], ...],
        Meta(
            description="pairs of batch (samples) and sequence (tokens); rows are padded to unequal lengths",
            examples=[[[1, 16], [4, 128]]],
        ),
    ] = ((1, 8), (1, 64), (4, 32))
    # Left out of a key where it is unset.
    max_length: Annotated[
        Annotated[int, Meta(ge=1)] | UnsetType,
        Meta(
            description="the longest row in tokens that is compared; without it, the model's config, its positions and"
            " the memory decide"
        ),
    ] = UNSET
    dataset: Annotated[
        str, Meta(description="name of a dataset whose rows replace the sentences that come with onnxbuild")
    ] = ""
    samples: Samples = 200
    sequence: Sequence = 128
    seed: RowSeed = 0
    thresholds: Annotated[
        Mapping[str, float | str],
        Meta(
            description="bounds by metric, over the defaults for the task and the precision: a number, or text such as"
            " `>= fp32 - 0.01`, which is relative to the reference",
            examples=[{"cosine_mean": 0.98}, {"accuracy": ">= fp32 - 0.01"}],
            extra_json_schema={"properties": _METRIC_KEYS},
        ),
    ] = {}
    on_failure: Annotated[
        Literal["fail", "warn"], Meta(description="`warn` records a failed check and lets the run continue")
    ] = "fail"
    rows: DerivedRows = Rows()
    # Left out of a key where it is unset.
    insisted: Annotated[
        tuple[str, ...] | UnsetType,
        Meta(description="metrics of `thresholds` whose bound was written, although it is a default"),
    ] = UNSET

    @property
    def numbers(self) -> Mapping[str, float]:
        """The bounds that are numbers."""
        return {name: bound for name, bound in self.thresholds.items() if not isinstance(bound, str)}

    @property
    def texts(self) -> Mapping[str, str]:
        """The bounds that are written as text."""
        return {name: bound for name, bound in self.thresholds.items() if isinstance(bound, str)}

    @property
    def written(self) -> frozenset[str]:
        """The metrics that the manifest bounds, rather than a default."""
        insisted = () if self.insisted is UNSET else self.insisted
        own = (name for name, bound in self.thresholds.items() if not is_default(name, bound, self.precision))
        return frozenset((*insisted, *own))

    @property
    def longest(self) -> int | None:
        """The longest row in tokens, None if the model decides."""
        return None if self.max_length is UNSET else self.max_length

    @property
    def reads_labels(self) -> bool:
        """Whether rows hold the right answer, so that the accuracy of both sides can be measured."""
        return has_labels(self.task) and LABEL in self.rows.columns


def _resolve(params: ValidateParams, context: Context) -> ValidateParams:
    task = context.task or ""
    settled = msgspec.structs.replace(
        params,
        task=task,
        precision=context.precision,
        device=context.target_device,
        max_length=_shorter(params.max_length, context.max_length),
        trust_remote_code=trusted(context),
        library=library_of(context.config),
        runtime=context.runtime,
    )
    bounds = default_bounds(
        task,
        context.config,
        context.precision,
        has_labels=settled.reads_labels,
        has_rows=bool(params.dataset),
    )
    written = params.thresholds.items()
    insisted = tuple(sorted(name for name, bound in written if is_default(name, bound, context.precision)))
    return msgspec.structs.replace(settled, thresholds={**bounds, **params.thresholds}, insisted=insisted or UNSET)


def _shorter(one: int | UnsetType, other: int | None) -> int | UnsetType:
    lengths = [length for length in (one, other) if isinstance(length, int)]
    return min(lengths) if lengths else UNSET


def _check(params: ValidateParams, context: Context) -> Iterable[Fault]:
    yield from _check_thresholds(params)
    for batch, sequence in params.shapes:
        if batch < 1 or sequence < 1:
            yield Fault(code="OB611", field="shapes", message=f"shape [{batch}, {sequence}] is empty")
        yield from check_call("shapes", batch, sequence)
    if "shapes" in context.written:  # the default shapes are cut to what the model takes
        yield from check_length("shapes", max((sequence for _, sequence in params.shapes), default=1), context)
    yield from check_counts(params)
    yield from _check_dataset(params, context)


def _check_thresholds(params: ValidateParams) -> Iterable[Fault]:
    """OB610 for an unknown metric, OB642 for a bound outside of what a metric can be."""
    for name, bound in params.thresholds.items():
        metric = METRICS.get(name)
        if metric is None:
            hint = figure_hint(name, METRICS)
            yield Fault(code="OB610", field="thresholds", message=f"unknown metric `{name}`", hint=hint)
        elif isinstance(bound, str):
            yield from _check_text(name, bound, metric)
        elif not metric.least <= bound <= metric.most:
            message = f"`{name}: {bound}` is outside of what `{name}` can be: {_range_of(metric)}"
            yield Fault(code="OB642", field="thresholds", message=message, hint=f"it is the {metric.meaning}")


def _check_text(name: str, text: str, metric: Metric) -> Iterable[Fault]:
    """OB660 for a text that writes no bound, OB661 for one relative to a reference that has no value."""
    bound = written_bound(text)
    if bound is None:
        yield Fault(
            code="OB660",
            field="thresholds",
            message=f"`{name}` is bounded by `{text}`, which is no bound",
            hint=bound_hint(name, text) or f"write {FORMS}",
        )
    elif bound.side != metric.side:
        sign = ">=" if metric.side == "min" else "<="
        message = f"`{name}` is bounded by `{text}`, which accepts what is worse: {metric.meaning}"
        yield Fault(code="OB660", field="thresholds", message=message, hint=f"begin with `{sign}`")
    elif bound.is_relative and not metric.both_sides:
        message = f"`{name}` compares the variant with the reference, so the reference has no `{name}` of its own"
        yield Fault(code="OB661", field="thresholds", message=message, hint="write a number")
    elif not bound.is_relative and not metric.least <= bound.amount <= metric.most:
        message = f"`{name}: {text}` is outside of what `{name}` can be: {_range_of(metric)}"
        yield Fault(code="OB642", field="thresholds", message=message, hint=f"it is the {metric.meaning}")


def _range_of(metric: Metric) -> str:
    least = f"{metric.least:g}"
    return f"{least} or more" if metric.most == math.inf else f"{least} to {metric.most:g}"


def _check_dataset(params: ValidateParams, context: Context) -> Iterable[Fault]:
    if params.dataset:
        yield from check_cut(params, context)
    else:
        yield from _check_unread(params, context)
    if params.dataset and not reads_text_rows(context.task) and not file_role(context.task):
        message = f"the rows of a dataset are text, which the task `{context.task}` does not read"
        yield Fault(code="OB615", field="dataset", message=message, hint="remove `dataset`: seeded values are used")
    may_have_labels = context.task is None or has_labels(context.task)
    if "accuracy_drop" in params.thresholds and not (params.dataset and may_have_labels):
        message = "`accuracy_drop` needs a classifier of text or images, and a dataset with labels"
        is_classifier = has_labels(context.task)
        hint = "name a dataset with `columns: {label: …}`" if is_classifier else "remove it"
        yield Fault(code="OB615", field="thresholds", message=message, hint=hint)
    roles = dict.fromkeys(ROLES_OF_ANSWERS, "")  # which columns the dataset has is not known yet
    yield from _unmeasured(params, context, params.thresholds.keys() - {"accuracy_drop"}, roles)


def _check_rows(params: ValidateParams, context: Context) -> Iterable[Fault]:
    """OB615 for bounds on right answers that the dataset does not name. Texts have a column of this name by default."""
    roles = {TEXT: "", **params.rows.columns}
    yield from _unmeasured(params, context, params.thresholds.keys(), roles)


def _unmeasured(
    params: ValidateParams, context: Context, metrics: Collection[str], roles: Mapping[str, str]
) -> Iterable[Fault]:
    for name in sorted(metrics):
        missing = why_unmeasured(name, context.task or "", context.config, params.dataset, roles)
        if missing is not None:
            message = f"`{name}` is bounded and will not be measured: {missing.why}"
            yield Fault(code="OB615", field="thresholds", message=message, hint=missing.hint)


def _check_unread(params: ValidateParams, context: Context) -> Iterable[Fault]:
    """OB615 for fields that choose rows of a dataset, if there is none."""
    for field in ("samples", "sequence"):
        is_given = field in context.written or getattr(params, field) != getattr(ValidateParams(), field)
        if is_given and getattr(params, field) >= 1:
            message = f"`{field}` has no effect without `dataset`"
            yield Fault(code="OB615", field=field, message=message, hint="it chooses rows of a dataset")


def _columns(params: ValidateParams, context: Context) -> tuple[str, ...]:
    roles = row_columns(context.task or "", params.rows.columns)
    return (*roles, LABEL) if has_labels(context.task) and LABEL in params.rows.columns else roles


# The last ones compute metrics; those of a task that needs them are measured as soon as they are installed.
_OF_METRICS = ("scipy", "scikit-learn", "seqeval", "sacrebleu", "rouge-score")
# Those that read files and transcripts, beside them.
_OF_FILES: Mapping[str, tuple[str, ...]] = {"audio": ("jiwer", "soundfile"), "image": ("pillow",)}


def _packages(params: ValidateParams) -> tuple[str, ...]:
    measures_files = params.dataset or any(METRICS[one].library == "jiwer" for one in params.thresholds)
    of_files = _OF_FILES.get(file_role(params.task), ()) if measures_files else ()
    return (*compared_by(params.library), *_OF_METRICS, *of_files)


VALIDATE = Kind(
    name="validate",
    version=7,
    params=ValidateParams,
    inputs={"model": "onnx", "reference": "checkpoint | onnx"},
    outputs={"report": "report"},
    worker="onnxbuild.workers.validate.worker:run",
    pure=True,
    packages=_packages,
    on_by_default=True,
    resolve=_resolve,
    check=_check,
    columns=_columns,
    check_rows=_check_rows,
    memory_factor=4.0,
)
