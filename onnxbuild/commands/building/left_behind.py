"""What a run leaves for the next one: the name of its manifest, and a receipt where all is well."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import structs

from onnxbuild.commands.building.closing import summary_text
from onnxbuild.commands.building.finished import Finished
from onnxbuild.execute.events import Outcome
from onnxbuild.receipts.receipt import Part, write_receipt
from onnxbuild.receipts.remembered_plan import files_of_parts, parts_of, remember
from onnxbuild.report.progress.jsonl import events_text


def note_last(finished: Finished) -> None:
    """Note which manifest was run last here, for `explain ID`; a folder that cannot be written costs no more."""
    state = finished.opened.state
    with contextlib.suppress(OSError):
        state.mkdir(exist_ok=True)
        (state / "last").write_text(f"{Path(finished.options.asked.manifest).name}\n", encoding="utf-8")


def leave_receipt(finished: Finished) -> None:
    """Leave a receipt, where the next run of the same may be answered by it."""
    result, store = finished.result, finished.opened.store
    # What could not be shared is offered again by the next run, which a receipt would spare.
    if result.exit_code != 0 or not (result.shared is None or result.shared.complete):
        return
    # Before the receipt: runs that are answered by it have no reason to look for what was left here.
    store.release()
    with contextlib.suppress(OSError):
        _write(finished)


def _write(finished: Finished) -> None:
    """Write the receipt; the parts of a former one that have not moved stay as they are. Errors: OSError."""
    opened, before = finished.opened, finished.before
    whole = opened.plan.whole.only(frozenset(finished.result.outcomes))
    names = before.memory.parts if before else parts_of(whole)
    parts = _parts(finished, names)
    if parts is None:
        return
    hits = _as_hits(finished.result.outcomes)
    watched = [path for path in map(os.path.abspath, opened.plan.watched) if os.path.exists(path)]
    write_receipt(
        str(opened.state),
        finished.question,
        read=before.receipt.read if before else watched,
        began_ns=finished.began_ns,
        made=[str(opened.store.root / "blobs")],
        parts=parts,
        environment=opened.plan.manifest.environment,
        answer=_answer(finished, hits),
        memory=remember(structs.replace(opened.plan, graph=whole), names, hits),
    )


def _parts(finished: Finished, names: tuple[tuple[str, ...], ...]) -> list[Part | list[Any]] | None:
    """The files of every part; None where one was not read as it is now."""
    opened, before = finished.opened, finished.before
    moved = sorted(before.receipt.moved) if before else range(len(names))
    fresh = files_of_parts([names[number] for number in moved], opened.graph, finished.result.deliveries, opened.store)
    if fresh is None:
        return None
    files = dict(enumerate(before.receipt.parts)) if before else {}
    return [part for _, part in sorted((files | dict(zip(moved, fresh, strict=True))).items())]


def _answer(finished: Finished, hits: Mapping[str, Outcome]) -> str:
    """What a run prints that finds all of this up to date."""
    if finished.options.as_json:
        return events_text(hits)
    return summary_text(structs.replace(finished.result, outcomes=hits, seconds=0.0), finished) + "\n"


def _as_hits(outcomes: Mapping[str, Outcome]) -> Mapping[str, Outcome]:
    return {
        name: structs.replace(outcome, outcome="hit", reasons=(), seconds=0.0, log=None)
        for name, outcome in outcomes.items()
    }
