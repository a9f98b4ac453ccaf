"""`onnxbuild lint`: every fault of the manifests at once, without running anything."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.state.refusals import refusals
from onnxbuild.diagnostics import Diagnostic, DiagnosticError
from onnxbuild.machine import Machine, this_machine
from onnxbuild.manifest.load import in_order, read_manifest
from onnxbuild.permissions import Permissions
from onnxbuild.planning.expand import survey
from onnxbuild.planning.lock_file import lock_path, read_lock
from onnxbuild.planning.select import select
from onnxbuild.report.render_diagnostics import Format, render, show
from onnxbuild.rules import World, check
from onnxbuild.steps import Kinds, all_kinds

_NOTHING = Asked("")


def run_lint(
    paths: Sequence[str],
    *,
    format: Format = "text",  # noqa: A002 - the word of the command line
    strict: bool = False,
    selectors: Sequence[str] = (),
    defines: Mapping[str, str] | None = None,
    kinds: Kinds | None = None,
    permissions: Permissions | None = None,
    asked: Asked = _NOTHING,
) -> int:
    """Print the faults of every manifest to stdout and a summary to stderr.

    `asked`: what else the command line says, such as `--store`.
    Returns 0 without errors, 1 with `strict` and a warning, 2 with an error.
    """
    machine = this_machine()
    kinds = kinds or all_kinds()
    faults = [
        one
        for path in paths
        for one in lint(
            path, machine, selectors=selectors, defines=defines, kinds=kinds, permissions=permissions, asked=asked
        )
    ]
    if format == "text":
        show(faults, sys.stdout)
    else:
        sys.stdout.write(render(faults, format))
    sys.stdout.flush()
    print(summary(faults, len(paths)), file=sys.stderr)
    if any(one.severity == "error" for one in faults):
        return 2
    return 1 if strict and any(one.severity == "warning" for one in faults) else 0


def lint(
    path: str,
    machine: Machine,
    *,
    selectors: Sequence[str] = (),
    defines: Mapping[str, str] | None = None,
    kinds: Kinds,
    permissions: Permissions | None = None,
    asked: Asked = _NOTHING,
) -> list[Diagnostic]:
    """The faults of one manifest, in order of place. `permissions`: as for `load_manifest`; `asked`: as `run_lint`."""
    try:
        manifest, faults = read_manifest(path, kinds=kinds, defines=defines, permissions=permissions)
        lock = read_lock(lock_path(path))
    except DiagnosticError as error:
        return list(error.diagnostics)
    expansion = survey(manifest, kinds, lock, machine)
    diagnostics = [*faults, *check(World(manifest=manifest, lock=lock, expansion=expansion))]
    diagnostics += refusals(asked._replace(manifest=path), manifest, expansion.graph)
    if not faults:  # what is left out because of a fault cannot be selected either
        try:
            select(expansion.graph, selectors)
        except DiagnosticError as error:
            diagnostics.extend(error.diagnostics)
    return in_order(diagnostics)


def summary(faults: Sequence[Diagnostic], manifests: int) -> str:
    """The number of faults and of manifests, as text."""
    where = f"in {manifests} manifest{'' if manifests == 1 else 's'}"
    if not faults:
        return f"no faults {where}"
    counts = []
    for severity in ("error", "warning", "info"):
        count = sum(one.severity == severity for one in faults)
        if count:
            counts.append(f"{count} {severity}{'' if count == 1 or severity == 'info' else 's'}")
    return f"{', '.join(counts)} {where}"
