"""The action graph: each action once, and the actions that it needs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from onnxbuild.diagnostics import Span
from onnxbuild.digest import canonical
from onnxbuild.steps.kind import Kind, pool_of
from onnxbuild.tables.choices import BEST, Choice


class FilesSource(Struct, frozen=True, tag="files"):
    """Files from outside: `files` are names below the absolute folder `root`. Names and content are part of the key."""

    root: str
    files: tuple[str, ...]


class RowsSource(Struct, frozen=True, tag="rows"):
    """Rows written in the manifest itself."""

    rows: tuple[Mapping[str, Any], ...]


class PapersSource(Struct, frozen=True, tag="papers"):
    """What a run writes about a package: its card, `onnxbuild.json`, and its signature if somebody has signed it.

    All of it depends on results, so it is known only once every action that the upload waits for has ended.
    """

    package: str  # MODEL/packages/NAME


class OutputRef(Struct, frozen=True, tag="output"):
    """An output port of another action."""

    action: str
    port: str


CURRENT = "current"  # the toolchain that is the interpreter of the command itself

Input = FilesSource | RowsSource | OutputRef | PapersSource

_ALL = ""  # a node that stands for several actions; no action has this id


class Action(Struct, frozen=True, kw_only=True):
    """One concrete run of a step kind. `params` are plain values, fully resolved."""

    id: str  # "minilm/cpu-int8:quantize"
    kind: str
    params: Mapping[str, Any]
    inputs: Mapping[str, Input]
    pool: str = "cpu"
    toolchain: str = CURRENT
    timeout_seconds: float = 3600.0
    span: Span | None = None
    after: tuple[str, ...] = ()  # checks that must pass first, although it does not read their reports

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the actions that must succeed before this one."""
        return (*(i.action for i in self.inputs.values() if isinstance(i, OutputRef)), *self.after)


class Stated(Struct, frozen=True, kw_only=True):
    """What is known of a source besides its files. It is in no key: it changes nothing that is built."""

    scheme: str = ""  # as in the manifest: hub, local, package, random, onnx
    package: str = ""  # the Python package that the files come from
    license: str | None = None  # None: the source states none
    license_from: str | None = None  # the manifest, or the file that states it
    license_name: str | None = None  # of a license that is `other`
    license_link: str | None = None


class Variant(Struct, frozen=True, kw_only=True):
    """One model and target: its ONNX files, and the actions that check and measure them."""

    model: str
    target: str
    output: OutputRef  # of type onnx
    precision: str
    steps: tuple[str, ...]  # action ids from fetch to the one that makes the output, in order
    checks: tuple[str, ...]  # validate
    measures: tuple[str, ...]  # benchmark, generate, tune
    stated: Mapping[str, Stated] = {}  # by the id of the fetch: the checkpoint's, and the adapter's
    if_best: tuple[str, ...] = ()  # further measures, which only the chosen variant of a model gets
    backend: str = ""  # that it is compiled for; `output` is then of type compiled
    proofs: tuple[str, ...] = ()  # checks of the graph that it was made from, before a step that costs accuracy
    device: str = "cpu"
    task: str = ""  # this and the next for `onnxbuild.json`
    manifest: str = ""  # its path in the repository

    @property
    def name(self) -> str:
        """`model/target`, as in selectors and output folders."""
        return f"{self.model}/{self.target}"

    @property
    def needed(self) -> tuple[str, ...]:
        """What must succeed before it is delivered: its steps and all checks."""
        return (*self.steps, *self.proofs, *self.checks)

    @property
    def members(self) -> tuple[str, ...]:
        """Every action that belongs to it."""
        return (*self.needed, *self.measures)


PACKAGES = "packages"  # the folder of a model's packages, beside those of its targets


def is_package(variant: Variant) -> bool:
    """Whether a folder is that of a package."""
    return variant.target.startswith(f"{PACKAGES}/")


class Packed(Struct, frozen=True, kw_only=True):
    """One package of a model. `variant`: its folder, described and delivered like one of a target."""

    name: str  # as in the manifest: plain, transformers.js …
    variant: Variant
    client: str | None  # the id of the check with its client
    targets: tuple[str, ...] = ()  # whose graphs are in it

    @property
    def members(self) -> tuple[str, str] | tuple[str]:
        """The actions that belong to it alone."""
        action = self.variant.output.action
        return (action,) if self.client is None else (action, self.client)


class Published(Struct, frozen=True, kw_only=True):
    """The upload of a package. It waits until a person asks for it."""

    model: str
    package: str
    place: str  # as a person writes it: hub:me/model
    action: str


