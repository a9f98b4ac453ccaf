"""`onnxbuild run --against A`: an ordinary run, then what changed since an earlier build."""

from __future__ import annotations

import sys

from msgspec import structs

from onnxbuild.commands.parsing.options import RunOptions
from onnxbuild.commands.reporting.builds import build_named
from onnxbuild.commands.reporting.compared_builds import bounds_in
from onnxbuild.commands.reporting.gathered import evidence_of_manifest
from onnxbuild.commands.run import answer_or_build
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.report.evidence.comparison import compare
from onnxbuild.report.evidence.comparison_text import as_text
from onnxbuild.report.evidence.evidence import Evidence
from onnxbuild.report.terminal import width_of


def run_against(options: RunOptions) -> int:
    """Run, then compare; return the exit code: that of the run, or 1 if a bound is broken. Errors: DiagnosticError.

    The earlier build is read first, so that a mistyped name costs nothing.
    """
    assert options.against is not None, "BUG: a run without --against is compared with nothing"
    baseline = build_named(options.against, options.asked)
    return answer_or_build(options._replace(against=None)) or _judge(baseline, options)


def _judge(baseline: Evidence, options: RunOptions) -> int:
    """Print what changed since an earlier build; return the exit code: 1 if a bound of the manifest is broken."""
    evidence, _, manifest = evidence_of_manifest(options.asked)
    comparison = compare(_among(baseline, evidence), evidence, bounds_in(manifest.regressions))
    stream = sys.stderr if options.as_json else sys.stdout
    print(f"\nagainst {options.against}:\n{as_text(comparison, width_of(stream))}", file=stream)
    if manifest.regressions and not comparison.in_common:
        message = f"`{options.against}` has no variant of this run, so no bound of `regressions` was judged"
        hint = "name a build of this manifest, or run without `--against`"
        raise DiagnosticError(fault("OB695", message, hint=hint))
    return 1 if comparison.broken else 0


def _among(baseline: Evidence, evidence: Evidence) -> Evidence:
    """The baseline without the models that this run did not select."""
    models = {variant.model for variant in evidence.variants}
    kept = tuple(variant for variant in baseline.variants if variant.model in models)
    return structs.replace(baseline, variants=kept)
