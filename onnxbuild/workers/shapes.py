"""ONNX Runtime's symbolic shape inference, made to go on where it would give up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def forgiving_shapes() -> Iterator[None]:
    """Leave the shape of an Expand open where its input's is unknown, instead of ending with a TypeError.

    The pooling of every sentence-transformer ends in such an Expand (onnxruntime 1.31, `_infer_Expand` takes the
    length of None). The optimizer swallows the error, goes on without any shape, and fuses no SkipLayerNormalization
    in the whole graph: 99 nodes instead of 57 for all-MiniLM-L6-v2.
    """
    from onnxruntime.transformers.shape_infer_helper import SymbolicShapeInferenceHelper

    owner = SymbolicShapeInferenceHelper.__mro__[1]
    original = owner._infer_Expand  # noqa: SLF001 - there is no public way in

    def infer_expand(self: Any, node: Any) -> None:
        if self._get_shape(node, 0) is not None:
            original(self, node)

    owner._infer_Expand = infer_expand  # noqa: SLF001
    try:
        yield
    finally:
        owner._infer_Expand = original  # noqa: SLF001
