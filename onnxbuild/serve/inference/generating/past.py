"""The cache of keys and values that a decoder takes and returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxbuild.serve.inference.compiled_session import CompiledSession
from onnxbuild.serve.inference.graph_session import GraphSession
from onnxbuild.serve.inference.model_folder import UnusableModelError

_PAST, _PRESENT = "past_key_values.", "present."
_KNOWN = frozenset({"input_ids", "attention_mask", "position_ids"})


class PastOfGraph:
    """Which inputs and outputs of a graph are its cache. Errors: UnusableModelError if the graph is another kind."""

    def __init__(self, session: GraphSession | CompiledSession) -> None:
        self._session = session
        self.names = tuple(name for name in session.inputs if name.startswith(_PAST))
        unknown = session.inputs.keys() - _KNOWN - {*self.names}
        missing = {"logits", *map(present_of, self.names)} - session.outputs.keys()
        if unknown or missing or not self.names:
            name = min(unknown | missing, default=f"{_PAST}*")
            raise UnusableModelError(f"the server runs decoders with a cache, and does not know what `{name}` is here")
        self.outputs = ["logits", *map(present_of, self.names)]

    def empty(self) -> dict[str, np.ndarray]:
        """The cache before the first token."""
        return {name: np.zeros(self._shape(name), dtype=self._session.type_of(name)) for name in self.names}

    def _shape(self, name: str) -> list[int]:
        """One sequence of no tokens: the axes without a number are the batch and the length."""
        axes: Sequence[Any] = self._session.inputs[name].shape
        return [axis if isinstance(axis, int) else int(number == 0) for number, axis in enumerate(axes)]


def present_of(name: str) -> str:
    """The output that is the next step's input `name`."""
    return _PRESENT + name.removeprefix(_PAST)
