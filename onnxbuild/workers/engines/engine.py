"""The protocol that every engine follows. It imports no framework, so that a step can name it for free."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import numpy as np
from msgspec import Struct

Device = Literal["cpu", "cuda"]
Arrays = Mapping[str, np.ndarray]

PAST_IDS = "past_ids"  # the feed with the tokens before a step, [batch, past]; graphs do not take it


class InputSpec(Struct, frozen=True):
    """An input of a graph: its dimensions (names where they vary) and its ONNX type."""

    shape: tuple[int | str, ...]
    type: str


class Engine(Protocol):
    """An engine runs a model stage by stage: ONNX Runtime, PyTorch, or one that is added later."""

    name: str
    load_seconds: float

    def prepare(self, stage: str, feeds: Arrays) -> Callable[[], Any]:
        """A call that runs the stage on these feeds and does nothing else."""

    def run(self, stage: str, feeds: Arrays) -> dict[str, np.ndarray]:
        """Outputs of a stage by name."""

    def renew(self) -> None:
        """Forget what earlier runs have changed."""

    def threads_used(self) -> int:
        """Threads that the engine computes with."""
