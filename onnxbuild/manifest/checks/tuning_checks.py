"""Faults of `tune:` between the blocks of a model and its targets."""

from __future__ import annotations

from collections.abc import Iterator

from onnxbuild.diagnostics import Diagnostic, fault
from onnxbuild.manifest.document import Array, Table
from onnxbuild.manifest.sections import ModelEntry


def tuning_faults(model: ModelEntry, shared: Table) -> Iterator[Diagnostic]:
    """OB686 for a variant that is tuned, and that no other step opens: another runtime may be the only one that can."""
    targets = model.block.get("targets")
    for entry in targets if isinstance(targets, Array) else ():
        target = entry if isinstance(entry, Table) else shared.get(entry) if isinstance(entry, str) else None
        if not isinstance(target, Table):
            continue
        tune, load, validate = (_asked(model.block, target, kind) for kind in ("tune", "load", "validate"))
        if tune not in (None, False) and load is False and validate is False:
            holder = target if "tune" in target else model.block
            message = (
                "`tune` measures ONNX Runtime, and with `load: false` and `validate: false` nothing opens the graph"
            )
            yield fault("OB686", message, span=holder.key_span("tune"), hint="remove `load: false`, or `tune`")


def _asked(model: Table, target: Table, kind: str) -> object:
    """What a target says about a step kind, or else its model."""
    return target.get(kind) if target.get(kind) is not None else model.get(kind)
