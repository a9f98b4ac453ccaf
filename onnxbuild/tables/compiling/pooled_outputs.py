"""The outputs of encoders with pooling inside: the name of the output says what PyTorch has to be pooled by."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

POOLINGS = ("mean", "cls", "max")
_NORMALIZED = "_normalized"


class Pooled(Struct, frozen=True):
    """How the vectors of tokens become one vector per text, and whether that gets the length 1."""

    pooling: str
    normalized: bool

    @property
    def output(self) -> str:
        """The name of the output, such as `mean_pooled` or `mean_pooled_normalized`."""
        return f"{self.pooling}_pooled{_NORMALIZED if self.normalized else ''}"


_BY_OUTPUT = {
    one.output: one
    for pooling in POOLINGS
    for one in (Pooled(pooling, normalized=False), Pooled(pooling, normalized=True))
}


def pooled_by(outputs: Iterable[str]) -> Pooled | None:
    """How a graph with these outputs pools; None if it does not."""
    return next((_BY_OUTPUT[name] for name in outputs if name in _BY_OUTPUT), None)
