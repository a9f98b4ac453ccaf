"""Repair: when a stored input turns out to be damaged, which actions have to build it again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from msgspec import Struct

from onnxbuild.digest import Digest
from onnxbuild.planning.action_graph import Action
from onnxbuild.store.content import DamagedBlob
from onnxbuild.store.store import Store

# A blob that is damaged again after each rebuild means a broken disk, not an accident.
_REPAIRS_PER_ACTION = 3


class Repair(Struct, frozen=True):
    """The actions whose results a job has to wait for; `restarted` are those among them that finished before."""

    makers: set[str]
    restarted: set[str]


class Repairs:
    """The repairs of one run, counted by the action that needed them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._counts: Counter[str] = Counter()

    def plan(self, action: Action, damaged: DamagedBlob, outputs: Mapping[str, Mapping[str, Digest]]) -> Repair | None:
        """What has to run again before an action; None if that cannot help. `outputs`: those of finished actions."""
        # Another action may have found the same damage: its maker is then already being built again.
        unfinished = {need for need in action.needs if need not in outputs}
        restarted = {need for need in set(action.needs) - unfinished if self._contains(outputs[need], damaged)}
        self._counts[action.id] += 1
        makers = unfinished | restarted
        return Repair(makers, restarted) if makers and self._counts[action.id] <= _REPAIRS_PER_ACTION else None

    def _contains(self, ports: Mapping[str, Digest], damaged: DamagedBlob) -> bool:
        return any(file.digest == damaged.digest for tree in ports.values() for file in self._store.tree(tree).files)
