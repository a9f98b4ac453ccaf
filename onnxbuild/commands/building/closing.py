"""The text at the end of a run: the table, the failures, the closing line, and the state of the outputs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import structs

from onnxbuild.commands.building.finished import Finished, Result
from onnxbuild.commands.building.no_best import choices_without_best
from onnxbuild.commands.workspace import planned
from onnxbuild.deliver.checking.signed_content import has_outdated_signature
from onnxbuild.deliver.out_folder import Delivery
from onnxbuild.diagnostics import Diagnostic, DiagnosticError
from onnxbuild.execute.events import Outcome
from onnxbuild.manifest.spec import Manifest
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.planning.packages.asked_uploads import uploads_in
from onnxbuild.planning.select import packages_named, variants_named
from onnxbuild.report.outlet import draw
from onnxbuild.report.result.folders_written import folders_in_words
from onnxbuild.report.result.profile import critical_path_in_words
from onnxbuild.report.result.summary import summary
from onnxbuild.report.terminal import fitted, wants_colour, width_of
from onnxbuild.report.wording import counted, folder_from_here, on_one_line, size_in_words
from onnxbuild.tables.choices import BEST


def report(finished: Finished) -> None:
    """Print the end of a run: results to stdout, the rest to stderr."""
    options, result = finished.options, finished.result
    for line in _notices(finished):
        print(fitted(on_one_line(line), sys.stderr), file=sys.stderr)  # a file name must not add a line of its own
    if options.as_json:
        return
    text = summary_text(result, finished, width=width_of(sys.stdout), colour=wants_colour(sys.stdout))
    draw(f"{text}\n", sys.stdout)
    ending = [] if options.quiet else list(_details(finished))
    for line in (*ending, *_failed_folders(result)):
        print(fitted(line, sys.stdout))


def summary_text(result: Result, finished: Finished, *, width: int | None = None, colour: bool = False) -> str:
    """The table of the selected variants, the failures, and the closing line; `width` and `colour` of a terminal."""
    options = finished.options
    return summary(
        _shown_graph(finished),
        result.outcomes,
        seconds=result.seconds,
        manifest=options.asked.manifest,
        options=options.repeated,
        common=options.asked.as_arguments(),
        interrupted=result.interrupted,
        fetched=_fetched(finished, result),
        earlier=_earlier_uploads(finished, result),
        brief=options.quiet,
        undelivered=_undelivered(finished, result),
        width=width,
        colour=colour,
    )


def _undelivered(finished: Finished, result: Result) -> tuple[Diagnostic, ...] | None:
    """The failures of folders that have a code; None if every folder was written."""
    if not _failed(result):
        return None
    return choices_without_best(finished.opened.graph, result.outcomes, _manifest(finished))


def _failed(result: Result) -> list[Delivery]:
    return [delivery for delivery in result.deliveries if delivery.state == "failed"]


def _failed_folders(result: Result) -> Iterator[str]:
    """The last line of a run whose actions succeeded and whose folders could not all be written."""
    if failed := _failed(result):
        folders = ", ".join(on_one_line(folder_from_here(one.folder)) for one in failed)
        yield f"failed: {folders} could not be written"


def _earlier_uploads(finished: Finished, result: Result) -> Mapping[str, Outcome]:
    """The uploads that nobody has asked for in this run, because an earlier one has made them."""
    whole = finished.opened.plan.whole
    unasked = uploads_in(whole) - result.outcomes.keys()
    wanted = frozenset(one for one in unasked if {*whole.actions[one].needs} <= result.outcomes.keys())
    if not wanted:
        return {}
    graph = whole.only(whole.with_needs(wanted))
    found = finished.opened.preview(graph, own=wanted)
    return {one: found[one] for one in wanted if found[one].outcome == "hit"}


def _fetched(finished: Finished, result: Result) -> int:
    """How many results this run took from the remote store. A hit with a reason was none when the run began."""
    if finished.opened.store.remote is None:
        return 0
    origin = finished.opened.store.traces.origin
    hits = [one for one in result.outcomes.values() if one.outcome == "hit" and one.reasons and one.key]
    return sum(origin(one.key) is not None for one in hits if one.key)


def _details(finished: Finished) -> Iterator[str]:
    """Where the outputs were written, and what the run waited for."""
    result = finished.result
    folders = [delivery.folder for delivery in result.deliveries if delivery.state in {"written", "repaired"}]
    if folders:
        yield folders_in_words(folders)
    path = critical_path_in_words(finished.opened.graph, result.outcomes)
    if path and not result.interrupted:
        yield path


def _shown_graph(finished: Finished) -> ActionGraph:
    """The graph that was run, with only the selected variants: others share steps with them and get no row."""
    plan = finished.opened.plan
    run = plan.whole.only(frozenset(finished.result.outcomes))
    shown = variants_named(run, finished.options.asked.selectors)
    packages = packages_named(run, finished.options.asked.selectors)
    return ActionGraph(_with_places(run, finished).actions, shown, run.aliases, run.choices, packages, run.uploads)


def _with_places(graph: ActionGraph, finished: Finished) -> ActionGraph:
    """The graph with places in the manifest if a failure shows its line: a remembered plan has none."""
    if finished.result.exit_code == 0:
        return graph
    if finished.before is None:
        return _at_bounds(graph, finished, finished.opened.plan.manifest)
    try:
        manifest, expansion, _ = planned(finished.options.asked, write_lock=False)
    except DiagnosticError:  # the manifest has changed meanwhile
        return graph
    located = expansion.graph.only(frozenset(graph.actions))
    return _at_bounds(located, finished, manifest) if located.actions.keys() == graph.actions.keys() else graph


def _manifest(finished: Finished) -> Manifest | None:
    """The manifest with its places; None if it has changed since the plan that was used."""
    if finished.before is None:
        return finished.opened.plan.manifest
    try:
        return planned(finished.options.asked, write_lock=False)[0]
    except DiagnosticError:
        return None


def _at_bounds(graph: ActionGraph, finished: Finished, manifest: Manifest) -> ActionGraph:
    """The graph in which a failed validation is at the bound that broke, where the manifest states it."""
    from onnxbuild.report.result.origins import broken_bound

    moved = {
        name: structs.replace(graph.actions[name], span=at)
        for name, outcome in finished.result.outcomes.items()
        if outcome.outcome == "failed" and name in graph.actions
        if (at := broken_bound(outcome, graph.actions[name], manifest)) is not None
    }
    return structs.replace(graph, actions={**graph.actions, **moved})


def _notices(finished: Finished) -> Iterator[str]:
    """What a user should know about the output folders and the remote store."""
    result = finished.result
    graph, selectors = finished.opened.graph, finished.options.asked.selectors
    selected = {variant.name for variant in variants_named(graph, selectors)}
    selected |= {one.variant.name for one in packages_named(graph, selectors)}
    for delivery in result.deliveries:
        folder = folder_from_here(delivery.folder)
        if delivery.state == "repaired":
            yield f"{folder} {_changes(delivery)}: restored from the store"
        elif delivery.state == "failed" and (finished.options.as_json or not _is_best(delivery)):
            yield f"{folder} could not be written: {delivery.error}"
        elif _kept_last_good(finished, delivery.folder, delivery.state) and delivery.variant in selected:
            yield f"{folder} still contains the last good build"
        for name, now in delivery.kept:
            yield f"{folder} had a file `{name}` that is not of onnxbuild: it is now `{now}`"
        if delivery.files and has_outdated_signature(Path(delivery.folder)):
            yield f"{folder} has a `model.sig` of another content; `onnxbuild sign` makes one of this content"
    remote = finished.opened.store.remote
    if result.shared is not None and result.shared.results and remote is not None:
        size = size_in_words(result.shared.bytes)
        yield f"shared {counted(result.shared.results, 'result')} ({size}) with {remote.address.shown}"


def _is_best(delivery: Delivery) -> bool:
    return delivery.variant.endswith(f"/{BEST}")


def _changes(delivery: Delivery) -> str:
    """What somebody did to the files of a folder."""
    edited = [name for name in delivery.edited if name not in delivery.missing]
    words = {"had been edited": edited, "lacked files": delivery.missing}
    listed = ((verb, ", ".join(f"`{name}`" for name in names)) for verb, names in words.items() if names)
    return " and ".join(f"{verb} ({names})" for verb, names in listed)


def _kept_last_good(finished: Finished, folder: str, state: str) -> bool:
    return state == "withheld" and os.path.isdir(folder) and not finished.result.interrupted
