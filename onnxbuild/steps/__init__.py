"""The step kinds: what can be asked for. Built-in ones stand in `KINDS`; plugins bring theirs by entry point."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, fault
from onnxbuild.steps.benchmark import BENCHMARK
from onnxbuild.steps.export import EXPORT
from onnxbuild.steps.fetch import FETCH
from onnxbuild.steps.generate import GENERATE
from onnxbuild.steps.kind import Kind
from onnxbuild.steps.optimize import OPTIMIZE
from onnxbuild.steps.quantize import QUANTIZE
from onnxbuild.steps.validate import VALIDATE

Kinds = Mapping[str, Kind]

# In the order in which things happen.
KINDS: Kinds = {kind.name: kind for kind in (FETCH, EXPORT, OPTIMIZE, QUANTIZE, VALIDATE, BENCHMARK, GENERATE)}

# A distribution brings a kind with `[project.entry-points."onnxbuild.steps"]` and `name = "module:KIND"`.
GROUP = "onnxbuild.steps"


@functools.cache
def all_kinds() -> Kinds:
    """The built-in kinds and those of installed plugins. Errors: DiagnosticError OB043 for a plugin that is broken."""
    from importlib import metadata

    found = dict(KINDS)
    for entry in metadata.entry_points(group=GROUP):
        try:
            kind = entry.load()
        except Exception as error:
            raise DiagnosticError(_broken(entry.name, f"{type(error).__name__}: {error}")) from error
        if not isinstance(kind, Kind) or kind.name != entry.name or kind.name in KINDS:
            raise DiagnosticError(
                _broken(entry.name, "its entry point is no `Kind` of that name, or a built-in has it")
            )
        found[kind.name] = kind
    return found


def _broken(name: str, why: str) -> Diagnostic:
    return fault("OB043", f"the plugin for step kind `{name}` cannot be used: {why}", hint="repair or uninstall it")
