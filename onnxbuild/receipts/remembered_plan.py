"""What a run leaves with its receipt, so that the next one decides only what has changed.

The plan is a pure function of files that the receipt watches; while none of them has changed, it is read back instead
of made again. The outcomes are those of the parts that the receipt answers for. docs/decisions/receipts.md gives the
reasons.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct

from onnxbuild.deliver.out_folder import Delivery
from onnxbuild.execute.events import Outcome
from onnxbuild.manifest.spec import Manifest
from onnxbuild.manifest.spec import Store as Settings
from onnxbuild.planning.action_graph import Action, ActionGraph, FilesSource
from onnxbuild.planning.planned import Plan
from onnxbuild.receipts.receipt import Part, Standing
from onnxbuild.steps import Places
from onnxbuild.store.store import Store


class Memory(Struct, frozen=True, array_like=True):
    """A plan without its text, the outcome of every action, and the parts of the graph that share nothing."""

    manifest: str
    settings: Settings
    graph: ActionGraph
    named: frozenset[str]
    plugins: Places
    outcomes: Mapping[str, Outcome]
    parts: tuple[tuple[str, ...], ...]

    def plan(self, moved: Iterable[int]) -> Plan:
        """The plan of the parts that have changed."""
        ids = frozenset(name for number in moved for name in self.parts[number])
        manifest = Manifest(
            path=self.manifest, models=(), datasets={}, store=self.settings, files=(), environment={}, toolchains={}
        )
        return Plan(
            manifest=manifest,
            graph=self.graph.only(ids),
            named=self.named & ids,
            whole=self.graph,
            watched=(),
            plugins=self.plugins,
        )


_DECODER = msgspec.msgpack.Decoder(Memory)


class Before(Struct, frozen=True):
    """An earlier run whose plan still holds: its receipt, which knows what has changed, and the memory left with it."""

    receipt: Standing
    memory: Memory

    def plan(self) -> Plan:
        """The plan of the parts that have changed."""
        return self.memory.plan(self.receipt.moved)

    def completed(self, outcomes: Mapping[str, Outcome]) -> Mapping[str, Outcome]:
        """Outcomes of the parts that have changed, with those that the receipt answers for."""
        return {name: outcomes.get(name, outcome) for name, outcome in self.memory.outcomes.items()}


def recall(receipt: Standing | None) -> Before | None:
    """The earlier run whose receipt still applies; None if it left only its answer."""
    if receipt is None:
        return None
    try:
        memory = _DECODER.decode(receipt.memory())
    except (OSError, msgspec.MsgspecError):
        return None
    return Before(receipt, memory) if len(memory.parts) == len(receipt.parts) else None


def remember(plan: Plan, parts: tuple[tuple[str, ...], ...], outcomes: Mapping[str, Outcome]) -> bytes:
    """The memory to leave with a receipt; empty if the plan holds secrets or needs environments to be made."""
    if plan.manifest.environment or any(model.toolchain for model in plan.manifest.models):
        return b""
    # Places in the manifest would put its text into every action; if one is needed, the manifest is read again.
    actions = {name: msgspec.structs.replace(action, span=None) for name, action in plan.graph.actions.items()}
    return msgspec.msgpack.encode(
        Memory(
            manifest=plan.manifest.path,
            settings=msgspec.structs.replace(plan.manifest.store, spans={}, trust_spans=()),
            graph=ActionGraph(actions, plan.graph.variants),
            named=plan.named,
            plugins=plan.plugins,
            outcomes=outcomes,
            parts=parts,
        )
    )


def parts_of(graph: ActionGraph) -> tuple[tuple[str, ...], ...]:
    """The parts of a graph that share neither an output nor a file from outside, as ids in order."""
    # Union-find: every node leads, over its leader, to the one that represents its part.
    leader: dict[str, str] = {}

    def find(node: str) -> str:
        while leader.setdefault(node, node) != node:
            leader[node] = leader[leader[node]]
            node = leader[node]
        return node

    for action in graph.actions.values():
        for other in (*action.needs, *_files_of(action)):
            leader[find(other)] = find(action.id)
    parts: dict[str, list[str]] = {}
    for name in graph.actions:
        parts.setdefault(find(name), []).append(name)
    return tuple(map(tuple, parts.values()))


def files_of_parts(
    parts: Iterable[tuple[str, ...]], graph: ActionGraph, deliveries: Iterable[Delivery], store: Store
) -> list[Part] | None:
    """For each part the files that its answer depends on; None if one has changed since it was read."""
    folders = {delivery.variant: delivery.folder for delivery in deliveries}
    of_action: dict[str, list[str]] = {}
    for variant in graph.variants:
        of_action.setdefault(variant.output.action, []).append(folders[variant.name])
    files = []
    for part in parts:
        sources = {path for name in part for path in _files_of(graph.actions[name])}
        made = [path for name in part for folder in of_action.get(name, ()) for path in _below(folder)]
        known = store.traces.recall([*sources, *made])
        if not sources <= known.keys():
            return None
        files.append(Part(made, {path: signature for path, (signature, _digest) in known.items()}))
    return files


def _files_of(action: Action) -> Iterator[str]:
    for source in action.inputs.values():
        if isinstance(source, FilesSource):
            yield from (os.path.join(source.root, name) for name in source.files)


def _below(folder: str) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        yield place
        yield from (os.path.join(place, name) for name in names)
