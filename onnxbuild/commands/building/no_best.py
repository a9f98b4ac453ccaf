"""A choice that no variant fulfils: a failure of the run, at the place in the manifest that asks for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from onnxbuild.deliver.best_variant import Chosen, broken_by_all, chosen_variants, in_words
from onnxbuild.diagnostics import Diagnostic, Span, fault
from onnxbuild.execute.events import Outcome
from onnxbuild.manifest.document import Table
from onnxbuild.manifest.spec import Manifest
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.tables.choices import BEST


def choices_without_best(
    graph: ActionGraph, outcomes: Mapping[str, Outcome], manifest: Manifest | None
) -> tuple[Diagnostic, ...]:
    """OBE260 for each choice among finished variants that no variant fulfils."""
    return tuple(no_best(chosen, manifest) for chosen in chosen_variants(graph, outcomes) if chosen.best is None)


def no_best(chosen: Chosen, manifest: Manifest | None) -> Diagnostic:
    """OBE260, at the bound that every variant breaks, else at `select:`; without a manifest, no place."""
    at = None if manifest is None else _place(chosen, manifest)
    return fault("OBE260", in_words(chosen), span=at, subject=f"{chosen.choice.model}/{BEST}", hint=_hint(chosen))


def _hint(chosen: Chosen) -> str:
    if all(one.broken for one in chosen.candidates):
        return "relax a bound below `subject_to`, or add a target that fulfils all of them"
    return "a variant that was not measured or not checked cannot be chosen: give every target what the choice goes by"


def _place(chosen: Chosen, manifest: Manifest) -> Span | None:
    blocks = (model.block for model in manifest.models if model.name == chosen.choice.model)
    written = next(blocks, None)
    select = None if written is None else written.get("select")
    if written is None or not isinstance(select, Table):
        return None
    return _bound(select.get("subject_to"), broken_by_all(chosen)) or written.keys_at.get("select")


def _bound(bounds: object, figures: Iterable[str]) -> Span | None:
    if not isinstance(bounds, Table):
        return None
    return next((bounds.value_span(figure) for figure in figures if figure in bounds), None)
