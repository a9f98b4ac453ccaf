"""What a run leaves for the next one: the name of its manifest, and a receipt where all is well."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from onnxbuild.commands.building.closing import summary_text
from onnxbuild.commands.building.finished import Finished
from onnxbuild.commands.parsing.last_run import note_last_run
from onnxbuild.commands.state.locations import own_store
from onnxbuild.execute.events import Outcome
from onnxbuild.execute.sharing.compiled_elsewhere import is_prepared
from onnxbuild.printable import printable
from onnxbuild.receipts.new_receipt import write_receipt
from onnxbuild.receipts.remembered_plan import files_of_parts, parts_of, remember, stored_files
from onnxbuild.report.progress.jsonl import events_text
from onnxbuild.secrets import redacted
from onnxbuild.store.database import GENERATION
from onnxbuild.store.store import Store


def note_last(finished: Finished) -> None:
    """Note what was run last here, for `explain ID`."""
    asked, root = finished.options.asked, finished.opened.store.root
    own = own_store(asked.manifest, finished.opened.plan.manifest)
    note_last_run(finished.opened.state, asked, None if root == own else root)


def leave_receipt(finished: Finished) -> None:
    """Leave a receipt if it may answer the next run with the same arguments."""
    result, store = finished.result, finished.opened.store
    # The next run offers again what could not be shared, and asks for what another machine has compiled meanwhile; a
    # receipt would skip both.
    if result.exit_code != 0 or not (result.shared is None or result.shared.complete) or _may_improve(finished):
        return
    # Before the receipt: the runs that it answers do not look for what was left here.
    store.release()
    with contextlib.suppress(OSError):
        _write(finished)


def _may_improve(finished: Finished) -> bool:
    """Whether something is only prepared that a remote store may have, or that another process has just compiled."""
    store = finished.opened.store
    prepared = [one for one in finished.result.outcomes.values() if is_prepared(one.facts)]
    return any(store.remote is not None or _is_replaced(one, store) for one in prepared)


def _is_replaced(outcome: Outcome, store: Store) -> bool:
    trace = store.traces.find(outcome.key or "")
    return trace is None or dict(trace.outputs) != dict(outcome.outputs)


def _write(finished: Finished) -> None:
    """Write the receipt; unchanged parts of an earlier one are kept. Errors: OSError."""
    opened, before, outcomes = finished.opened, finished.before, finished.result.outcomes
    whole = opened.plan.whole.only(frozenset(outcomes))
    names = before.memory.parts if before else parts_of(whole)
    parts = _parts(finished, names)
    if parts is None:
        return
    hits = _as_hits(outcomes)
    write_receipt(
        str(opened.state),
        finished.question,
        read=[*before.receipt.read, *before.receipt.absent]
        if before
        else list(map(os.path.abspath, opened.plan.watched)),
        began_ns=finished.began_ns,
        made=[str(opened.store.root / GENERATION)],
        parts=parts,
        stored=stored_files(outcomes, opened.store),
        environment=before.receipt.environment
        if before
        else {*opened.plan.manifest.environment, *opened.plan.variables},
        answer=_answer(finished, hits),
        memory=remember(structs.replace(opened.plan, graph=whole), names, hits),
    )


def _parts(finished: Finished, names: tuple[tuple[str, ...], ...]) -> list[Mapping[str, Any] | list[Any]] | None:
    """The files of every part; None if one has changed since it was read."""
    opened, before, result = finished.opened, finished.before, finished.result
    moved = sorted(before.receipt.moved) if before else range(len(names))
    fresh = files_of_parts(
        [names[number] for number in moved], opened.graph, result.outcomes, result.deliveries, opened.store
    )
    if fresh is None:
        return None
    files = dict(enumerate(before.receipt.parts)) if before else {}
    return [part for _, part in sorted((files | dict(zip(moved, fresh, strict=True))).items())]


def _answer(finished: Finished, hits: Mapping[str, Outcome]) -> str:
    """What a run prints if all of this is up to date: kept on the disk, so without secrets."""
    return printable(redacted(_answer_text(finished, hits)))


def _answer_text(finished: Finished, hits: Mapping[str, Outcome]) -> str:
    if finished.options.as_json:
        return events_text(hits)
    # A quiet run leaves the whole answer, too: the next one may not be quiet.
    whole = structs.replace(finished, options=finished.options._replace(quiet=False))
    return summary_text(structs.replace(finished.result, outcomes=hits, seconds=0.0), whole) + "\n"


def _as_hits(outcomes: Mapping[str, Outcome]) -> Mapping[str, Outcome]:
    return {
        name: structs.replace(outcome, outcome="hit", reasons=(), seconds=0.0, log=None)
        for name, outcome in outcomes.items()
    }
