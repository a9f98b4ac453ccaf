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
from onnxbuild.digest import Digest
from onnxbuild.execute.events import Outcome
from onnxbuild.manifest.spec import Manifest
from onnxbuild.manifest.spec import Store as Settings
from onnxbuild.planning.action_graph import Action, ActionGraph, FilesSource
from onnxbuild.planning.planned import Plan
from onnxbuild.receipts.new_receipt import Stored
from onnxbuild.receipts.receipt import Standing
from onnxbuild.secrets import redacted
from onnxbuild.steps import Places
from onnxbuild.store.content import File, Tree
from onnxbuild.store.database import DATABASE
from onnxbuild.store.files import Signature, may_be_exchanged
from onnxbuild.store.store import Store
from onnxbuild.tables.choices import BEST

Memo = tuple[Signature, Digest]


class Memory(Struct, frozen=True, array_like=True):
    """A plan without its text, the outcome of every action, and the parts of the graph that share nothing."""

    manifest: str
    settings: Settings
    graph: ActionGraph
    named: frozenset[str]
    delivers: frozenset[str]
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
            delivers=self.delivers,
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
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None
    return Before(receipt, memory) if len(memory.parts) == len(receipt.parts) else None


def remember(plan: Plan, parts: tuple[tuple[str, ...], ...], outcomes: Mapping[str, Outcome]) -> bytes:
    """The memory to leave with a receipt; empty if the plan holds secrets, needs environments, or waits for something.

    An upload waits until somebody asks for it. What only a best
    variant gets is part of the plan of one run: the next choice may be another one. A plan without some measures of
    what it delivers does not know whether the store has their results.
    """
    if (
        plan.manifest.environment
        or _has_secrets(plan.manifest.store.remote)
        or any(model.toolchain for model in plan.manifest.models)
        or any(variant.if_best for variant in plan.whole.variants)
        or any(one.action not in plan.graph.actions for one in plan.whole.uploads)
        or any(not plan.graph.actions.keys() >= {*one.members} for one in plan.described)
    ):
        return b""
    # Places in the manifest would put its text into every action; if one is needed, the manifest is read again.
    actions = {name: msgspec.structs.replace(action, span=None) for name, action in plan.graph.actions.items()}
    return msgspec.msgpack.encode(
        Memory(
            manifest=plan.manifest.path,
            settings=msgspec.structs.replace(plan.manifest.store, spans={}, trust_spans=()),
            graph=ActionGraph(
                actions,
                plan.graph.variants,
                choices=plan.graph.choices,
                packages=plan.graph.packages,
                uploads=plan.whole.uploads,
            ),
            named=plan.named,
            delivers=plan.delivers,
            plugins=plan.plugins,
            outcomes=outcomes,
            parts=parts,
        )
    )


def _has_secrets(remote: str | None) -> bool:
    """Whether the address of a remote store has a password, which must not be kept."""
    return redacted(remote or "") != (remote or "")


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
    parts: Iterable[tuple[str, ...]],
    graph: ActionGraph,
    outcomes: Mapping[str, Outcome],
    deliveries: Iterable[Delivery],
    store: Store,
) -> list[Mapping[str, Signature]] | None:
    """For each part, the files that its answer depends on, with the signatures of the content that was used.

    None if that content is not known: a file has changed since it was read, or may change without a new signature.
    """
    files = {delivery.variant: delivery.files for delivery in deliveries}
    made_by: dict[str, list[Mapping[str, str]]] = {}
    for variant in graph.delivered:
        if variant.name in files:  # others are built, but not selected
            made_by.setdefault(variant.output.action, []).append(files[variant.name])
    for choice in graph.choices:  # all variants of a model are in one part
        one = next(variant for variant in graph.variants if variant.model == choice.model)
        if f"{choice.model}/{BEST}" in files:
            made_by.setdefault(one.output.action, []).append(files[f"{choice.model}/{BEST}"])
    stamps = [_stamps([graph.actions[name] for name in part], made_by, outcomes, store) for part in parts]
    return None if None in stamps else [one for one in stamps if one is not None]


def _stamps(
    actions: list[Action],
    made_by: Mapping[str, list[Mapping[str, str]]],
    outcomes: Mapping[str, Outcome],
    store: Store,
) -> Mapping[str, Signature] | None:
    sources = {path for action in actions for path in _files_of(action)}
    deliveries = [files for action in actions for files in made_by.get(action.id, ())]
    made = {path: digest for files in deliveries for path, digest in files.items()}
    known = store.traces.recall([*sources, *made])
    are_as_used = (
        sources <= known.keys()
        and not any(may_be_exchanged(path, known[path][0]) for path in sources)
        and all(_are_as_read(action, outcomes[action.id], known, store) for action in actions)
        and all(deliveries)
        and all(path in known and known[path][1] == digest for path, digest in made.items())
    )
    return {path: stamp for path, (stamp, _digest) in known.items()} if are_as_used else None


def _are_as_read(action: Action, outcome: Outcome, known: Mapping[str, Memo], store: Store) -> bool:
    """Whether what is remembered about the sources of an action is what its key was made from.

    Another process may have read and remembered them anew after they were changed during the run.
    """
    sources = {port: source for port, source in action.inputs.items() if isinstance(source, FilesSource)}
    trace = store.traces.find(outcome.key) if sources and outcome.key else None
    return not sources or (
        trace is not None
        and all(trace.parts["inputs"][port] == _tree(source, known).digest for port, source in sources.items())
    )


def _tree(source: FilesSource, known: Mapping[str, Memo]) -> Tree:
    memos = ((name, known[os.path.join(source.root, name)]) for name in source.files)
    return Tree(tuple(File(name, digest, stamp[0]) for name, (stamp, digest) in memos))


def stored_files(outcomes: Mapping[str, Outcome], store: Store) -> Stored:
    """What the results of a run need from the store. Errors: OSError."""
    store.traces.write_back()
    trees = {digest for outcome in outcomes.values() for digest in outcome.outputs.values()}
    sizes: dict[str, int] = {file.digest: file.size for digest in sorted(trees) for file in store.tree(digest).files}
    return Stored(str(store.root / "blobs"), str(store.root / DATABASE), sizes)


def _files_of(action: Action) -> Iterator[str]:
    for source in action.inputs.values():
        if isinstance(source, FilesSource):
            yield from (os.path.join(source.root, name) for name in source.files)
