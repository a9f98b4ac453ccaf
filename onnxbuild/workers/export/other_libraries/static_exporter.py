"""Export of a StaticEmbedding: one look into a table for each token, their mean, and the modules after it."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from onnxbuild.steps.export import ExportParams
from onnxbuild.workers.engines.loading import Loaded
from onnxbuild.workers.engines.static_embeddings import SENTENCE, Rows, open_static
from onnxbuild.workers.export.other_libraries.traced import write_traced

_TOKENIZER = "tokenizer.json"
_TEXT = {0: "batch_size", 1: "sequence_length"}


def export(checkpoint: Path, destination: Path, params: ExportParams) -> list[Loaded]:
    """Write the graph, and a tokenizer that gives the ids that the model reads."""
    model = open_static(checkpoint)
    inputs = {"input_ids": torch.tensor([[0, 1, 0], [1, 0, 0]]), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}
    axes = {**dict.fromkeys(inputs, _TEXT), SENTENCE: {0: "batch_size"}}
    write_traced(Rows(model), inputs, axes, destination, params.opset)
    _write_tokenizer(checkpoint / _TOKENIZER, destination / _TOKENIZER)
    return [Loaded(missing=(), unknown=())]  # the library fails for a weight that is missing


def _write_tokenizer(source: Path, destination: Path) -> None:
    """The tokenizer without special tokens and padding, which the model was trained without."""
    content = json.loads(source.read_text(encoding="utf-8"))
    plain = {**content, "post_processor": None, "padding": None}
    destination.write_text(json.dumps(plain, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
