"""Machines that share a remote store: benches with one store each, and their warnings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from toys import TOYS, Bench, InlineRunner, finished, graph_of

from onnxbuild.deliver.write_back import Shared, share
from onnxbuild.execute.events import Event, Outcome
from onnxbuild.execute.policy import Policy
from onnxbuild.execute.preview import preview
from onnxbuild.execute.schedule import execute
from onnxbuild.planning.action_graph import Action, ActionGraph, OutputRef, Variant
from onnxbuild.store.remote.address import address_of
from onnxbuild.store.remote.backend import Backend
from onnxbuild.store.remote.remote_store import Remote
from onnxbuild.store.remote.signing import PublicKey, SigningKey
from onnxbuild.store.store import Store


class Machine(Bench):
    """A bench whose store asks a remote one, and writes back at the end of each build."""

    def __init__(
        self,
        root: Path,
        url: str,
        runner: InlineRunner | None = None,
        *,
        readonly: bool = False,
        patience: float = 5.0,
        trust: tuple[PublicKey, ...] = (),
        signing: SigningKey | None = None,
    ) -> None:
        super().__init__(root, runner)
        self.url, self.readonly, self.patience = url, readonly, patience
        self.trust, self.signing = trust, signing
        self.variants: tuple[Variant, ...] = ()
        self.warnings: list[str] = []
        self.shared: Shared | None = None

    def remote(self) -> Remote:
        address = address_of(self.url, self.root)
        return Remote(
            address,
            readonly=self.readonly,
            trust=self.trusted,
            signing=self.signing,
            ports={name: tuple(kind.outputs) for name, kind in TOYS.items()},
            backend=Backend(address, patience_seconds=self.patience),
        )

    @property
    def trusted(self) -> tuple[PublicKey, ...]:
        """As the commands do: a machine that signs trusts itself, too."""
        return (*self.trust, *((self.signing.public,) if self.signing else ()))

    def opened(self, remote: Remote, **more: Any) -> Store:
        identities = frozenset(key.identity for key in self.trusted)
        return Store(self.root / "store", remote=remote, trust=identities, **more)

    def graph(self, *actions: Action) -> ActionGraph:
        return msgspec.structs.replace(graph_of(*actions), variants=self.variants)

    def events(self, *actions: Action, again: bool = False, **policy: Any) -> list[Event]:
        settings = {"scope": "test", "logs": str(self.root / "logs"), "jobs": 2, "backoff_seconds": 0.0, **policy}
        graph, remote = self.graph(*actions), self.remote()
        with self.opened(remote) as store:
            events = list(
                execute(graph, kinds=TOYS, store=store, runner=self.runner, policy=Policy(**settings))
            )  # fmt: skip
            self.shared = share(graph, finished(events), store, again=again)
        self.warnings = [warning.message for warning in remote.warnings]
        return events

    def plan(self, *actions: Action) -> dict[str, str]:
        with self.opened(self.remote(), claims=False) as store:
            found = preview(self.graph(*actions), kinds=TOYS, store=store, runner=self.runner, scope="test")
            return {outcome.id: outcome.outcome for outcome in found}

    def blobs(self) -> list[Path]:
        return sorted((self.root / "store" / "blobs").rglob("*/*"))


def variant(name: str, *steps: str, checks: tuple[str, ...] = (), measures: tuple[str, ...] = ()) -> Variant:
    model, _, target = name.partition("/")
    return Variant(
        model=model, target=target, output=OutputRef(steps[-1], "out"), precision="fp32", steps=steps, checks=checks,
        measures=measures,
    )  # fmt: skip


def outcomes_of(machine: Machine, *actions: Action) -> dict[str, Outcome]:
    return finished(machine.events(*actions))
