"""Repairs of what optimum-onnx 0.1.0 and transformers 4.57 do wrong while a model is traced.

Each replaces one function as long as the export runs, so that what comes after it sees the libraries as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from onnxbuild.workers.libraries.imagegpt_positions import counting


@contextmanager
def repaired() -> Iterator[None]:
    """All repairs."""
    with ExitStack() as stack:
        for repair in (
            _processors_may_be_absent,
            _past_of_grouped_heads,
            _positions_without_cache,
            _axis_of_three_inputs,
        ):
            stack.enter_context(repair())
        yield


class _Processors(list[Any]):
    """Processors, of which an absent one is None."""

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(index) if self else None


@contextmanager
def _processors_may_be_absent() -> Iterator[None]:
    """Let optimum read the last processor of a checkpoint that has none, as its inputs for DINOv2 do.

    `Dinov2DummyInputGenerator` of optimum 2.1 raises IndexError otherwise, and expects None.
    """
    from optimum.utils import save_utils

    own = save_utils.maybe_load_preprocessors
    with _replaced(save_utils, "maybe_load_preprocessors", lambda *args, **kwargs: _Processors(own(*args, **kwargs))):
        yield


@contextmanager
def _positions_without_cache() -> Iterator[None]:
    """Count the positions of ImageGPT from 0: optimum traces it without a cache."""
    from transformers.models.imagegpt.modeling_imagegpt import ImageGPTModel

    with _replaced(ImageGPTModel, "forward", counting(ImageGPTModel.forward)):
        yield


@contextmanager
def _axis_of_three_inputs() -> Iterator[None]:
    """Name the axis of the hidden states of a decision transformer, which has a state, an action and a return per step.

    optimum calls it `sequence_length`, as it does that of the inputs. ONNX Runtime takes both for equal when it fuses
    shapes, and the graph then fails with every input.
    """
    from optimum.exporters.onnx.model_configs import DecisionTransformerOnnxConfig as Config

    own = Config.outputs.fget

    def outputs(self: Any) -> dict[str, dict[int, str]]:
        return {**own(self), "last_hidden_state": {0: "batch_size", 1: "three_sequence_lengths"}}

    with _replaced(Config, "outputs", property(outputs)):
        yield


@contextmanager
def _past_of_grouped_heads() -> Iterator[None]:
    """Let optimum trace a decoder with as many heads in its past as the model has keys.

    `DummyPastKeyValuesGenerator` of optimum 2.1, which serves Phi, takes the number of heads of queries.
    """
    from optimum.utils import DummyPastKeyValuesGenerator as Past

    own = Past.__init__

    def sized(self: Any, task: str, normalized_config: Any, *args: Any, **kwargs: Any) -> None:
        own(self, task, normalized_config, *args, **kwargs)
        heads = getattr(normalized_config, "num_key_value_heads", None)
        if type(self) is Past and heads:
            width = self.hidden_size // self.num_attention_heads
            self.num_attention_heads, self.hidden_size = heads, heads * width

    with _replaced(Past, "__init__", sized):
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    own = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, own)
