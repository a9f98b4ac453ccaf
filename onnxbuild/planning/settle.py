"""The steps of a target as written, and the params of each: converted, checked and resolved by its kind."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.diagnostics import Diagnostic, Span, did_you_mean, fault, nearest
from onnxbuild.manifest.document import Table, overlay
from onnxbuild.manifest.json_schema import place_of
from onnxbuild.manifest.spec import Dataset, Model, Target
from onnxbuild.planning.compiling.compiled_targets import after_compile, compile_kind
from onnxbuild.planning.datasets.dataset_sources import DatasetReader
from onnxbuild.steps import Kinds
from onnxbuild.steps.compiling.backend_kind import KEY
from onnxbuild.steps.dataset_rows import Rows
from onnxbuild.steps.kind import Context, Fault, Kind, Params, examples, spelled_out


class Step(Struct, frozen=True):
    """A block of one step kind, and the places of its key and value."""

    kind: str
    block: Any
    key_at: Span
    value_at: Span
    source_at: Span | None = None  # of the model, for the step that reads it


def target_steps(target: Target, kinds: Kinds, faults: list[Diagnostic]) -> Iterator[Step]:
    """The steps that make a target's graph, in order: `steps` as written, the short form in the kinds' order."""
    block = target.block
    written = [name for name in kinds if name in block and place_of(kinds[name]) == "target"]
    if "steps" not in block:
        for name in written:
            yield Step(name, block[name], *block_places(block, name, target.span))
        yield from _compile_steps(block, kinds, target.span, faults)
        return
    for name in (*written, *((KEY,) if KEY in block else ())):
        message = f"`{name}` next to `steps` has no place in the order"
        faults.append(fault("OB032", message, span=block.key_span(name), hint="put it into `steps`"))
    faults.extend(after_compile(target))
    for entry in block["steps"]:
        for name, value in entry.items():
            if name == KEY:
                yield from _compile_steps(entry, kinds, target.span, faults)
            else:
                yield Step(name, value, *block_places(entry, name, target.span))


def _compile_steps(holder: Table, kinds: Kinds, fallback: Span, faults: list[Diagnostic]) -> Iterator[Step]:
    """The step that compiles, if a block asks for one: its kind has the name of the backend."""
    block = holder.get(KEY)
    if block is None:
        return
    key_at, value_at = block_places(holder, KEY, fallback)
    kind = compile_kind(block, kinds, value_at)
    if isinstance(kind, Diagnostic):
        faults.append(kind)
    else:
        yield Step(kind, block if isinstance(block, Table) else {}, key_at, value_at)


def check_step(model: Model, target: Target, kind: Kind) -> Step | None:
    """The block of a check: the target's over the model's; `false` switches it off, `true` on with defaults."""
    of_model, of_target = model.block.get(kind.name), target.block.get(kind.name)
    holder, fallback = (target.block, target.span) if of_target is not None else (model.block, model.span)
    asked = of_target if of_target is not None else of_model
    if asked is False or (asked is None and not kind.on_by_default):
        return None
    places = block_places(holder, kind.name, fallback)
    if isinstance(of_target, Table) and isinstance(of_model, Table):
        return Step(kind.name, overlay(of_model, of_target), *places)
    if isinstance(of_target, str) and isinstance(of_model, Table):
        return Step(kind.name, {**of_model, **spelled_out(kind.params, of_target)}, *places)
    block = asked if isinstance(asked, Table | str) else of_model if isinstance(of_model, Table) else {}
    return Step(kind.name, block, *places)


def block_places(block: Table, key: str, fallback: Span) -> tuple[Span, Span]:
    """The places of a block's key and value; a block that was not written has the place of its owner."""
    return block.keys_at.get(key, fallback), block.values_at.get(key, fallback)


_NEED_CONFIG = {"OB303", "OB027", "OB635"}


class Settled(Struct, frozen=True):
    """Params as a kind resolved them: the Struct, and its plain form."""

    params: Any
    plain: Mapping[str, Any]


def _missing(kind: Kind, block: Mapping[str, Any]) -> list[str]:
    """The params without a default that a block does not have: `true` asks for a step and names none."""
    return [name for name in _required(kind.params) if name not in block]


@functools.cache
def _required(params: type[Params]) -> tuple[str, ...]:
    """The params without a default. msgspec evaluates all annotations to tell, which takes long."""
    return tuple(field.encode_name for field in msgspec.structs.fields(params) if field.required)


