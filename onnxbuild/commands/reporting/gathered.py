"""The evidence of a manifest: the results of its last runs, from the store."""

from __future__ import annotations

from msgspec import structs

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.status import last_outcomes
from onnxbuild.commands.workspace import session
from onnxbuild.manifest.spec import Manifest
from onnxbuild.planning.select import variants_named
from onnxbuild.report.evidence.evidence import Evidence
from onnxbuild.report.evidence.gathering import gather
from onnxbuild.report.result.generated_text import generated_text
from onnxbuild.report.wording import path_from_here


def evidence_of_manifest(asked: Asked) -> tuple[Evidence, str, Manifest]:
    """The evidence of the selected variants, what they generated, and the manifest. Errors: DiagnosticError."""
    with session(asked, write=False) as opened:
        outcomes = last_outcomes(opened)
        lasts = opened.store.traces.last(opened.scope)
        graph = structs.replace(opened.graph, variants=variants_named(opened.graph, asked.selectors))
        ended = max((lasts[name].at for name in outcomes if name in lasts), default=None)
        source = path_from_here(asked.manifest)
        evidence = gather(graph, outcomes, opened.store.traces.find, source=source, ended=ended)
        return evidence, generated_text(graph, outcomes), opened.plan.manifest
