"""Deliveries: a finished variant as a folder under `out/`, complete or not at all, and repaired after edits."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

from onnxbuild.deliver.best_variant import Chosen, chosen_variants, in_words
from onnxbuild.deliver.copies import checked_copy, equal_files
from onnxbuild.deliver.foreign_files import Renamed
from onnxbuild.deliver.package_papers import CardOf, with_card
from onnxbuild.deliver.provenance import PROVENANCE, ours, provenance
from onnxbuild.deliver.replacement import leftovers, replace_folder, tidy_up
from onnxbuild.deliver.tuned_sessions import with_session
from onnxbuild.digest import Digest, digest_bytes
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import PACKAGES, ActionGraph, Variant, is_package
from onnxbuild.regular_files import is_folder
from onnxbuild.store.content import File, Tree
from onnxbuild.store.files import Signature
from onnxbuild.store.store import Store
from onnxbuild.tables.choices import BEST

State = Literal["intact", "written", "repaired", "withheld", "failed"]

# Another process may damage a folder as soon as it is written; then it is written again, but not forever.
_ATTEMPTS = 3


class Delivery(Struct, frozen=True):
    """The state of one variant's folder. `edited`: its files that were changed or removed since the last run.

    `missing`: those of them that were removed.
    `kept`: files of others whose names the variant needs, with the names that they have now. `files`: path and digest
    of every delivered file, none if the variant was not delivered. `error`: why the folder could not be written; its
    previous content is still there.
    """

    variant: str
    folder: str
    state: State
    edited: tuple[str, ...] = ()
    kept: tuple[Renamed, ...] = ()
    files: Mapping[str, Digest] = {}
    error: str | None = None
    missing: tuple[str, ...] = ()


def deliver(
    graph: ActionGraph,
    outcomes: Mapping[str, Outcome],
    store: Store,
    out: Path,
    card_of: CardOf | None = None,
) -> tuple[Delivery, ...]:
    """Write each variant and package whose steps and checks all succeeded to its folder below `out`.

    Each chosen variant is written again to the folder of the best one.

    The folders of the others stay as they are: a failed build does not remove the last good output. Whatever others
    have put into a folder is kept. `card_of` writes the cards of packages. Errors: DamagedBlob if a stored file must be
    built again.
    """
    parents = {(out / variant.name).parent for variant in graph.delivered} | {out / one.model for one in graph.choices}
    left = {parent: leftovers(parent) for parent in parents}
    delivered = [
        _caught(variant, graph, outcomes, store, out, left[place.parent].get(place.name, ()), card_of=card_of)
        for variant in graph.delivered
        for place in [out / variant.name]
    ]
    best = (
        _best(chosen, graph, outcomes, store, out, left[out / chosen.choice.model].get(BEST, ()))
        for chosen in chosen_variants(graph, outcomes)
    )
    return (*delivered, *best)


def _best(
    chosen: Chosen,
    graph: ActionGraph,
    outcomes: Mapping[str, Outcome],
    store: Store,
    out: Path,
    left: Collection[Path],
) -> Delivery:
    """The folder of the best variant. Where no variant can be it, that is a failure: nobody must ship an old choice."""
    if chosen.best is None:
        model = chosen.choice.model
        return Delivery(f"{model}/{BEST}", str(out / model / BEST), "failed", error=in_words(chosen))
    return _caught(chosen.variant, graph, outcomes, store, out, left, chosen.as_json())


def _caught(
    variant: Variant,
    graph: ActionGraph,
    outcomes: Mapping[str, Outcome],
    store: Store,
    out: Path,
    left: Collection[Path],
    chosen: Mapping[str, Any] | None = None,
    card_of: CardOf | None = None,
) -> Delivery:
    folder = out / variant.model / variant.target
    try:
        _check_place(folder)
        kept = _tidied(folder, left, store) if left else []
        if not all(name in outcomes and outcomes[name].outcome in SUCCEEDED for name in variant.needed):
            return Delivery(variant.name, str(folder), "withheld", kept=tuple(kept))
        content = store.tree(outcomes[variant.output.action].outputs[variant.output.port])
        content = with_session(content, variant, outcomes, store)
        texts: Mapping[str, bytes] = {}
        if card_of is not None and is_package(variant):
            content, texts = with_card(content, variant, card_of, outcomes, store)
        text = provenance(variant, graph, outcomes, store, content, chosen)
        return _delivered(variant.name, folder, content, {**texts, PROVENANCE: text}, store, kept)
    except OSError as error:
        words = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
        return Delivery(variant.name, str(folder), "failed", error=words)


def _check_place(folder: Path) -> None:
    """A link in place of a folder may lead anywhere; it is neither followed nor replaced. Errors: OSError."""
    above = (folder.parent.parent,) if folder.parent.name == PACKAGES else ()
    for place in (*above, folder.parent, folder):
        if os.path.lexists(place) and not is_folder(str(place)):
            words = "is a symbolic link" if place.is_symlink() else os.strerror(errno.ENOTDIR)
            raise OSError(errno.ENOTDIR, words, str(place))


def _tidied(folder: Path, left: Iterable[Path], store: Store) -> list[Renamed]:
    """Complete what a killed run began."""
    with alone(folder, store):
        return tidy_up(folder, filter(os.path.lexists, left))


def alone(folder: Path, store: Store) -> AbstractContextManager[None]:
    """No other run writes to this folder while the body runs."""
    return store.lock(f"out-{digest_bytes(bytes(folder))}", lambda _holder: None, lambda: False)


def _delivered(
    name: str, folder: Path, content: Tree, texts: Mapping[str, bytes], store: Store, kept: list[Renamed]
) -> Delivery:
    """Compare the folder with the content and write it if it differs, until both are equal."""
    text = texts[PROVENANCE]
    wanted = {file.name: file for file in (*content.files, File(PROVENANCE, digest_bytes(text), len(text)))}
    edited: set[str] = set()
    missing: set[str] = set()
    for attempt in count():
        if equal_files(wanted.values(), folder, store) == wanted.keys():
            state: State = "repaired" if edited else "written" if attempt else "intact"
            files = {os.path.join(folder, one): file.digest for one, file in wanted.items()}
            return Delivery(
                name, str(folder), state, tuple(sorted(edited)), tuple(kept), files, missing=tuple(sorted(missing))
            )
        if attempt == _ATTEMPTS:
            break
        with alone(folder, store):
            # Check again: another run may have written the folder meanwhile.
            equal, listed = equal_files(wanted.values(), folder, store), ours(folder)
            edited |= {file.name for file in listed} - equal_files(listed, folder, store)
            missing |= {one for one in edited if not os.path.lexists(folder / one)}
            kept += _write(folder, wanted, texts, store, equal) if equal != wanted.keys() else []
    raise OSError(errno.EBUSY, "another process changes its files", str(folder))


def _write(
    folder: Path, wanted: Mapping[str, File], texts: Mapping[str, bytes], store: Store, known: Collection[str]
) -> list[Renamed]:
    copies: dict[str, Signature] = {}
    renamed = replace_folder(folder, lambda fresh: copies.update(checked_copy(wanted, texts, store, fresh)), known)
    # These are signatures of content that was read. If another process has changed a file since, its signature is
    # another one, and the comparison that follows reads the file.
    if not store.readonly:
        store.traces.remember(
            {os.path.join(folder, name): (stamp, wanted[name].digest) for name, stamp in copies.items()}
        )
    return renamed
