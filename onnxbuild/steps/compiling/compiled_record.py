"""`compiled.json`: what a folder of a backend says of itself, and what has to be known to load it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from onnxbuild.publishing.sha256_sums import sha256_of

RECORD = "compiled.json"
SCRIPT = "compile.sh"
FORMAT = 1

State = Literal["prepared", "compiled"]


class StageInput(Struct, frozen=True, forbid_unknown_fields=True):
    """An input of a stage: its dimensions (names where they vary), and its ONNX type, such as `tensor(int64)`."""

    shape: tuple[int | str, ...]
    type: str


class CompiledStage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way in which the variant is run (`tables/graph_stages.py`), by a file of the backend.

    `branch`: what `use_cache_branch` is fed, None where the graph has no such input.
    """

    file: str
    inputs: Mapping[str, StageInput]
    outputs: Mapping[str, tuple[int | str, ...]]  # dimensions, by name, in the order of the graph
    branch: bool | None = None


class CompilerOfRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The compiler, and what it was told. `command`: with paths in the folder alone; empty for a library."""

    name: str
    version: str | None = None  # None where it is absent
    command: tuple[str, ...] = ()


class CompiledRecord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a folder of a backend says of itself.

    `properties`: what the runtime must be told to load the files. `needs`: why it is only prepared. `files`: the
    SHA-256 of every file of the backend, by name. `settings`: what else its engine has to know. `loading`: the SHA-256
    of what the files are loaded with, which is all but `compiler`, `files` and `state`; empty in records of before.
    """

    backend: str
    state: State
    compiler: CompilerOfRecord
    device: str
    stages: Mapping[str, CompiledStage]
    properties: Mapping[str, str] = {}
    needs: str | None = None
    files: Mapping[str, str] = {}
    settings: Mapping[str, Any] = {}
    loading: str = ""
    format: int = FORMAT


def write_record(folder: Path, record: CompiledRecord, files: Sequence[str]) -> None:
    """Write `compiled.json` with the digests of the named files of the folder."""
    digests = {name: sha256_of(folder / name) for name in sorted(files)}
    complete = msgspec.structs.replace(record, files=digests, loading=loading_digest(record))
    text = msgspec.json.format(msgspec.json.encode(complete, order="deterministic"), indent=2)
    (folder / RECORD).write_bytes(text + b"\n")


def read_record(folder: Path) -> CompiledRecord | None:
    """The record of a folder; None if it has none. Errors: msgspec.DecodeError for one that is damaged."""
    path = folder / RECORD
    return msgspec.json.decode(path.read_bytes(), type=CompiledRecord) if path.is_file() else None


def loading_digest(record: CompiledRecord) -> str:
    """The SHA-256 of what the files are loaded with: another hint of the precision computes something else."""
    parts = (record.backend, record.device, record.stages, record.properties, record.settings)
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()
