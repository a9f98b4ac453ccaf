# ruff: noqa: INP001 - a file that manifests name
"""Exports a checkpoint with its own code by torch.onnx.export, which needs no knowledge of the architecture."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModel

NAMES = ("input_ids", "attention_mask", "token_type_ids")
AXES = {0: "batch_size", 1: "sequence_length"}


class Hidden(torch.nn.Module):
    """Tensors in, one tensor out: no output class, and inputs by position."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The vectors of all tokens."""
        return self.model(**dict(zip(NAMES, inputs, strict=True))).last_hidden_state


def export(checkpoint: Path, output: Path, opset: int, task: str) -> None:  # noqa: ARG001 - one task
    """The graph of `last_hidden_state`."""
    model = AutoModel.from_pretrained(checkpoint, trust_remote_code=True, attn_implementation="eager").eval()
    torch.onnx.export(
        Hidden(model),
        (torch.ones(2, 8, dtype=torch.int64),) * len(NAMES),  # sizes of 1 would be taken for fixed
        output / "model.onnx",
        input_names=list(NAMES),
        output_names=["last_hidden_state"],
        dynamic_axes=dict.fromkeys((*NAMES, "last_hidden_state"), AXES),
        opset_version=opset,
        dynamo=False,
    )
