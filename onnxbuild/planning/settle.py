"""From a block of the manifest to the params of one step: converted, checked and resolved by its kind."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.diagnostics import Diagnostic, Span, did_you_mean, fault, nearest
from onnxbuild.manifest.document import Table
from onnxbuild.manifest.spec import Dataset
from onnxbuild.planning.dataset_sources import DatasetReader
from onnxbuild.steps import Kinds
from onnxbuild.steps.dataset_rows import Rows
from onnxbuild.steps.kind import Context, Fault, Kind, spelled_out


class Step(Struct, frozen=True):
    """A block of one step kind, and where its key stands."""

    kind: str
    block: Any
    key_at: Span
    value_at: Span


class Settled(Struct, frozen=True):
    """Params as a kind resolved them: the Struct, and its plain form."""

    params: Any
    plain: Mapping[str, Any]


class Settler:
    """Settles steps. What is settled once serves every step with the same block and the same context.

    Targets that a thousand models share hold one block each, and a check looks at the same values for most of them.
    """

    def __init__(
        self, kinds: Kinds, datasets: Mapping[str, Dataset], reader: DatasetReader, faults: list[Diagnostic]
    ) -> None:
        self._kinds, self._datasets, self._reader, self._faults = kinds, datasets, reader, faults
        self._settled: dict[tuple[Any, ...], Settled] = {}

    def settle(self, step: Step, context: Context, *, unlocked: bool) -> Settled | None:
        """The step's params, resolved and checked; None after an error."""
        key = (step.kind, _identity(step.block), *_what_matters(context), unlocked)
        if key in self._settled:
            return self._settled[key]
        faults = len(self._faults)
        settled = self._settle_anew(step, context, unlocked=unlocked)
        # What has faults is settled anew each time, for their places differ.
        if settled is not None and len(self._faults) == faults:
            self._settled[key] = settled
        return settled

    def _settle_anew(self, step: Step, context: Context, *, unlocked: bool) -> Settled | None:
        kind = self._kinds[step.kind]
        block = spelled_out(kind.params, step.block)
        try:
            params = msgspec.convert(block, kind.params)
        except msgspec.ValidationError as error:
            self._faults.append(fault("OB011", f"`{step.kind}`: {error}", span=step.value_at))
            return None
        context = msgspec.structs.replace(context, written=frozenset(block))
        if not self._passes(kind, params, step, context, unlocked=unlocked):
            return None
        with_rows = self._with_rows(kind, params, step, context)
        if with_rows is None:
            return None
        resolved = kind.resolve(with_rows, context)
        return Settled(resolved, as_json(resolved))

    def _passes(self, kind: Kind, params: Any, step: Step, context: Context, *, unlocked: bool) -> bool:
        """Whether the kind's check finds no error in the params as written.

        They are not resolved yet: that sets what the chosen method does not read to its default.
        """
        # A missing task is no fault of a model that was never looked at: OB101 asks to lock it.
        faults = [one for one in kind.check(params, context) if not (unlocked and one.code == "OB303")]
        self._faults.extend(_located(one, step) for one in faults)
        return not any(one.severity == "error" for one in faults)

    def _with_rows(self, kind: Kind, params: Any, step: Step, context: Context) -> Any:
        """The params with the rows of the dataset that they name; None after a fault."""
        name = getattr(params, "dataset", "")
        if not name:
            return params
        dataset = self._datasets.get(name)
        if dataset is None:
            at = step.block.value_span("dataset") if isinstance(step.block, Table) else step.value_at
            hint = did_you_mean(name, self._datasets) or "define it under `datasets:`"
            self._faults.append(fault("OB004", f"dataset `{name}` is not defined", span=at, hint=hint))
            return None
        rows = Rows(columns=dataset.columns, limit=dataset.limit, seed=dataset.seed)
        with_rows = msgspec.structs.replace(params, rows=rows)
        faults = list(self._missing_columns(dataset, kind.columns(with_rows, context)))
        self._faults.extend(faults)
        return None if faults else with_rows

    def _missing_columns(self, dataset: Dataset, roles: tuple[str, ...]) -> Iterator[Diagnostic]:
        columns = self._reader.columns(dataset)
        if columns is None:
            return
        for role in roles:
            column = dataset.columns.get(role, role)
            if column not in columns:
                near = nearest(column, columns)
                has = "" if near is not None else f"{_listed(columns)}; "
                hint = f"{has}write `columns: {{{role}: {near or '…'}}}` in the dataset"
                message = f"the dataset `{dataset.name}` has no column `{column}`"
                yield fault("OB621", message, span=dataset.span, hint=hint)


def _listed(columns: tuple[str, ...]) -> str:
    return f"it has {', '.join(f'`{one}`' for one in columns)}" if columns else "no column is in all of its rows"


class _Same:
    """A value as the key of a dict: equal to itself alone. It keeps the value, so that its id stays taken."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)


def _identity(block: Any) -> Any:
    """What stands for a block in a key: the block itself where it is a mapping, else its value; all empty are equal."""
    return block if not isinstance(block, dict) else _Same(block) if block else None


def _what_matters(context: Context) -> tuple[Any, ...]:
    """What distinguishes the contexts of one expansion, as a key."""
    return (
        context.task, context.precision, context.previous, context.reference, context.device, context.trusts_code,
        _Same(context.config), _Same(context.versions),
    )  # fmt: skip


def as_json(params: Any) -> Mapping[str, Any]:
    """Params as they come back from a trace: lists, no tuples, so that the two compare equal."""
    plain: Mapping[str, Any] = msgspec.json.decode(msgspec.json.encode(params))
    return plain


def _located(problem: Fault, step: Step) -> Diagnostic:
    span, field, block = step.key_at, problem.field, step.block
    if field is not None and not isinstance(block, dict):  # the short form
        span = step.value_at
    elif field is not None and isinstance(block, Table) and field in block:
        span = _within(block[field], problem.message) or block.value_span(field)
    return fault(problem.code, problem.message, span=span, hint=problem.hint, severity=problem.severity)


def _within(value: Any, message: str) -> Span | None:
    """The place of the key inside a field that a message names."""
    named = [key for key in value if f"`{key}`" in message] if isinstance(value, Table) else []
    return value.key_span(named[0]) if named else None
