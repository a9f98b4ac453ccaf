"""The graphs of a source that make up a model: all of them, or those that `file:` names."""

from __future__ import annotations

from collections.abc import Sequence

from onnxbuild.diagnostics import Diagnostic, did_you_mean, fault
from onnxbuild.manifest.spec import Model
from onnxbuild.tables.checkpoint_files import select_onnx

_MOST_NAMED = 8


def graphs_in(names: Sequence[str]) -> tuple[str, ...]:
    """The graphs that a source has by default: those at its top and in `onnx/`."""
    return tuple(name for name in select_onnx(names) if name.endswith(".onnx"))


def absent(model: Model, names: Sequence[str]) -> Diagnostic | None:
    """OB624 for a `file:` that names no graph among the files of the source."""
    graphs = [name for name in names if name.endswith(".onnx")]
    missing = next((name for name in model.file if name not in graphs), None)
    if missing is None:
        return None
    near = did_you_mean(missing, graphs)
    has = f"it has {_listed(graphs)}" if graphs else "it has no .onnx file"
    message = f"the source has no graph `{missing}`"
    return fault("OB624", message, span=model.block.value_span("file"), hint=near or has)


def useless(model: Model, why: str, hint: str | None = None) -> Diagnostic | None:
    """OB624 for a `file:` where there is nothing to pick; None if there is no `file:`."""
    at = model.block.value_span("file") if model.file else None
    return fault("OB624", f"`file:` has no effect: {why}", span=at, hint=hint) if model.file else None


def one_of_them(graphs: Sequence[str]) -> str:
    """The hint for a source with several models."""
    return f"pick one with `file: {graphs[0]}`; there are {_listed(graphs)}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(f"`{name}`" for name in names[:_MOST_NAMED]) + more
