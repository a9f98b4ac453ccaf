"""Export with optimum-onnx (TorchScript underneath)."""

from __future__ import annotations

from pathlib import Path

from onnxbuild.steps.export import ExportParams
from onnxbuild.workers.export.short_texts import short_texts


def export(checkpoint: Path, destination: Path, params: ExportParams) -> None:
    """Write the graphs of the task, with tokenizer and configs."""
    from optimum.exporters.onnx import main_export

    main_export(
        str(checkpoint),
        destination,
        task=params.task,
        opset=params.opset,
        dtype="fp32",  # fp16 is converted afterwards: half of the fp16 exports on a CPU do not load
        library_name=None if params.library == "auto" else params.library,
        trust_remote_code=params.trusts_code,
        local_files_only=True,
        do_validation=False,
        **short_texts(checkpoint),
    )
