"""Export with optimum-onnx (TorchScript underneath)."""

from __future__ import annotations

from pathlib import Path

from onnxbuild.steps.export import ExportParams
from onnxbuild.tables.tasks import pooling_of
from onnxbuild.workers.export.repairs.optimum_repairs import repaired
from onnxbuild.workers.export.repairs.unnamed_outputs import drop_unnamed_outputs
from onnxbuild.workers.export.short_texts import short_texts
from onnxbuild.workers.folders.sentence_folders import is_cross_encoder, is_embedder


def export(checkpoint: Path, destination: Path, params: ExportParams) -> None:
    """Write the graphs of the task, with tokenizer and configs."""
    from optimum.exporters.onnx import main_export

    with repaired():
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
    drop_unnamed_outputs(destination)


def _library(checkpoint: Path, params: ExportParams) -> str | None:
    """The library that loads the checkpoint; None leaves it to optimum.

    It takes whatever has a file of sentence-transformers for an embedder, also a cross-encoder.
    """
    if params.library != "auto":
        return params.library
    is_classifier = is_cross_encoder(checkpoint) or (pooling_of(params.task) == "never" and is_embedder(checkpoint))
    return "transformers" if is_classifier else None
