"""`onnxbuild.json` in a delivered folder: what the variant was made from, and which files of the folder are ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.digest import Digest
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.regular_files import read_regular
from onnxbuild.store.content import File, Tree
from onnxbuild.store.store import Store
from onnxbuild.version import __version__

PROVENANCE = "onnxbuild.json"

_LARGEST = 16 << 20  # bytes; a description of 250 files has 0.1 MB


class _Facts(Struct, frozen=True):
    blake3: str
    bytes: int


class Described(Struct, frozen=True):
    """The part of a description that is read again."""

    model: str
    target: str
    files: Mapping[str, _Facts]

    def listed(self) -> tuple[File, ...]:
        """The files that were delivered with the description."""
        return tuple(
            File(name, Digest(facts.blake3), facts.bytes) for name, facts in self.files.items() if name != PROVENANCE
        )


def described(folder: Path) -> tuple[Described, bytes] | None:
    """The description in a folder, and its text; None if it is missing or damaged, or if the file is a link."""
    try:
        text = read_regular(folder / PROVENANCE, _LARGEST)
        return msgspec.json.decode(text, type=Described), text
    except (OSError, ValueError, RecursionError):
        return None


def ours(folder: Path) -> tuple[File, ...]:
    """The files that a previous run wrote to a folder, as its description lists them."""
    found = described(folder)
    return () if found is None else found[0].listed()


def provenance(
    variant: Variant,
    graph: ActionGraph,
    outcomes: Mapping[str, Outcome],
    store: Store,
    content: Tree,
    chosen: Mapping[str, Any] | None = None,
) -> bytes:
    """The steps, their inputs and their results, as JSON: equal for equal results, without locations or times.

    `chosen`: how the variant was chosen, if it is in the folder of the best one.
    """
    done = [name for name in variant.members if name in outcomes]
    value: dict[str, Any] = {
        "onnxbuild": __version__,
        "model": variant.model,
        "target": variant.target,
        "precision": variant.precision,
        **({"chosen": chosen} if chosen is not None else {}),
        "files": {
            file.name: {"blake3": file.digest, "bytes": file.size} for file in content.files if file.name != PROVENANCE
        },
        "steps": [_step(outcomes[name], graph, store) for name in done if outcomes[name].outcome in SUCCEEDED],
    }
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _step(outcome: Outcome, graph: ActionGraph, store: Store) -> Mapping[str, Any]:
    assert outcome.key is not None, "BUG: a success has a key"
    trace = store.traces.find(outcome.key)
    assert trace is not None, "BUG: a success has a trace"
    parts = trace.parts
    return {
        "id": outcome.id,
        "kind": outcome.kind,
        "version": parts["version"],
        "key": outcome.key,
        "params": graph.actions[outcome.id].params,
        "packages": parts["packages"],
        "toolchain": parts["toolchain"],
        "machine": parts["machine"],
        "inputs": parts["inputs"],
        "outputs": trace.outputs,
        "facts": trace.facts,
    }
