"""The length of the texts that optimum traces a model with, for a model that has fewer positions than its default."""

from __future__ import annotations

from pathlib import Path

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.positions import positions_of
from onnxbuild.workers.folders.configs import read_config

_OPTIMUM = 16  # tokens of its examples; a decoder with a past gets as many again
_SHORTEST = 2  # an axis of length 1 would be broadcast
_FEWEST_POSITIONS = 2 * _SHORTEST + 1


def short_texts(checkpoint: Path) -> dict[str, int]:
    """The `sequence_length` for optimum's exporter where its own does not fit the model's positions, else nothing.

    Errors: CheckFailed OBE88 if no text fits that is long enough to trace.
    """
    positions = positions_of(read_config(checkpoint))
    if positions is None or positions >= 2 * _OPTIMUM + 1:
        return {}
    if positions < _FEWEST_POSITIONS:
        raise CheckFailed(
            "OBE88",
            f"the model takes texts of at most {positions} tokens, too few to trace it",
            notes=[
                ("hint", "check `max_position_embeddings` in config.json; a custom exporter can choose its examples")
            ],
        )
    return {"sequence_length": min(_OPTIMUM, (positions - 1) // 2)}
