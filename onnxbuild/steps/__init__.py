"""The step kinds that a manifest can use. `KINDS` has the built-in ones; plugins register theirs by entry point."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from importlib import import_module

from msgspec.structs import replace

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, fault
from onnxbuild.steps.benchmark import BENCHMARK
from onnxbuild.steps.checks.load_check import LOAD
from onnxbuild.steps.checks.tune import TUNE
from onnxbuild.steps.compiling.backend_kind import GROUP as OF_BACKENDS
from onnxbuild.steps.compiling.backend_kind import Backend
from onnxbuild.steps.compiling.backends import BACKENDS
from onnxbuild.steps.export import EXPORT
from onnxbuild.steps.fetch import FETCH
from onnxbuild.steps.generate import GENERATE
from onnxbuild.steps.kind import Kind, plugin_modules
from onnxbuild.steps.optimize import OPTIMIZE
from onnxbuild.steps.packaging.compiled_package import COMPILED
from onnxbuild.steps.packaging.genai_package import GENAI
from onnxbuild.steps.packaging.ort_package import ORT_MODEL_PACKAGE
from onnxbuild.steps.packaging.ovms_package import OVMS
from onnxbuild.steps.packaging.package_kind import GROUP as OF_PACKAGES
from onnxbuild.steps.packaging.package_kind import Package
from onnxbuild.steps.packaging.plain_package import PLAIN
from onnxbuild.steps.packaging.sentence_package import SENTENCE_TRANSFORMERS
from onnxbuild.steps.packaging.server_package import SERVER
from onnxbuild.steps.packaging.transformers_js import TRANSFORMERS_JS
from onnxbuild.steps.packaging.triton_package import TRITON
from onnxbuild.steps.precision import PRECISION
from onnxbuild.steps.prepare import PREPARE
from onnxbuild.steps.publish import PUBLISH
from onnxbuild.steps.python_code import own_module_place, watched_code
from onnxbuild.steps.quantize import QUANTIZE
from onnxbuild.steps.validate import VALIDATE

Kinds = Mapping[str, Kind]
Places = tuple[tuple[str, str], ...]  # names of kinds, and where they are: "module:KIND"

# In the order in which things happen.
PACKAGES = (PLAIN, SENTENCE_TRANSFORMERS, TRANSFORMERS_JS, ORT_MODEL_PACKAGE, GENAI, SERVER, TRITON, OVMS, COMPILED)
_BUILT_IN = (FETCH, PREPARE, EXPORT, OPTIMIZE, QUANTIZE, PRECISION, VALIDATE, LOAD, BENCHMARK, GENERATE, TUNE)
_SEVERAL: tuple[Package | Backend, ...] = (*BACKENDS, *PACKAGES)  # each stands for one kind or more
KINDS: Kinds = {kind.name: kind for kind in (*_BUILT_IN, *(kind for one in _SEVERAL for kind in one.kinds), PUBLISH)}
# Kinds that only a command asks for: no manifest has their blocks, and no plugin may have their names.
_OF_COMMANDS = frozenset({"blame"})

# A distribution registers a kind with `[project.entry-points."onnxbuild.steps"]` and `name = "module:KIND"`.
GROUP = "onnxbuild.steps"


@functools.cache
def plugin_places() -> Places:
    """Where installed plugins declare their kinds. Searching for them takes 25 ms."""
    from importlib import metadata

    groups = (GROUP, OF_PACKAGES, OF_BACKENDS)
    return tuple((entry.name, entry.value) for group in groups for entry in metadata.entry_points(group=group))


def all_kinds() -> Kinds:
    """The built-in kinds and those of installed plugins. Errors: DiagnosticError OB043 for a broken plugin."""
    return kinds_at(plugin_places())


@functools.cache
def kinds_at(places: Places) -> Kinds:
    """The built-in kinds and those of the plugins at the given places. Errors: DiagnosticError OB043."""
    kinds = dict(KINDS)
    for name, place in places:
        module, _, attribute = place.partition(":")
        try:
            kind = getattr(import_module(module.strip()), attribute.strip())
        except Exception as error:
            raise DiagnosticError(_broken(name, f"{type(error).__name__}: {error}")) from error
        found = kind.kinds if isinstance(kind, Package | Backend) else (kind,)
        if not isinstance(kind, Kind | Package | Backend) or kind.name != name or _is_taken(one.name for one in found):
            what = "no `Kind`, `Package` or `Backend`"
            raise DiagnosticError(
                _broken(name, f"its entry point is {what} of that name, or a built-in one has the name")
            )
        kinds |= {one.name: replace(one, is_plugin=True) for one in found}
    return kinds


def _is_taken(names: Iterable[str]) -> bool:
    return any(name in KINDS or name in _OF_COMMANDS for name in names)


def plugin_files(kinds: Kinds) -> tuple[str, ...]:
    """The Python files of plugins, and their folders: a remembered plan holds only while none of them changes."""
    modules = dict.fromkeys(module for kind in kinds.values() for module in plugin_modules(kind))
    places = (own_module_place(module) for module in modules)
    return tuple(watched_code(place for place in places if place is not None))


def _broken(name: str, why: str) -> Diagnostic:
    return fault("OB043", f"the plugin for step kind `{name}` cannot be used: {why}", hint="repair or uninstall it")
