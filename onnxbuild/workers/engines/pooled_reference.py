"""The PyTorch reference of an encoder that is compiled with its pooling: the same model, pooled in PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from onnxbuild.tables.compiling.pooled_outputs import Pooled


class PooledReference(nn.Module):  # type: ignore[misc]
    """A model of transformers with pooling behind it. Its one output has the name that says how it is pooled."""

    def __init__(self, model: Any, pooled: Pooled) -> None:
        """Wrap a model that returns `last_hidden_state`."""
        super().__init__()
        self.model, self.config, self._pooled = model, model.config, pooled

    def get_input_embeddings(self) -> Any:
        """The embeddings of the tokens."""
        return self.model.get_input_embeddings()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        """One vector per text."""
        tokens = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        vectors = _vectors(tokens, attention_mask.bool()[:, :, None], self._pooled.pooling)
        return {self._pooled.output: nn.functional.normalize(vectors, dim=-1) if self._pooled.normalized else vectors}


def _vectors(tokens: Tensor, seen: Tensor, pooling: str) -> Tensor:
    """The pooled vectors. This is written apart from the graph of the compiler: one is checked by the other."""
    if pooling == "cls":
        return tokens[:, 0]
    if pooling == "max":
        return tokens.masked_fill(~seen, -torch.inf).amax(1)
    return tokens.masked_fill(~seen, 0).sum(1) / seen.sum(1)