class ActionGraph(Struct, frozen=True):
    """Actions by id, each after all that it needs, and the variants that they make."""

    actions: Mapping[str, Action]
    variants: tuple[Variant, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)  # "minilm/small:optimize" → id of the shared action
    choices: tuple[Choice, ...] = ()  # of the models whose best variant gets a folder of its own
    packages: tuple[Packed, ...] = ()
    uploads: tuple[Published, ...] = ()

    @property
    def delivered(self) -> tuple[Variant, ...]:
        """What gets a folder as soon as it is built and checked: variants and packages."""
        return (*self.variants, *(one.variant for one in self.packages))

    @property
    def folders(self) -> tuple[tuple[str, str], ...]:
        """Model and name of every output folder: those of variants and packages, and those of chosen variants."""
        best = ((choice.model, BEST) for choice in self.choices)
        return (*((variant.model, variant.target) for variant in self.delivered), *best)

    def dependents(self) -> Mapping[str, tuple[str, ...]]:
        """For each action, the ones that read its outputs."""
        users: dict[str, list[str]] = {name: [] for name in self.actions}
        for action in self.actions.values():
            for need in dict.fromkeys(action.needs):
                users[need].append(action.id)
        return {name: tuple(ids) for name, ids in users.items()}

    def with_needs(self, ids: Collection[str]) -> frozenset[str]:
        """The given actions and everything that they need."""
        import networkx as nx

        network = self.network()
        # One node that needs all of them, so that each action is visited once however many are given.
        network.add_edges_from((name, _ALL) for name in ids)
        return frozenset(ids).union(nx.ancestors(network, _ALL) if ids else ())

    def with_dependents(self, ids: Collection[str]) -> frozenset[str]:
        """The given actions and everything that depends on them."""
        import networkx as nx

        network = self.network()
        network.add_edges_from((_ALL, name) for name in ids)
        return frozenset(ids).union(nx.descendants(network, _ALL) if ids else ())

    def network(self) -> Any:
        """The graph as a `networkx.DiGraph` of ids, with an edge from each action to every one that reads its outputs.

        networkx is imported only here and late: it takes 130 to 230 ms, which a run with nothing to do must not spend.
        """
        import networkx as nx

        network: Any = nx.DiGraph()
        network.add_nodes_from(self.actions)
        network.add_edges_from((need, action.id) for action in self.actions.values() for need in action.needs)
        return network

    def only(self, ids: frozenset[str]) -> ActionGraph:
        """The graph of the given actions, in the same order. They must include all that each of them needs."""
        actions = {name: action for name, action in self.actions.items() if name in ids}
        variants = tuple(v for v in self.variants if v.output.action in ids)
        whole = {v.name for v in variants if ids.issuperset((*v.proofs, *v.checks, *v.measures))}
        # A part of a model's variants is nothing to choose among.
        choices = (one for one in self.choices if whole.issuperset(f"{one.model}/{target}" for target in one.targets))
        packages = tuple(one for one in self.packages if one.variant.output.action in ids)
        names = {(one.variant.model, one.name) for one in packages}
        uploads = tuple(one for one in self.uploads if (one.model, one.package) in names)
        return ActionGraph(actions, variants, self.aliases, tuple(choices), packages, uploads)


class SharedActions:
    """Actions so far, by what they do; `aliases` maps the names under which others asked for one to its id."""

    def __init__(self) -> None:
        self.actions: dict[str, Action] = {}
        self.aliases: dict[str, str] = {}
        self._by_content: dict[bytes, str] = {}

    def add(
        self,
        name: str,
        kind: Kind,
        params: Mapping[str, Any],
        inputs: Mapping[str, Input],
        at: Span,
        *,
        toolchain: str,
        timeout: float | None,
        after: tuple[str, ...] = (),
    ) -> str:
        """The id of the action that does this: an earlier one that does the same, else a new one called `name`.

        An action that several models share may take as long as the one that allows it the most.
        """
        toolchain = CURRENT if _copies_files(kind, params) else toolchain
        content = canonical([kind.name, params, inputs, toolchain, *after])
        known = self._by_content.get(content)
        seconds = timeout or kind.timeout_seconds
        if known is not None:
            if seconds > self.actions[known].timeout_seconds:
                self.actions[known] = replace(self.actions[known], timeout_seconds=seconds)
            self.aliases.setdefault(name, known)
            return known
        unique = self._unique(name)
        self.actions[unique] = Action(
            id=unique, kind=kind.name, params=params, inputs=inputs, pool=pool_of(kind, params),
            toolchain=toolchain, timeout_seconds=seconds, span=at, after=after,
        )  # fmt: skip
        self._by_content[content] = unique
        return unique

    def _unique(self, name: str) -> str:
        """The name, or with a number if a target has a step twice: `quantize-2`."""
        number, unique = 1, name
        while unique in self.actions or unique in self.aliases:
            number += 1
            unique = f"{name}-{number}"
        return unique


def _copies_files(kind: Kind, params: Mapping[str, Any]) -> bool:
    """Whether an action only copies files, which needs no framework, and so no other environment than this one."""
    return kind.name == "fetch" and params["origin"] == "files"
