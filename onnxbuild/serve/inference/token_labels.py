"""The labels of tokens, each with its place in the text."""

from __future__ import annotations

import numpy as np
from tokenizers import Encoding

from onnxbuild.serve.wire import Entity


def entities_of(encoding: Encoding, scores: np.ndarray, labels: tuple[str, ...]) -> tuple[Entity, ...]:
    """The likeliest label of each token of the text; special tokens have none."""
    best, certain = scores.argmax(axis=-1), scores.max(axis=-1)
    return tuple(
        Entity(labels[best[number]], float(certain[number]), *encoding.offsets[number])
        for number, is_special in enumerate(encoding.special_tokens_mask)
        if not is_special
    )
