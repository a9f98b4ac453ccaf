"""Export with transformers 5's own exporter (based on torch.export), into the files and names that loaders know.

Its `export_for_generation` is not used. Measured with transformers 5.23: it leaves out the attention mask of GPT-2 (so
that padded batches would be silently wrong), fixes the decoder cache of T5 at one token, and writes no encoder for it.
So each graph is exported from inputs that are made here, with a cache and with padding, and gets the names that
optimum, Transformers.js and our own checks use.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.export import ExportParams
from onnxbuild.tables.tasks import FILL_MASK, family_of, has_cache, pooling_of
from onnxbuild.workers.engines.task_classes import class_of
from onnxbuild.workers.export.ir_graphs import write_graph
from onnxbuild.workers.export.tracing.recurrences import as_loops
from onnxbuild.workers.export.tracing.restated import restated
from onnxbuild.workers.export.tracing.tracing_inputs import (
    Part,
    bins_by_frame,
    decoder_part,
    encoder_decoder_parts,
    forward_part,
    sentence_part,
)
from onnxbuild.workers.export.wire_names import rename
from onnxbuild.workers.failures.exceptions import noted
from onnxbuild.workers.failures.known_messages import TRACING, UNTRACEABLE
from onnxbuild.workers.folders.processors import masks_audio
from onnxbuild.workers.folders.sentence_folders import is_embedder


def export(checkpoint: Path, destination: Path, params: ExportParams) -> None:
    """Write the graphs of the task. Errors: CheckFailed OBE02 for a model for which no inputs can be made."""
    from transformers.exporters import OnnxConfig, OnnxExporter

    exporter = OnnxExporter()
    with noted(UNTRACEABLE):
        parts = _graphs(checkpoint, params)
        for part in parts:
            _run_once(part)
    for part in parts:
        config = OnnxConfig(dynamic=True, opset_version=params.opset)
        with noted(TRACING), as_loops(part.model), restated(part.model), _same_type_stays():
            program = exporter.export(part.model, dict(part.inputs), config).program
        rename(program, part.outputs, bins=bins_by_frame(part.inputs))
        write_graph(program, destination / part.file)


@contextmanager
def _same_type_stays() -> Iterator[None]:
    """`Module.to` of the type that all weights have already changes nothing, and a traced weight cannot be replaced."""
    import torch

    before = torch.nn.Module.to

    def to(module: Any, *args: Any, **kwargs: Any) -> Any:
        types = {weight.dtype for weight in module.parameters() if weight.is_floating_point()}
        return module if not kwargs and types == set(args) else before(module, *args, **kwargs)

    torch.nn.Module.to = to
    try:
        yield
    finally:
        torch.nn.Module.to = before


def _run_once(part: Part) -> None:
    """PyTorch itself runs the inputs first: what it rejects is no failure of the exporter."""
    import torch

    with torch.no_grad():
        part.model(**copy.deepcopy(dict(part.inputs)))


def _graphs(checkpoint: Path, params: ExportParams) -> list[Part]:
    if not _pools(checkpoint, params):
        return _parts(_load(checkpoint, params), params.task, masks_audio=masks_audio(checkpoint))
    if not is_embedder(checkpoint):
        raise CheckFailed(
            "OBE02",
            "the checkpoint is not a sentence-transformer: it has no modules.json, which defines the pooling",
            notes=[
                (
                    "hint",
                    "`export: {library: transformers}` or `task: feature-extraction` exports the bare encoder",
                )
            ],
        )
    from sentence_transformers import SentenceTransformer

    options = {"trust_remote_code": params.trusts_code, "local_files_only": True}
    attention = {} if params.attention == "auto" else {"attn_implementation": params.attention}
    model = SentenceTransformer(str(checkpoint), device="cpu", model_kwargs=attention, **options)
    return [sentence_part(model.float().eval())]


def _pools(checkpoint: Path, params: ExportParams) -> bool:
    """Whether pooling belongs to the graph, decided as optimum does: by `library`, or else by the folder."""
    pooling = pooling_of(params.task)
    if params.library == "auto" and pooling == "where the checkpoint has it":
        return is_embedder(checkpoint)
    return params.library == "sentence_transformers" or (params.library, pooling) == ("auto", "always")


def _load(checkpoint: Path, params: ExportParams) -> Any:
    import torch
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CTC_MAPPING_NAMES

    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": params.trusts_code}
    config = AutoConfig.from_pretrained(checkpoint, **options)
    if params.attention != "auto":
        options["attn_implementation"] = params.attention
    loader = class_of(params.task, ctc=config.model_type in MODEL_FOR_CTC_MAPPING_NAMES)
    return loader.from_pretrained(checkpoint, dtype=torch.float32, **options).eval()


def _parts(model: Any, task: str, *, masks_audio: bool) -> list[Part]:
    """The graphs of a model, each with the inputs for tracing it."""
    family = family_of(task)
    if family == "decoder":
        return [decoder_part(model) if has_cache(task) else forward_part(model, left=True, sees=False)]
    if family == "encoder" or not model.config.is_encoder_decoder:  # a speech model of one graph (CTC)
        return [forward_part(model, masks_audio=masks_audio, sees=task != FILL_MASK)]
    return encoder_decoder_parts(model, with_past=has_cache(task), masks_audio=masks_audio)