def _needs(step: Step, kind: Kind, missing: str) -> Diagnostic:
    example = examples(kind.params).get(missing)
    value = "…" if example is None else msgspec.json.encode(example).decode()
    message = f"missing key `{missing}` of `{step.kind}`"
    return fault("OB012", message, span=step.value_at, hint=f"write `{step.kind}: {{{missing}: {value}}}`")


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
        # What has faults is settled again each time, because the places differ.
        if settled is not None and len(self._faults) == faults:
            self._settled[key] = settled
        return settled

    def _settle_anew(self, step: Step, context: Context, *, unlocked: bool) -> Settled | None:
        kind = self._kinds[step.kind]
        block = spelled_out(kind.params, step.block)
        try:
            params = msgspec.convert(block, kind.params)
        except msgspec.ValidationError as error:
            missing = _missing(kind, block)
            other = fault("OB011", f"`{step.kind}`: {error}", span=step.value_at)
            self._faults.append(_needs(step, kind, missing[0]) if missing else other)
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
        # An unlocked model has no config.json yet, so what needs it is not a fault: OB101 asks to lock it.
        faults = [one for one in kind.check(params, context) if not (unlocked and one.code in _NEED_CONFIG)]
        self._faults.extend(_located(one, step) for one in faults)
        return not any(one.severity == "error" for one in faults)

    def _with_rows(self, kind: Kind, params: Any, step: Step, context: Context) -> Any:
        """The params with the rows of the dataset that they name; None after a fault."""
        name = getattr(params, "dataset", "")
        if not name:
            return params
        dataset = self._datasets.get(name)
        if dataset is None:
            at = _dataset_at(step.block) if isinstance(step.block, Table) else step.value_at
            hint = did_you_mean(name, self._datasets) or "define it under `datasets:`"
            self._faults.append(fault("OB004", f"dataset `{name}` is not defined", span=at, hint=hint))
            return None
        rows = Rows(columns=dataset.columns, limit=dataset.limit, seed=dataset.seed)
        with_rows = msgspec.structs.replace(params, rows=rows)
        faults = list(self._missing_columns(dataset, kind.columns(with_rows, context)))
        faults += [_located(one, step) for one in kind.check_rows(with_rows, context)] if not faults else []
        self._faults.extend(faults)
        return None if faults else with_rows

    def _missing_columns(self, dataset: Dataset, roles: tuple[str, ...]) -> Iterator[Diagnostic]:
        columns = self._reader.columns(dataset)
        if columns is None:
            return
        for role in roles:
            column = dataset.columns.get(role, role)
            if column not in columns:
                message = f"the dataset `{dataset.name}` has no column `{column}`"
                at, hint = _wrong_column(dataset, role, columns)
                yield fault("OB621", message, span=at, hint=hint)


def _wrong_column(dataset: Dataset, role: str, columns: tuple[str, ...]) -> tuple[Span, str]:
    """The place and the hint: the written name of the column, or the source where `columns:` does not have the role."""
    near = nearest(dataset.columns.get(role, role), columns)
    if isinstance(dataset.columns, Table) and role in dataset.columns:
        hint = f"did you mean `{near}`?" if near is not None else _listed(columns)
        return dataset.columns.value_span(role), hint
    has = "" if near is not None else f"{_listed(columns)}; "
    return dataset.span, f"{has}write `columns: {{{role}: {near or '…'}}}` in the dataset"


def _listed(columns: tuple[str, ...]) -> str:
    return f"it has {', '.join(f'`{one}`' for one in columns)}" if columns else "no column is in all of its rows"


class _Same:
    """A value as the key of a dict, equal only to itself. It keeps the value alive, so that its id is not reused."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)


def _identity(block: Any) -> Any:
    """A block as part of a key: a mapping equals only itself, other values compare by value, empty ones are equal."""
    return block if not isinstance(block, dict) else _Same(block) if block else None


def _what_matters(context: Context) -> tuple[Any, ...]:
    """What distinguishes the contexts of one expansion, as a key."""
    return (
        context.task, context.precision, context.previous, context.reference, context.device, context.trusts_code,
        context.graphs, context.exports, context.runtime, context.program_limits, context.call_limits,
        _Same(context.config), _Same(context.versions), _Same(context.targets),
    )  # fmt: skip


def as_json(params: Any) -> Mapping[str, Any]:
    """Params as they come back from a trace: lists, no tuples, so that the two compare equal."""
    plain: Mapping[str, Any] = msgspec.json.decode(msgspec.json.encode(params))
    return plain


def _located(problem: Fault, step: Step) -> Diagnostic:
    span, field, block = step.key_at, problem.field, step.block
    if problem.of_source and step.source_at is not None:
        span = step.source_at
    elif field is not None and not isinstance(block, dict):  # the short form
        span = step.value_at
    elif field is not None and isinstance(block, Table) and field in block:
        span = _within(block[field], problem.message) or block.value_span(field)
    return fault(problem.code, problem.message, span=span, hint=problem.hint, severity=problem.severity)


def _dataset_at(block: Table) -> Span:
    """The place of the name of a dataset, which may stand in a block of the block."""
    inner = (value for value in block.values() if isinstance(value, Table) and "dataset" in value)
    return next(inner, block).value_span("dataset") if "dataset" not in block else block.value_span("dataset")


def _within(value: Any, message: str) -> Span | None:
    """The place of the key inside a field that a message names."""
    named = [key for key in value if f"`{key}`" in message] if isinstance(value, Table) else []
    return value.key_span(named[0]) if named else None
