"""Faults of `select:` that a schema cannot express."""

from __future__ import annotations

from collections.abc import Iterator

from onnxbuild.diagnostics import Diagnostic, Span, fault
from onnxbuild.manifest.document import Array, Table
from onnxbuild.manifest.sections import ModelEntry
from onnxbuild.tables.bounds.figure_names import figure_hint
from onnxbuild.tables.choices import BEST, FIGURES, better, bound_hint, condition, plain_number


def choice_faults(model: ModelEntry, targets: Table) -> Iterator[Diagnostic]:
    """OB034 for a choice that can never be made, or that would be made by something else than what is written."""
    written = model.block.get("select")
    if not isinstance(written, Table):
        return
    at = model.block.key_span("select")
    goals = [name for name in ("minimize", "maximize") if written.get(name)]
    if len(goals) != 1:
        message = "`select` needs either `minimize` or `maximize`"
        yield fault("OB034", message, span=at, hint="`minimize: latency.p50`, for example")
    for goal in goals:
        yield from _figure(written[goal], written.value_span(goal), model, targets)
        yield from _wrong_way(goal, written[goal], written.value_span(goal))
    conditions = written.get("subject_to")
    if isinstance(conditions, Table):
        yield from _conditions(conditions, model, targets)
    yield from _target_named_best(model)


def _conditions(written: Table, model: ModelEntry, targets: Table) -> Iterator[Diagnostic]:
    for name, text in written.items():
        yield from _figure(name, written.key_span(name), model, targets)
        if isinstance(text, str):
            yield from _bad_condition(name, text, written.value_span(name))


def _bad_condition(name: str, text: str, at: Span) -> Iterator[Diagnostic]:
    read = condition(name, text)
    if read is None:
        example = "<= 50" if name in FIGURES and better(name) == "less" else ">= 0.99"
        hint = bound_hint(name, text) or f"an operator and a number, such as `{example}`"
        yield fault("OB034", f"`{text}` is not a condition", span=at, hint=hint)
    elif not read.can_hold:
        yield fault("OB034", f"no variant can fulfil `{read}`", span=at)
    elif name in FIGURES and (better(name) == "more") != read.operator.startswith(">"):
        operator = read.operator.translate({ord(">"): "<", ord("<"): ">"})
        message = (
            f"`{name}` is better where it is {_WORDS[better(name)]}, so `{text}` would keep only the worse variants"
        )
        yield fault("OB034", message, span=at, hint=f"write `{operator} {plain_number(read.bound)}`")


_WORDS = {"more": "larger", "less": "smaller"}
_GOALS = {"more": "maximize", "less": "minimize"}


def _wrong_way(goal: str, name: object, at: Span) -> Iterator[Diagnostic]:
    """OB034 for a goal by which the worst variant would win."""
    if isinstance(name, str) and name in FIGURES and goal != (right := _GOALS[better(name)]):
        message = f"`{name}` is better where it is {_WORDS[better(name)]}, so `{goal}` would choose the worst variant"
        yield fault("OB034", message, span=at, hint=f"write `{right}: {name}`")


def _figure(name: object, at: Span, model: ModelEntry, targets: Table) -> Iterator[Diagnostic]:
    if not isinstance(name, str):
        return
    if name not in FIGURES:
        yield fault("OB034", f"unknown figure `{name}`", span=at, hint=figure_hint(name, FIGURES))
        return
    kind = FIGURES[name]
    if kind is None or (kind == "validate" and model.block.get(kind) is not False) or _measures(model, kind, targets):
        return
    step, _, field = kind.partition(".")
    block = f"`{step}: {{{field}: {{}}}}`" if field else f"`{step}: {{}}`"
    hint = f"add {block} to the model" if kind != "validate" else "remove `validate: false`"
    missing = f"`{field}` in its `{step}`" if field else f"`{step}`"
    yield fault("OB034", f"`{name}` is not measured: the model has no {missing}", span=at, hint=hint)


def _measures(model: ModelEntry, kind: str, shared: Table) -> bool:
    """Whether the model or one of its targets asks for a step kind, or for a field of one (`benchmark.throughput`)."""
    step, _, field = kind.partition(".")
    asked = (one.get(step) for one in _blocks(model, shared) if isinstance(one, Table))
    if field:
        return any(isinstance(one, Table) and one.get(field) is not None for one in asked)
    return any(one not in (None, False) for one in asked)


def _blocks(model: ModelEntry, shared: Table) -> Iterator[object]:
    """The block of a model, and those of its targets."""
    yield model.block
    targets = model.block.get("targets")
    for entry in targets if isinstance(targets, Array) else ():
        yield entry if isinstance(entry, Table) else shared.get(entry) if isinstance(entry, str) else None


def _target_named_best(model: ModelEntry) -> Iterator[Diagnostic]:
    targets = model.block.get("targets")
    for entry, at in zip(targets, targets.items_at, strict=True) if isinstance(targets, Array) else ():
        name = entry.get("name") if isinstance(entry, Table) else entry
        if isinstance(name, str) and name.lower() == BEST:
            message = f"the target `{name}` has the name of the folder of the best variant"
            yield fault("OB034", message, span=at, hint="rename the target, or remove `select`")
