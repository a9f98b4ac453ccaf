"""`onnxbuild card`: a model card for each model of a manifest, from the results of its last runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.publishing.card_folders import folder_of_card
from onnxbuild.commands.reporting.gathered import evidence_of_session
from onnxbuild.commands.reporting.outdated import outdated_fault
from onnxbuild.commands.reporting.report import created_folder, write_plots
from onnxbuild.commands.reporting.source_texts import origins_of, stated_by
from onnxbuild.commands.reporting.stored_files import check_stored
from onnxbuild.commands.state.locations import out_folder
from onnxbuild.commands.state.out_place import check_folders, refuse_link
from onnxbuild.commands.status import as_last_run
from onnxbuild.commands.workspace import Session, check_output, session, write_result
from onnxbuild.deliver.best_variant import Chosen, chosen_variants
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.planning.select import variants_named
from onnxbuild.report.card.card_page import Picture, card_page
from onnxbuild.report.card.source_readme import README
from onnxbuild.report.card.subject import Folder, Subject
from onnxbuild.report.evidence.evidence import Evidence
from onnxbuild.report.render_diagnostics import show
from onnxbuild.report.wording import path_from_here
from onnxbuild.store.content import File
from onnxbuild.tables.choices import BEST

if TYPE_CHECKING:
    from onnxbuild.report.page.plots import Plot

_FAILED = 1


class CardOptions(Struct, frozen=True, kw_only=True):
    """`output`: the folder that gets one folder per model; None: out/ beside the manifest."""

    output: str | None = None
    plots: bool = True


def write_cards(asked: Asked, options: CardOptions) -> int:
    """Write README.md and the plots of each selected model; return the exit code.

    Errors: DiagnosticError OB681 for a model without a finished variant, OB092 where plots cannot be drawn, OB710 for
    results of an earlier manifest.
    """
    refuse_link(asked.manifest, options.output, "--output")
    out = out_folder(asked.manifest, options.output)
    with session(asked, write=False) as opened:
        graph = structs.replace(opened.graph, variants=variants_named(opened.graph, asked.selectors))
        check_folders(out, graph.folders, "--output")
        subjects = list(_subjects(opened, graph, offline=asked.offline))
    for subject in subjects:
        check_output(str(out / subject.model / README))
        _warn_of_missing(subject, out, asked.manifest, is_own=options.output is None)
    for subject in subjects:
        _write(subject, out / subject.model, options)
    return 0


def _warn_of_missing(subject: Subject, out: Path, manifest: str, *, is_own: bool) -> None:
    """Name the folders that a card describes, and that are not beside it (OB681).

    `is_own`: the card is where a run writes folders. Elsewhere, a folder without any of them is one for cards alone.
    """
    best = [BEST] if subject.chosen is not None else []
    packages = (row.name.partition("/")[2] for row in subject.packages)
    described = [*subject.folders, *best, *packages]
    missing = [name for name in described if not (out / subject.model / name).is_dir()]
    if missing and (is_own or len(missing) < len(described)):
        where = path_from_here(out / subject.model)
        message = f"the card of `{subject.model}` describes what is missing in `{where}`: {', '.join(missing)}"
        elsewhere = "" if is_own else f" --out {path_from_here(out)}"
        hint = f"`onnxbuild run {path_from_here(manifest)} {subject.model}{elsewhere}` writes it again"
        show([fault("OB681", message, hint=hint, severity="warning")], sys.stderr)


def _write(subject: Subject, folder: Path, options: CardOptions) -> None:
    drawn = _drawn(subject.evidence) if options.plots else []
    created_folder(folder, "--output DIR")
    if drawn:
        write_plots(drawn, str(folder))
    pictures = [Picture(f"{one.name}.png", one.title, one.description) for one in drawn]
    write_result(card_page(subject, pictures), str(folder / README))
    print(f"wrote {path_from_here(folder / README)}", file=sys.stderr)


def _drawn(evidence: Evidence) -> Sequence[Plot]:
    from onnxbuild.report.page.plots import plots

    try:
        return plots(evidence)
    except DiagnosticError as error:
        (problem,) = error.diagnostics
        hint = "`pip install 'onnxbuild[report]'`, or `--no-plots`"
        raise DiagnosticError(structs.replace(problem, notes=(("hint", hint),))) from None


# -- what the cards are about -----------------------------------------------------------------------------------------


def _subjects(opened: Session, graph: ActionGraph, *, offline: bool) -> Iterator[Subject]:
    """One per model. Errors: DiagnosticError OB681, OB710 for outdated results, OB711 for damaged ones."""
    opened, outcomes = as_last_run(structs.replace(opened, plan=structs.replace(opened.plan, graph=graph)))
    graph = opened.graph
    check_stored(opened, graph, outcomes, thorough=True)
    evidence = evidence_of_session(opened, graph, outcomes)
    if old := {variant.name: variant.outdated for variant in evidence.variants if variant.outdated}:
        raise DiagnosticError(outdated_fault(old, opened.plan.manifest.path, "error"))
    chosen = {one.choice.model: one for one in chosen_variants(graph, outcomes)}
    for model in dict.fromkeys(variant.model for variant in graph.variants):
        variants = [variant for variant in graph.variants if variant.model == model]
        yield _subject(opened, evidence, variants, outcomes, chosen.get(model), offline=offline)


def _subject(
    opened: Session,
    evidence: Evidence,
    variants: Sequence[Variant],
    outcomes: Mapping[str, Outcome],
    chosen: Chosen | None,
    *,
    offline: bool,
) -> Subject:
    model, path = variants[0].model, opened.plan.manifest.path
    done = [variant for variant in variants if _is_delivered(variant, outcomes)]
    if not done:
        hint = f"`onnxbuild run {path_from_here(path)} {model}`"
        raise DiagnosticError(fault("OB681", f"no variant of `{model}` is finished", hint=hint))
    files = {one.target: outcomes[one.output.action].outputs[one.output.port] for one in done}
    fetches = [opened.plan.whole.actions[name] for name in variants[0].steps]
    folders = {name: _stored(name, opened.store.tree(digest).files, opened) for name, digest in files.items()}
    source = next(one.source for one in opened.plan.manifest.models if one.name == model)
    return Subject(
        model=model,
        manifest=os.path.basename(path),
        evidence=structs.replace(evidence, variants=tuple(one for one in evidence.variants if one.model == model)),
        folders=folders,
        origins=tuple(origins_of(source, fetches, outcomes)),
        chosen=chosen if chosen is not None and chosen.best is not None else None,
        stated=stated_by(fetches, folders[done[0].target].config, offline=offline),
        datasets=_repositories(opened),
    )


def _is_delivered(variant: Variant, outcomes: Mapping[str, Outcome]) -> bool:
    return all(name in outcomes and outcomes[name].outcome in SUCCEEDED for name in variant.needed)


def _stored(name: str, files: Sequence[File], opened: Session) -> Folder:
    """The files of a variant. Errors: DiagnosticError OB711 if the store lacks one of them."""
    try:
        return folder_of_card(name, files, opened.store)
    except OSError as error:
        message = f"a file of `{name}` cannot be read from the store: {error.strerror}"
        hint = f"`onnxbuild run {path_from_here(opened.plan.manifest.path)}` makes what is missing again"
        raise DiagnosticError(fault("OB711", message, hint=hint), exit_code=_FAILED) from None


def _repositories(opened: Session) -> Mapping[str, str]:
    """The Hub repository of each dataset that comes from one."""
    sources = ((name, one.source) for name, one in opened.plan.manifest.datasets.items())
    texts = ((name, source) for name, source in sources if isinstance(source, str) and source.startswith("hub:"))
    return {name: text.removeprefix("hub:").partition("@")[0] for name, text in texts}
