# ruff: noqa: INP001 - a file that manifests name
"""Exports a checkpoint with its own code through optimum, with the ONNX config of the nearest family."""

from __future__ import annotations

from pathlib import Path

from optimum.exporters.onnx import main_export
from optimum.exporters.onnx.model_configs import BertOnnxConfig
from transformers import AutoConfig


def export(checkpoint: Path, output: Path, opset: int, task: str) -> None:
    """The graph that optimum writes for a BERT."""
    config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=True)
    main_export(
        str(checkpoint),
        output,
        task=task,
        opset=opset,
        custom_onnx_configs={"model": BertOnnxConfig(config, task=task)},
        library_name="transformers",
        local_files_only=True,
        do_validation=False,  # onnxbuild validates
        trust_remote_code=True,
    )
