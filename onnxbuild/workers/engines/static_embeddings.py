"""A StaticEmbedding of sentence-transformers: the mean of a vector for each token, and the modules after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.checkpoints.other_libraries import STATIC
from onnxbuild.workers.folders.other_checkpoints import type_of
from onnxbuild.workers.folders.sentence_folders import module_kinds

SENTENCE = "sentence_embedding"


def is_static(folder: Path) -> bool:
    """Whether sentence-transformers reads a folder as a StaticEmbedding."""
    return type_of(folder) == STATIC


def open_static(folder: Path, *, device: str = "cpu") -> Any:
    """The SentenceTransformer of a folder, in fp32. Errors: CheckFailed OBE103 if it cannot be loaded or is another."""
    from sentence_transformers import SentenceTransformer

    _check_kind(folder)
    try:
        model = SentenceTransformer(str(folder), device=device, local_files_only=True).float().eval()
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        message = f"sentence-transformers cannot load the StaticEmbedding: {type(error).__name__}: {error}"
        hint = "its weights are one matrix of floats, `embedding.weight` or `embeddings`"
        raise CheckFailed("OBE103", message.partition("\n")[0], notes=[("hint", hint)]) from error
    return model


def _check_kind(folder: Path) -> None:
    """Whoever has no config.json was taken for one: modules.json says whether that is right."""
    kinds = module_kinds(folder)
    if not kinds:
        raise CheckFailed("OBE16", "modules.json names no modules, or cannot be read")
    if kinds[0] != "StaticEmbedding":
        message = (
            f"the sentence-transformer starts with {kinds[0]}, which is neither a transformer nor a StaticEmbedding"
        )
        hint = "write `export: {exporter: path/to/file.py:function}`: a function that exports it"
        raise CheckFailed("OBE103", message, notes=[("hint", hint)])


class Bags(torch.nn.Module):  # type: ignore[misc]
    """The library's own modules on padded rows: it reads the tokens of all rows in one piece, and where each begins."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """The vector of each row."""
        kept = attention_mask.bool()
        ends = kept.sum(1).cumsum(0)
        offsets = torch.cat([ends.new_zeros(1), ends[:-1]])
        return {SENTENCE: self.model({"input_ids": input_ids[kept], "offsets": offsets})[SENTENCE]}


class Rows(torch.nn.Module):  # type: ignore[misc]
    """The same for a graph, in standard operators: a row without tokens gets zeros, as from EmbeddingBag."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        first, *others = model
        self.table, self.others = first.embedding.weight, torch.nn.ModuleList(others)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """The vector of each row."""
        kept = attention_mask.unsqueeze(-1).to(self.table.dtype)
        vectors = torch.nn.functional.embedding(input_ids, self.table) * kept
        features = {SENTENCE: vectors.sum(1) / kept.sum(1).clamp(min=1.0)}
        for module in self.others:
            features = module(features)
        return {SENTENCE: features[SENTENCE]}
