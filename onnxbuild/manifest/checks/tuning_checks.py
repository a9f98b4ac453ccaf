"""Faults of `tune:` between the blocks of a model and its targets."""

from __future__ import annotations

from collections.abc import Iterator

from onnxbuild.diagnostics import Diagnostic, fault
from onnxbuild.manifest.document import Array, Table
from onnxbuild.manifest.sections import ModelEntry


def tunes_best_only(model: Table, target: Table) -> bool:
    """Whether a target is tuned only if it is the one that `select` chooses: `tune: best`, or `only: best` in it."""
    blocks = (model.get("tune"), target.get("tune"))
    return any(one == "best" or (isinstance(one, Table) and one.get("only") == "best") for one in blocks)


def tuning_faults(model: ModelEntry, shared: Table) -> Iterator[Diagnostic]:
    """OB686 for a variant that is tuned, and that no other step opens: another runtime may be the only one that can.

    OB702 for one that is tuned if it is the best, in a model that chooses none.
    """
    for target in _targets(model, shared):
        yield from _best_of_nothing(model, target)
        tune, load, validate = (_asked(model.block, target, kind) for kind in ("tune", "load", "validate"))
        if tune not in (None, False) and load is False and validate is False:
            holder = target if "tune" in target else model.block
            message = (
                "`tune` measures ONNX Runtime, and with `load: false` and `validate: false` nothing opens the graph"
            )
            yield fault("OB686", message, span=holder.key_span("tune"), hint="remove `load: false`, or `tune`")


def _targets(model: ModelEntry, shared: Table) -> Iterator[Table]:
    """The blocks of a model's targets; other checks see unusable entries."""
    targets = model.block.get("targets")
    for entry in targets if isinstance(targets, Array) else ():
        target = entry if isinstance(entry, Table) else shared.get(entry) if isinstance(entry, str) else None
        if isinstance(target, Table):
            yield target


def _best_of_nothing(model: ModelEntry, target: Table) -> Iterator[Diagnostic]:
    if tunes_best_only(model.block, target) and not isinstance(model.block.get("select"), Table):
        holder = target if tunes_best_only(target, target) else model.block
        message = f"`tune: best` tunes the variant that `select` chooses, and the model `{model.name}` has no `select`"
        hint = "add `select`, such as `select: {minimize: size_mb}`, or write `tune: {}` to tune every variant"
        yield fault("OB702", message, span=holder.key_span("tune"), hint=hint)


def _asked(model: Table, target: Table, kind: str) -> object:
    """What a target says about a step kind, or else its model."""
    return target.get(kind) if target.get(kind) is not None else model.get(kind)
