"""The texts of a throughput: chosen, tokenized, ordered, put into batches and shared between processes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import UNSET, Struct

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.benchmark import BenchmarkParams
from onnxbuild.steps.dataset_rows import PORT
from onnxbuild.workers.benchmark.comments import comments
from onnxbuild.workers.benchmark.lane import Prepare, Rows, token_rows
from onnxbuild.workers.inputs.dataset_texts import texts as texts_of

GENERATED = "comments that onnxbuild generates"

# Batches of each process that are run to warm up, besides one of each shape. All of 10,000 texts would double the time.
_WARM_BATCHES = 16


class TextSet(Struct, frozen=True, kw_only=True):
    """Texts with their token ids, cut to what is read of them."""

    longer_than: int
    name: str
    texts: Sequence[str]
    rows: Rows

    @property
    def tokens(self) -> int:
        """Tokens of all texts, without padding."""
        return sum(map(len, self.rows))

    def facts(self) -> Mapping[str, Any]:
        """What was read."""
        lengths = sorted(map(len, self.rows))
        return {
            "source": self.name,
            "longer_than": self.longer_than,
            "texts": len(self.texts),
            "tokens": self.tokens,
            "median_tokens": lengths[len(lengths) // 2],
            "max_tokens": lengths[-1],
        }


def text_set(
    params: BenchmarkParams, inputs: Mapping[str, Path], tokenizer: Any, longest: int, *, longer_than: int
) -> TextSet:
    """The texts of one set. Errors: CheckFailed OBE126 if there are none."""
    throughput = params.throughput
    assert throughput is not UNSET, "BUG: texts without a throughput"
    chosen = list(itertools.islice(_candidates(params, inputs, longer_than), throughput.texts))
    rows = token_rows(tokenizer, chosen, longest) if chosen else []
    read = [(text, row) for text, row in zip(chosen, rows, strict=True) if row]
    name = f"rows of `{throughput.dataset}`" if throughput.dataset else GENERATED
    if not read:
        raise CheckFailed(
            "OBE126",
            f"the {name} have no text of more than {longer_than} characters",
            notes=[("hint", "remove the number from `longer_than`, or name another dataset")],
        )
    texts, rows = zip(*read, strict=True)
    return TextSet(longer_than=longer_than, name=name, texts=texts, rows=rows)


def _candidates(params: BenchmarkParams, inputs: Mapping[str, Path], longer_than: int) -> Iterator[str]:
    throughput = params.throughput
    assert throughput is not UNSET, "BUG: texts without a throughput"
    if not throughput.dataset:
        return comments(throughput.texts, params.seed, longer_than=longer_than)
    assert params.rows is not UNSET, "BUG: a dataset without its rows"
    every = texts_of(inputs[PORT], params.rows, samples=1 << 62, seed=params.seed)
    return (text for text in every if len(text) > longer_than)


def batches(texts: TextSet, order: str, size: int) -> list[Sequence[int]]:
    """The numbers of the texts of each batch: as they are, or by their length, so that little is padded."""
    numbers = range(len(texts.rows))
    placed = sorted(numbers, key=lambda number: len(texts.rows[number])) if order == "sorted" else numbers
    return [placed[start : start + size] for start in range(0, len(placed), size)]


def padded_tokens(texts: TextSet, made: Sequence[Sequence[int]]) -> int:
    """Tokens that the model computes: each text has the length of the longest one in its batch."""
    return sum(len(one) * max(len(texts.rows[number]) for number in one) for one in made)


def shares(texts: TextSet, made: Sequence[Sequence[int]], workers: int, *, within: bool) -> list[Prepare]:
    """The batches of each process, dealt in turn, so that each gets as many long texts as the others.

    Errors: CheckFailed OBE127 if a process would have nothing to do.
    """
    if len(made) < workers:
        raise CheckFailed(
            "OBE127",
            f"{len(texts.texts)} texts are {len(made)} batches, too few for {workers} processes",
            notes=[("hint", "raise `texts`, or use smaller numbers in `batch` and `workers`")],
        )
    return [_share(texts, made[worker::workers], within=within) for worker in range(workers)]


def _share(texts: TextSet, share: Sequence[Sequence[int]], *, within: bool) -> Prepare:
    warm = warming(texts, share)
    if within:
        return Prepare(texts=[[texts.texts[number] for number in one] for one in share], warm=warm)
    return Prepare(rows=[[texts.rows[number] for number in one] for one in share], warm=warm)


def warming(texts: TextSet, share: Sequence[Sequence[int]]) -> list[int]:
    """The numbers of the batches that warm a process up: the first ones, and the first of each padded shape."""
    shapes = [(len(one), max(len(texts.rows[number]) for number in one)) for one in share]
    seen: dict[tuple[int, int], int] = {}
    for number, shape in enumerate(shapes):
        seen.setdefault(shape, number)
    return sorted({*range(min(_WARM_BATCHES, len(share))), *seen.values()})
