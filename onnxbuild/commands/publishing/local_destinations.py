"""Uploads to folders of this machine: whether what was published is still there, which costs nothing to look at."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from onnxbuild.execute.last_outcomes import LastOutcomes
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.publishing.uploaded_files import ACCOUNT, SUMS, Listing, listed
from onnxbuild.regular_files import read_regular
from onnxbuild.steps.publish import RECEIPT
from onnxbuild.store.store import Store

_LARGEST = 16 << 20


def lacking_uploads(graph: ActionGraph, store: Store, scope: str) -> frozenset[str]:
    """The uploads to folders that no longer have what the last upload has left there: every file in its size, listed.

    Another list is that of an upload that was cut off, or that another manifest has made.
    """
    last = LastOutcomes(store, scope)
    found = ((action, folder, last_files(last, store, action)) for action, folder in _folders(graph))
    return frozenset(action for action, folder, files in found if files and not _has(folder, files))


def last_files(last: LastOutcomes, store: Store, action: str) -> Mapping[str, Any]:
    """The files of the last upload with their sizes and digests, as its receipt lists them."""
    trace = last.trace(action)
    if trace is None:
        return {}
    try:
        files = {file.name: file.digest for file in store.tree(trace.outputs["receipt"]).files}
        receipt = msgspec.json.decode(store.content.path(files[RECEIPT]).read_bytes())
    except (OSError, KeyError, ValueError):
        return {}
    found: Mapping[str, Any] = receipt.get("files", {})
    return found


def files_of_destinations(graph: ActionGraph) -> Iterator[str]:
    """What is published in folders, and the lists of it: a run looks again when one of these files has changed."""
    for _, folder in _folders(graph):
        sums = os.path.join(folder, SUMS)
        yield sums
        yield from (os.path.join(folder, name) for name in _listed(sums))


def _folders(graph: ActionGraph) -> Iterator[tuple[str, str]]:
    """Each upload to a folder with the folder."""
    for upload in graph.uploads:
        action = graph.actions.get(upload.action)
        if action is not None and action.params.get("folder"):
            yield action.id, str(action.params["folder"])


def _listed(sums: str) -> Listing:
    try:
        return listed(read_regular(sums, _LARGEST))
    except OSError:
        return {}


def _has(folder: str, files: Mapping[str, Any]) -> bool:
    """Whether a folder has these files. `onnxbuild.json` is not compared: an equal upload leaves an earlier one."""
    then = {name: {one["sha256"]} for name, one in files.items() if name not in {ACCOUNT, SUMS}}
    now = {name: digests for name, digests in _listed(os.path.join(folder, SUMS)).items() if name != ACCOUNT}
    return now == then and all(_is_there(folder, name, one) for name, one in files.items())


def _is_there(folder: str, name: str, facts: Mapping[str, Any]) -> bool:
    place = os.path.join(folder, name)
    # The size of these two may be another one: an equal upload leaves an earlier `onnxbuild.json` in place.
    return os.path.isfile(place) and (name in {ACCOUNT, SUMS} or os.path.getsize(place) == facts["bytes"])
