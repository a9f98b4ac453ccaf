"""The result of a build, and everything that the later phases read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from onnxbuild.commands.parsing.options import RunOptions
from onnxbuild.commands.workspace import Session
from onnxbuild.deliver.out_folder import Delivery
from onnxbuild.deliver.write_back import Shared
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.receipts.remembered_plan import Before


class Result(Struct, frozen=True, kw_only=True):
    """The result of a run: every outcome by id, and the state of each variant's folder."""

    outcomes: Mapping[str, Outcome]
    deliveries: tuple[Delivery, ...]
    seconds: float
    interrupted: bool = False
    shared: Shared | None = None  # where there is a remote store to write to

    @property
    def exit_code(self) -> int:
        """0 done, 1 an action failed or could not start, 130 interrupted."""
        if self.interrupted:
            return 130
        delivered = all(delivery.state != "failed" for delivery in self.deliveries)
        return 0 if delivered and all(outcome.outcome in SUCCEEDED for outcome in self.outcomes.values()) else 1


class Finished(Struct, frozen=True, kw_only=True):
    """A finished build: the request, what was open for it, and the result."""

    options: RunOptions
    opened: Session
    result: Result
    question: Mapping[str, Any]  # what the answer depends on
    began_ns: int
    before: Before | None  # the earlier run whose plan this one used
