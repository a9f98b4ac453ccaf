"""What a stage is fed: exactly the inputs that its graph takes, in its types. It imports no framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.engines.engine import Arrays, InputSpec

NUMPY_TYPES: Mapping[str, Any] = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
}


def complete_feeds(specs: Mapping[str, InputSpec], feeds: Arrays, *, branch: bool | None) -> dict[str, np.ndarray]:
    """Exactly the inputs that a graph takes, in its types: other feeds are dropped, a missing past is empty.

    Errors: CheckFailed OBE37 for an input that the feeds do not have.
    """
    batch = next(iter(feeds.values())).shape[0]
    complete: dict[str, np.ndarray] = {}
    for name, spec in specs.items():
        if name == "use_cache_branch":
            value = np.array([bool(branch)])
        elif name in feeds:
            value = feeds[name]
        elif name.startswith("past_key_values"):
            value = np.zeros([_empty(d, batch) for d in spec.shape])
        else:
            raise CheckFailed("OBE37", f"the graph takes an input `{name}` that samples do not have")
        complete[name] = np.ascontiguousarray(value, dtype=NUMPY_TYPES.get(spec.type, value.dtype))
    return complete


def _empty(dimension: int | str, batch: int) -> int:
    """A dimension of an empty past: fixed ones and the batch as they are, and 0 for a length."""
    if isinstance(dimension, int):
        return dimension
    return batch if "batch" in dimension else 0
