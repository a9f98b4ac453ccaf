"""Runs two graphs on the same rows, and measures how far their tensors are apart.

Each tensor has two errors. One is the whole difference. The other is what its own node adds: the difference from what
the first graph computes there from the inputs that the second graph has, so that no earlier error counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from onnx import ModelProto, helper

from onnxbuild.workers.blame.correspondence import Correspondence
from onnxbuild.workers.blame.cut import cut, given
from onnxbuild.workers.blame.differences import Differences, groups
from onnxbuild.workers.calibrate.feeds import Feeds
from onnxbuild.workers.calibrate.observe import floating_tensors, runner, shapes

_VALUES_AT_ONCE = 64 << 20  # of one graph, in a group of tensors


class Errors(Struct, frozen=True, kw_only=True):
    """The errors of tensors: the whole difference, relative; what the tensor's own node adds, in its unit."""

    relative: Mapping[str, float]
    added: Mapping[str, float]


class Pair:
    """Two graphs with the rows that both read. `between` says which of their tensors correspond."""

    def __init__(self, before: ModelProto, after: ModelProto, rows: Sequence[Feeds], scratch: Path) -> None:
        """Find the tensors of the same shape that both graphs have."""
        self._before, self._after, self._scratch = before, after, scratch
        self._rows = list(zip(rows, _fitting(after, rows), strict=True))
        self._types = floating_tensors(before, scratch)
        self.between = Correspondence(before, after, self._types, floating_tensors(after, scratch))
        fed, fitting = max(self._rows, key=lambda row: sum(value.size for value in row[0].values()))
        self._shapes = shapes(before, self.between.pairs, fed, scratch)
        others = shapes(after, dict.fromkeys(self.between.pairs.values()), fitting, scratch)
        self.between.keep({name for name, other in self.between.pairs.items() if self._shapes[name] == others[other]})

    def errors(self) -> Errors:
        """The errors of all tensors; each group of tensors is computed and then forgotten."""
        whole, own = Differences(), Differences()
        for names in groups({name: math.prod(self._shapes[name]) for name in self.between.pairs}, _VALUES_AT_ONCE):
            for wanted, local, actual in self._computed(names):
                for name in names:
                    whole.add(name, wanted[name], actual[name])
                    own.add(name, local[name], actual[name])
        return Errors(relative=whole.relative(), added=own.absolute())

    def _computed(self, names: Sequence[str]) -> Iterator[tuple[Feeds, Feeds, Feeds]]:
        """For each row: tensors of the first graph, the same from the second one's inputs, and of the second graph."""
        pairs = self.between.pairs
        read = sorted(set[str]().union(*(self.between.inputs_of(name) for name in names)))
        known = list(dict.fromkeys((*names, *read)))
        axes = {name: len(self._shapes[name]) for name in read}
        first = runner(self._before, self._scratch, names)
        second = runner(self._after, self._scratch, list(dict.fromkeys(pairs[name] for name in known)))
        parted = runner(cut(self._before, read, self._types, axes), self._scratch, names)
        for fed, fitting in self._rows:
            values = dict(zip(dict.fromkeys(pairs[name] for name in known), second(fitting), strict=True))
            actual = {name: values[pairs[name]] for name in known}
            inputs = given({name: actual[name] for name in read}, self._types)
            yield _named(names, first(fed)), _named(names, parted({**fed, **inputs})), actual


def _named(names: Sequence[str], values: Sequence[Any]) -> Feeds:
    return dict(zip(names, values, strict=True))


def _fitting(model: ModelProto, rows: Iterable[Feeds]) -> Iterator[Feeds]:
    """The rows in the types of a graph: one in half precision may take halves."""
    types = {
        value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) for value in model.graph.input
    }
    for fed in rows:
        yield {name: np.asarray(fed[name], dtype=kind) for name, kind in types.items() if name in fed}
