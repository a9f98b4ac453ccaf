"""Export with optimum-onnx (TorchScript underneath)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onnxbuild.steps.export import ExportParams
from onnxbuild.tables.tasks import pooling_of
from onnxbuild.workers.export.short_texts import short_texts
from onnxbuild.workers.folders.sentence_folders import is_cross_encoder, is_embedder


def export(checkpoint: Path, destination: Path, params: ExportParams) -> None:
    """Write the graphs of the task, with tokenizer and configs."""
    from optimum.exporters.onnx import main_export

    with _processors_may_be_absent(), _past_of_grouped_heads():
        main_export(
            str(checkpoint),
            destination,
            task=params.task,
            opset=params.opset,
            dtype="fp32",  # fp16 is converted afterwards: half of the fp16 exports on a CPU do not load
            library_name=_library(checkpoint, params),
            trust_remote_code=params.trusts_code,
            local_files_only=True,
            do_validation=False,
            **short_texts(checkpoint),
        )


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
    save_utils.maybe_load_preprocessors = lambda *args, **kwargs: _Processors(own(*args, **kwargs))
    try:
        yield
    finally:
        save_utils.maybe_load_preprocessors = own


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

    Past.__init__ = sized
    try:
        yield
    finally:
        Past.__init__ = own


def _library(checkpoint: Path, params: ExportParams) -> str | None:
    """The library that loads the checkpoint; None leaves it to optimum.

    It takes whatever has a file of sentence-transformers for an embedder, also a cross-encoder.
    """
    if params.library != "auto":
        return params.library
    is_classifier = is_cross_encoder(checkpoint) or (pooling_of(params.task) == "never" and is_embedder(checkpoint))
    return "transformers" if is_classifier else None
