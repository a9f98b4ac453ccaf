"""Items of similar length run together, so that little of a run is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# A run of its own costs about as much as this many tokens of padding (MiniLM on two cores: 1.5 ms).
SPARE_TOKENS = 64
# The most tokens of one run with its padding: what 32 texts of 512 tokens have.
RUN_TOKENS = 16_384


def buckets(lengths: Sequence[int], *, spare: int = SPARE_TOKENS, most: int = RUN_TOKENS) -> Iterator[list[int]]:
    """The numbers of the items of each run, shortest first."""
    run: list[int] = []
    padding = 0
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[number]
        grown = padding + (length - lengths[run[-1]]) * len(run) if run else 0
        if run and (grown > spare or length * (len(run) + 1) > most):
            yield run
            run, grown = [], 0
        run.append(number)
        padding = grown
    if run:
        yield run
