"""What a PyTorch model keeps about itself, put back before each sample, so that their order decides nothing.

Some models change while they compute: BigBird exchanges its attention for good when a text is short, a dynamic rotary
embedding keeps the frequencies of the longest text, and code of a checkpoint can do anything.
"""

from __future__ import annotations

import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch


class OwnState:
    """The attributes, submodules, buffers, tensors and containers of a model and of its config, as they are now."""

    def __init__(self, model: torch.nn.Module) -> None:
        """Keep references to objects, and copies of what can be changed in place; of a weight only its version."""
        self._written_in = {type(module).__module__ for module in model.modules()}
        self._weights: list[tuple[torch.nn.Parameter, int]] = []
        self._put_back: list[Callable[[], None]] = []
        seen: dict[int, Any] = {}  # holds the objects, so that no id is used twice
        waiting: list[Any] = [model]
        while waiting:
            value = waiting.pop()
            if id(value) not in seen:
                seen[id(value)] = value
                self._keep(value)
                waiting += self._parts(value)

    def restore(self) -> None:
        """Put everything but weights back, and begin the random numbers anew."""
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002 - the generator that models use
        torch.manual_seed(0)
        with torch.inference_mode():
            for put_back in self._put_back:
                put_back()

    def lost_weights(self) -> bool:
        """Whether a weight was written to, which is not kept: the model has to be loaded again."""
        now = [(weight, weight._version) for weight, _ in self._weights]  # noqa: SLF001
        lost = any(version != kept for (_, version), (_, kept) in zip(now, self._weights, strict=True))
        self._weights = now
        return lost

    def _keep(self, value: Any) -> None:
        if isinstance(value, torch.nn.Parameter):
            self._weights.append((value, value._version))  # noqa: SLF001
        elif isinstance(value, torch.Tensor):
            self._put_back.append(_tensor(value))
        elif type(value) in {dict, OrderedDict, defaultdict, set}:  # of others, such as outputs, some are read-only
            self._put_back.append(_filled(value, value.copy(), value.update))
        elif type(value) in {list, deque}:
            self._put_back.append(_filled(value, list(value), value.extend))
        elif isinstance(value, np.ndarray) and value.flags.writeable:
            self._put_back.append(_array(value))

    def _parts(self, value: Any) -> Iterator[Any]:
        """What an object holds; of objects of other libraries, such as tokenizers, nothing is followed."""
        if isinstance(value, dict):
            yield from value.values()
        elif isinstance(value, list | tuple | deque):
            yield from value
        elif isinstance(value, torch.nn.Module) or self._is_its_own(value):
            yield vars(value)

    def _is_its_own(self, value: Any) -> bool:
        """Whether an object is a config, or of a class that is written beside those of the model."""
        kind = type(value)
        own = hasattr(kind, "model_type") or kind.__module__ in self._written_in
        return own and hasattr(value, "__dict__") and not isinstance(value, type | torch.Tensor)


def _filled(container: Any, kept: Any, fill: Callable[[Any], Any]) -> Callable[[], None]:
    def put_back() -> None:
        container.clear()
        fill(kept)

    return put_back


def _tensor(value: torch.Tensor) -> Callable[[], None]:
    kept = value.detach().clone()

    def put_back() -> None:
        if value.shape == kept.shape:
            value.copy_(kept)
        else:
            value.set_(kept.clone())

    return put_back


def _array(value: np.ndarray) -> Callable[[], None]:
    kept = value.copy()

    def put_back() -> None:
        value[...] = kept

    return put_back
