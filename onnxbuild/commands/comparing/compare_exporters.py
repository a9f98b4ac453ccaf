"""`onnxbuild compare-exporters`: build a model with each exporter that can, and show which is right and fast.

It is an ordinary run of a manifest with one model per exporter, so results are stored and found again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec import structs

from onnxbuild.commands.building.finished import Result
from onnxbuild.commands.building.interrupts import interruptible
from onnxbuild.commands.building.rounds import run_session
from onnxbuild.commands.comparing.candidates import Candidate, candidates, model_named, one_per_exporter
from onnxbuild.commands.comparing.checkpoint_manifest import manifest_for
from onnxbuild.commands.comparing.exporter_table import Compared, as_json, as_text, comparison
from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.state.locations import out_folder
from onnxbuild.commands.workspace import default_jobs, loaded, memory_limit, session
from onnxbuild.deliver.variant_rows import Row, rows
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.execute.policy import Policy
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.planning.lock_file import lock_for
from onnxbuild.planning.select import select
from onnxbuild.report.progress.reporter import reporter_for

_FOLDER = "compare-exporters"  # below the folder of outputs: these models are no targets of the manifest


def compare_exporters(asked: Asked, *, out: str | None, as_json_text: bool, jobs: int | None = None) -> int:
    """Print the comparison; return 0 if a model of any exporter passed. Errors: DiagnosticError."""
    asked = manifest_for(asked)
    manifest = loaded(asked)
    name = _name(asked, [one.name for one in manifest.models])
    model = model_named(manifest, name)
    # The lock holds what all models need: it is written before the other models are left out.
    lock = lock_for(manifest, offline=asked.offline, write=True, say=_say)
    found = candidates(manifest, lock, model)
    able = [one for one in found if one.because is None]
    refused = [_refused(one) for one in found if one.because is not None]
    compared = _built(asked, name, able, out, jobs or default_jobs()) if able else []
    ordered = sorted([*compared, *refused], key=lambda one: [each.exporter for each in found].index(one.exporter))
    result = comparison(name, ordered)
    print(as_json(result) if as_json_text else as_text(result))
    return 0 if result.most_exact is not None else 1


def _name(asked: Asked, names: Sequence[str]) -> str:
    if len(asked.selectors) == 1:
        return asked.selectors[0]
    if not asked.selectors and len(names) == 1:
        return names[0]
    raise DiagnosticError([fault("OB639", "which model is not clear", hint=f"name one of {', '.join(names)}")])


def _refused(candidate: Candidate) -> Compared:
    return Compared(exporter=candidate.exporter, version=candidate.version, verdict="cannot", because=candidate.because)


def _built(asked: Asked, name: str, able: Sequence[Candidate], out: str | None, jobs: int) -> list[Compared]:
    place = Path(out).absolute() if out else out_folder(asked.manifest, None) / _FOLDER
    changed = asked._replace(out=str(place), selectors=(), change=one_per_exporter(name, able))
    with session(changed, write=True, jobs=jobs) as opened:
        scope = f"{opened.scope}#{_FOLDER}"
        policy = Policy(scope=scope, logs=str(opened.logs), jobs=jobs, memory_bytes=memory_limit())
        with interruptible() as interrupt:
            reporter = reporter_for("auto", sys.stderr, graph=opened.graph)
            result = run_session(opened, policy, place, reporter, interrupt)
        measured = {row.name: row for row in rows(opened.graph, result.outcomes)}
        return [_compared(one, measured[one.variant], _failed(opened.graph, result, one)) for one in able]


def _failed(graph: ActionGraph, result: Result, candidate: Candidate) -> str | None:
    """The failure of the first action of an exporter's model that failed."""
    own = [result.outcomes[name] for name in select(graph, [f"{candidate.variant}:*"]).actions]
    failure = next((one.failure for one in own if one.failure is not None), None)
    return f"{failure.code} {failure.message}" if failure is not None else None


def _compared(candidate: Candidate, row: Row, failed: str | None) -> Compared:
    metric = row.metrics.get("max_abs")
    verdict = row.verdict or ("failed" if failed else "not validated")
    compared = Compared(exporter=candidate.exporter, version=candidate.version, verdict=verdict, because=failed)
    return structs.replace(
        compared,
        size_bytes=row.size_bytes,
        max_abs=metric.value if metric is not None else None,
        latency_ms=row.latency_ms,
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr)
