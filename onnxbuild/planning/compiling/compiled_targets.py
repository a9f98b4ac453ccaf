"""The step of a target that compiles, and what may stand beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from onnxbuild.diagnostics import Diagnostic, Span, did_you_mean, fault
from onnxbuild.manifest.document import Table
from onnxbuild.manifest.spec import Target
from onnxbuild.needs.step_needs import CODE_OF
from onnxbuild.steps import Kinds
from onnxbuild.steps.checks.tune import TUNE
from onnxbuild.steps.compiling.backend_kind import COMPILE, KEY
from onnxbuild.steps.kind import Context, Kind, Runtime, plugin_modules


def compile_kind(block: Any, kinds: Kinds, at: Span) -> str | Diagnostic:
    """The name of the step kind that a `compile:` asks for."""
    backend = block["backend"] if isinstance(block, Table) else block
    name = f"{COMPILE}{backend}"
    if name in kinds:
        return name
    # A reference that was replaced after the structure was checked.
    names = [one.backend for one in kinds.values() if one.backend]
    hint = did_you_mean(str(backend), names) or f"one of {', '.join(names)}"
    return fault("OB013", f"there is no backend `{backend}`", span=at, hint=hint)


def starts_from_checkpoint(target: Target, kinds: Kinds) -> bool:
    """Whether the backend of a target writes its graphs from the checkpoint, so that it needs no export."""
    entries = target.block.get("steps") or (target.block,)
    block = next((one[KEY] for one in entries if KEY in one), None)
    if block is None:
        return False
    name = block.get("backend") if isinstance(block, Table) else block
    kind = kinds.get(f"{COMPILE}{name}")
    return kind is not None and reads_checkpoint(kind)


def reads_checkpoint(kind: Kind) -> bool:
    """Whether the model that a step gets is the checkpoint, and not what the step before it has written."""
    return kind.inputs.get("model") == "checkpoint"


def after_compile(target: Target) -> Iterator[Diagnostic]:
    """OB800 for the steps that are written after `compile`."""
    compiled = False
    for entry in target.block.get("steps", ()):
        for name in entry:
            if compiled:
                message = f"`{name}` comes after `{KEY}`, and works on ONNX graphs"
                yield fault("OB800", message, span=entry.key_span(name), hint=f"move `{KEY}` to the end")
            compiled = compiled or name == KEY


def runtime_after(kind: Kind, params: Any, context: Context) -> Runtime | UnsetType:
    """What runs the graph that a step writes, with the code of the plugin that brings its engine."""
    runtime = kind.runtime(params, context)
    if runtime is UNSET or not kind.backend:
        return runtime
    code = (f"{CODE_OF}{module}" for module in plugin_modules(kind))
    return replace(runtime, needs=(*runtime.needs, *code))


def tune_of_compiled(target: Target) -> list[Diagnostic]:
    """OB801 where a target asks for a search of the settings of ONNX Runtime, which does not run it."""
    if not target.block.get(TUNE.name):
        return []
    message = f"`{TUNE.name}` tries the settings of ONNX Runtime, which does not run a compiled variant"
    at = target.block.key_span(TUNE.name)
    return [fault("OB801", message, span=at, hint=f"remove `{TUNE.name}:` from the target")]
