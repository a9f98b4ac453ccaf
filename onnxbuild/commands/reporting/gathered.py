"""The evidence of a manifest: the results of its last runs, from the store."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import structs

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.reporting.as_built import as_built
from onnxbuild.commands.reporting.outdated import outdated_actions, outdated_variants, warn_of
from onnxbuild.commands.reporting.stored_files import check_stored
from onnxbuild.commands.status import as_last_run
from onnxbuild.commands.workspace import Session, session
from onnxbuild.execute.events import Outcome
from onnxbuild.manifest.spec import Manifest
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.planning.select import variants_named
from onnxbuild.report.evidence.evidence import Evidence
from onnxbuild.report.evidence.gathering import gather
from onnxbuild.report.result.generated_text import generated_text
from onnxbuild.report.wording import path_from_here


def evidence_of_manifest(asked: Asked) -> tuple[Evidence, str, Manifest]:
    """The evidence of the selected variants, what they generated, and the manifest; a warning for outdated results.

    Errors: DiagnosticError, OB711 for damaged results.
    """
    with session(asked, write=False) as begun:
        opened, outcomes = as_last_run(begun)
        graph = structs.replace(opened.graph, variants=variants_named(opened.graph, asked.selectors))
        check_stored(opened, graph, outcomes, thorough=False)
        evidence = evidence_of_session(opened, graph, outcomes)
        texts = generated_text(graph, outcomes)
    warn_of({variant.name: variant.outdated for variant in evidence.variants if variant.outdated}, asked.manifest)
    return evidence, texts, opened.plan.manifest


def evidence_of_session(opened: Session, graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> Evidence:
    """The evidence of the variants of a graph, by what the last runs left."""
    lasts = opened.store.traces.last(opened.scope)
    ended = max((lasts[name].at for name in outcomes if name in lasts), default=None)
    source = path_from_here(opened.plan.manifest.path)
    outdated = outdated_variants(graph, outdated_actions(opened, outcomes))
    graph = as_built(graph, outdated, opened, outcomes)
    return gather(graph, outcomes, opened.store.traces.find, source=source, ended=ended, outdated=outdated)
