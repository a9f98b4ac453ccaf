"""`onnxbuild report --compare A B` and `onnxbuild run --against A`: what changed between two builds."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from msgspec import structs

from onnxbuild.commands.parsing.format_choice import format_by_suffix
from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.reporting.builds import build_named
from onnxbuild.commands.workspace import check_output, loaded, write_result
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.planning.select import names_variant
from onnxbuild.report.evidence.comparison import compare
from onnxbuild.report.evidence.comparison_text import as_json, as_markdown, as_text
from onnxbuild.report.evidence.evidence import Evidence, VariantEvidence
from onnxbuild.report.terminal import width_of
from onnxbuild.report.wording import path_from_here
from onnxbuild.tables.regressions import Allowance, allowance

_SUFFIXES: Mapping[str, str] = {".txt": "text", ".md": "markdown", ".json": "json"}


def comparison_format(format: str | None, output: str | None) -> str:  # noqa: A002 - the option's name
    """The requested format of a comparison, else that of the file's suffix, else text. Errors: ValueError."""
    return format_by_suffix(format, output, _SUFFIXES, "text")


def compare_builds(asked: Asked, names: tuple[str, str], format: str, output: str | None) -> int:  # noqa: A002 - the option's name
    """Print what changed from the first to the second build; return the exit code: 1 if a bound is broken.

    The bounds are the `regressions:` of the manifest, if the command names one. Errors: DiagnosticError.
    """
    if output is not None:
        check_output(output)
    bounds = _bounds(asked)
    before, after = _selected([build_named(name, asked) for name in names], asked.selectors)
    comparison = compare(before, after, bounds)
    renderers = {"markdown": as_markdown, "json": as_json}
    if format in renderers:
        write_result(renderers[format](comparison).rstrip("\n") + "\n", output)
    else:
        write_result(as_text(comparison, None if output else width_of(sys.stdout)) + "\n", output)
    if output is not None:
        print(f"wrote {path_from_here(output)}", file=sys.stderr)
    return 1 if comparison.broken else 0


def _selected(builds: Sequence[Evidence], selectors: Sequence[str]) -> list[Evidence]:
    """The builds with only the variants that selectors name. Errors: DiagnosticError OB018 for one that names none."""
    variants = [variant for build in builds for variant in build.variants]
    packages = [one.name for build in builds for one in build.built_packages]
    for selector in selectors:
        named = any(_is_named(variant, [selector]) for variant in variants)
        if not named and not any(_is_of_model(one, [selector]) for one in packages):
            hint = f"the builds have {', '.join(dict.fromkeys(variant.name for variant in variants)) or 'no variant'}"
            raise DiagnosticError(fault("OB018", f"the selector `{selector}` matches nothing", hint=hint))
    return [
        structs.replace(
            build,
            variants=tuple(one for one in build.variants if _is_named(one, selectors)),
            built_packages=tuple(one for one in build.built_packages if _is_of_model(one.name, selectors)),
        )
        for build in builds
    ]


def _is_named(variant: VariantEvidence, selectors: Sequence[str]) -> bool:
    steps = [step.id for step in variant.steps]
    return not selectors or any(names_variant(one, variant.name, steps) for one in selectors)


def _is_of_model(package: str, selectors: Sequence[str]) -> bool:
    """Whether selectors name the model of a package, or the package itself."""
    return not selectors or any(names_variant(one, package, ()) for one in selectors)


def _bounds(asked: Asked) -> Mapping[str, Allowance]:
    if not asked.manifest:
        return {}
    return bounds_in(loaded(asked).regressions)


def bounds_in(written: Mapping[str, str]) -> Mapping[str, Allowance]:
    """The bounds of a manifest as values."""
    read = ((name, allowance(text)) for name, text in written.items())
    return {name: one for name, one in read if one is not None}
