"""`onnxbuild report --compare A B` and `onnxbuild run --against A`: what changed between two builds."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.reporting.builds import build_named
from onnxbuild.commands.workspace import check_output, loaded, write_result
from onnxbuild.report.evidence.comparison import compare
from onnxbuild.report.evidence.comparison_text import as_json, as_markdown, as_text
from onnxbuild.report.terminal import width_of
from onnxbuild.report.wording import path_from_here
from onnxbuild.tables.regressions import Allowance, allowance


def compare_builds(asked: Asked, names: tuple[str, str], format: str, output: str | None) -> int:  # noqa: A002 - the option's name
    """Print what changed from the first to the second build; return the exit code: 1 if a bound is broken.

    The bounds are the `regressions:` of the manifest, if the command names one. Errors: DiagnosticError.
    """
    if output is not None:
        check_output(output)
    bounds = _bounds(asked)
    comparison = compare(build_named(names[0], asked), build_named(names[1], asked), bounds)
    renderers = {"markdown": as_markdown, "json": as_json}
    if format in renderers:
        write_result(renderers[format](comparison).rstrip("\n") + "\n", output)
    else:
        write_result(as_text(comparison, None if output else width_of(sys.stdout)) + "\n", output)
    if output is not None:
        print(f"wrote {path_from_here(output)}", file=sys.stderr)
    return 1 if comparison.broken else 0


def _bounds(asked: Asked) -> Mapping[str, Allowance]:
    if not asked.manifest:
        return {}
    return bounds_in(loaded(asked).regressions)


def bounds_in(written: Mapping[str, str]) -> Mapping[str, Allowance]:
    """The bounds of a manifest as values."""
    read = ((name, allowance(text)) for name, text in written.items())
    return {name: one for name, one in read if one is not None}
