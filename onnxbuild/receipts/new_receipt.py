"""Writes the receipt of a run in which everything succeeded; `receipt` defines its layout, and reads it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from onnxbuild.receipts.receipt import FORMAT, Question, digest_of, installed, receipt_path, variable_fingerprint
from onnxbuild.regular_files import is_folder, is_link
from onnxbuild.store.files import (
    Signature,
    changed_ns,
    granule_ns,
    may_be_exchanged,
    settled_signature,
    signature,
    write_atomically,
)
from onnxbuild.store.marker import FOLDERS


class Stored(NamedTuple):
    """What an answer needs from the store: its folder of blobs, its database, and the size of each file by digest."""

    blobs: str
    database: str
    sizes: Mapping[str, int]


def write_receipt(
    folder: str,
    question: Question,
    *,
    read: Sequence[str],
    began_ns: int,
    made: Sequence[str],
    parts: Iterable[Mapping[str, Any] | list[Any]],
    stored: Stored,
    environment: Iterable[str],
    answer: str,
    memory: bytes = b"",
) -> None:
    """Write a receipt, unless a file that the answer depends on has changed since it was read.

    `read`: files and folders that planning looked at after `began_ns`, also those that are missing; `made`: what all
    parts depend on; `environment`: the variables that planning looked at; a part has for each of its files the
    signature that belongs to the content that the answer is about. An unchanged part of an earlier receipt is passed as
    it is there. Errors: OSError, which a caller may ignore.
    """
    present = [path for path in read if os.path.exists(path)]
    stamps = {path: settled_signature(path) for path in {*present, *made}}
    for path in present:
        # If a manifest is edited during its build, the build must not call the edited manifest up to date.
        if _is_newer(stamps[path], began_ns) or may_be_exchanged(path, stamps[path]):
            return
    parts = [part if isinstance(part, list) else _stamped(part) for part in parts]
    folders, links = _ways([*read, *made, *(file[0] for part in parts for file in part)], stored)
    if any(_is_newer(signature(os.lstat(link)), began_ns) for link in links):
        return
    database = os.stat(stored.database)
    held = " ".join(f"{digest} {size}" for digest, size in stored.sizes.items())
    receipt = {
        "question": question,
        "format": FORMAT,
        "environment": {name: variable_fingerprint(name) for name in sorted(environment)},
        "installed": installed(),
        "read": [[path, *stamps[path]] for path in present],
        "absent": sorted({*read} - {*present}),
        "folders": folders,
        "links": links,
        "made": [[path, *stamps[path]] for path in made],
        "store": [stored.blobs, stored.database, database.st_ino, database.st_size, held],
        "parts": parts,
        "answer": answer,
        "memory": digest_of(memory),
    }
    path = receipt_path(folder, question)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_atomically(Path(path), json.dumps(receipt, separators=(",", ":")).encode() + b"\n" + memory)


def _is_newer(stamp: Signature, began_ns: int) -> bool:
    changed = changed_ns(stamp)
    return changed + granule_ns(changed) >= began_ns


def _ways(paths: Iterable[str], stored: Stored) -> tuple[list[str], dict[str, str]]:
    """Folders, and links with where they lead: those of the store, among the paths, and on the way to them."""
    root = os.path.dirname(stored.blobs)
    own = {os.path.join(root, name) for name in FOLDERS}  # also those that a store has only at times
    watched = {*own, *(os.path.join(stored.blobs, digest[:2]) for digest in stored.sizes), *paths}
    places = set(watched)
    for path in watched:
        place = path
        while (place := os.path.dirname(place)) not in places:
            places.add(place)
    links = {place: os.path.realpath(place) for place in sorted(places) if is_link(place)}
    folders = own | set(filter(is_folder, places - set(paths)))  # a path itself is watched by its stamps
    return sorted(folders - links.keys()), links


def _stamped(part: Mapping[str, Any]) -> list[Any]:
    return [[path, *stamp] for path, stamp in sorted(part.items())]
