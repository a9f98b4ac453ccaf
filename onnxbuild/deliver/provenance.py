"""`onnxbuild.json` in a delivered folder: what the variant was made from, and which files of the folder are ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.digest import Digest
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import ActionGraph, FilesSource, OutputRef, Stated, Variant
from onnxbuild.regular_files import read_regular
from onnxbuild.steps.dataset_rows import PORT as ROWS
from onnxbuild.steps.packaging.package_kind import CLIENT
from onnxbuild.store.content import File, Tree
from onnxbuild.store.store import Store
from onnxbuild.version import __version__

PROVENANCE = "onnxbuild.json"
CHECKS, MEASURES = ("validate", "load"), ("benchmark", "generate", "tune")

_LARGEST = 16 << 20  # bytes; a description of 250 files has 0.1 MB


def proofs_among(steps: Sequence[Any]) -> frozenset[str]:
    """The ids of the described checks whose graph is not the delivered one, but one that it was made from."""
    builds = [step for step in steps if not is_check(step.kind) and step.kind not in MEASURES]
    last = set(builds[-1].outputs.values()) if builds else set()
    earlier = {digest for step in builds for digest in step.outputs.values()} - last
    return frozenset(step.id for step in steps if is_check(step.kind) and step.inputs.get("model") in earlier)


def is_check(kind: str) -> bool:
    """Whether a step of this kind is a check: of the numbers, of the loading, or with the client of a package."""
    return kind in CHECKS or kind.startswith(CLIENT)


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
        **{name: text for name in ("task", "manifest") if (text := getattr(variant, name))},
        "precision": variant.precision,
        "sources": [_source(name, variant.stated[name], graph, outcomes) for name in variant.stated if name in done],
        "datasets": _datasets(done, graph, outcomes, store),
        **({"chosen": chosen} if chosen is not None else {}),
        "files": {
            file.name: {"blake3": file.digest, "bytes": file.size} for file in content.files if file.name != PROVENANCE
        },
        "steps": [_step(outcomes[name], graph, store) for name in done if outcomes[name].outcome in SUCCEEDED],
    }
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _source(name: str, stated: Stated, graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> Mapping[str, Any]:
    """What a fetch has read: the commit of a Hub repository, the digest of any source, and the license it states."""
    params = graph.actions[name].params
    named = {"license": stated.license, "license_from": stated.license_from}
    digest = outcomes[name].outputs.get("model")
    if params["origin"] == "hub":
        place = {"repository": params["repo"], "commit": params["revision"]}
    elif params["origin"] == "random":
        place = {"architecture": params["architecture"], "seed": params["seed"]}
    else:
        place = {"package": stated.package} if stated.package else {}
    return {"step": name, "kind": stated.scheme, **place, "digest": digest, **named}


def _datasets(
    names: Iterable[str], graph: ActionGraph, outcomes: Mapping[str, Outcome], store: Store
) -> Mapping[str, Mapping[str, Any]]:
    """The datasets that steps have read, by name: the digest of the rows, and the commit of those on the Hub."""
    found = {}
    for name in names:
        action = graph.actions[name]
        rows = action.inputs.get(ROWS)
        trace = store.traces.find(outcomes[name].key or "")
        if rows is not None and trace is not None:
            fetch = graph.actions[rows.action].params if isinstance(rows, OutputRef) else {}
            place = {"repository": fetch["repo"], "commit": fetch["revision"]} if fetch else {}
            files = {"files": list(rows.files)} if isinstance(rows, FilesSource) else {}
            found[str(action.params.get("dataset"))] = {**place, **files, "digest": trace.parts["inputs"][ROWS]}
    return dict(sorted(found.items()))


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
