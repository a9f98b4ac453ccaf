"""A job: an action that has to run, with everything that the thread that performs it needs to know."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from onnxbuild.digest import Digest
from onnxbuild.execute.events import Outcome, OutcomeName, Reason
from onnxbuild.execute.key import KeyParts
from onnxbuild.planning.action_graph import Action
from onnxbuild.protocol import Failure


class Job(Struct, frozen=True, kw_only=True):
    """One action to run.

    `before`: the outputs of its last success, which distinguish `built` from `unchanged`. `threads`: the cores that it
    may use. `memory_bytes`: an estimate of the memory that it needs.
    """

    action: Action
    parts: KeyParts
    reasons: tuple[Reason, ...]
    before: Mapping[str, Digest] | None = None
    threads: int = 0
    memory_bytes: int = 0

    @property
    def runs_alone(self) -> bool:
        """Whether no other job may run at the same time."""
        return self.action.pool == "alone"

    @property
    def uses_gpu(self) -> bool:
        """Whether it takes memory of a GPU, which one job at a time has."""
        return self.action.pool == "gpu"

    def outcome(self, name: OutcomeName, *, failure: Failure | None = None) -> Outcome:
        """An outcome for this job without a result."""
        return Outcome(
            id=self.action.id,
            kind=self.action.kind,
            outcome=name,
            reasons=self.reasons,
            key=self.parts.key,
            failure=failure,
        )
