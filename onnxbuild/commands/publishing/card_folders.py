"""The stored files of a folder, as a card describes them: its graphs, its config, and how it is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from onnxbuild.onnx_files.onnx_outline import NotOnnx, Outline, read_outline
from onnxbuild.regular_files import read_regular
from onnxbuild.report.card.subject import Folder
from onnxbuild.steps.compiling.compiled_record import RECORD, CompiledRecord
from onnxbuild.store.content import File
from onnxbuild.store.store import Store

_LARGEST_CONFIG = 16 << 20
_UNREADABLE = Outline((), {})  # a plugin may write graphs that only it reads


def folder_of_card(name: str, files: Sequence[File], store: Store) -> Folder:
    """The folder with what its files say. Errors: OSError if the store lacks one of them."""
    places = {file.name: store.content.path(file.digest) for file in files}
    graphs = {file: _read(read_outline, place) for file, place in places.items() if file.endswith(".onnx")}
    config = _read(_json, places["config.json"]) if "config.json" in places else None
    known = {file: outline or _UNREADABLE for file, outline in graphs.items()}
    record = _read(_record, places[RECORD]) if RECORD in places else None
    settings = config if isinstance(config, dict) else {}
    return Folder(name=name, files=tuple(files), graphs=known, config=settings, compiled=record)


def inner_folder(whole: Sequence[File], name: str, store: Store) -> Folder:
    """A folder inside of another one, with the names that its files have in it. Errors: as of `folder_of_card`."""
    inside = [
        msgspec.structs.replace(file, name=file.name.removeprefix(f"{name}/"))
        for file in whole
        if file.name.startswith(f"{name}/")
    ]
    return folder_of_card(name, inside, store)


def _read(reader: Callable[[Path], Any], path: Path) -> Any:
    """What a stored file says, None if it says nothing. Errors: OSError if the store is damaged."""
    try:
        return reader(path)
    except (NotOnnx, ValueError, RecursionError, msgspec.MsgspecError):
        return None


def _record(path: Path) -> CompiledRecord:
    return msgspec.json.decode(read_regular(path, _LARGEST_CONFIG), type=CompiledRecord)


def _json(path: Path) -> Any:
    return json.loads(read_regular(path, _LARGEST_CONFIG))
