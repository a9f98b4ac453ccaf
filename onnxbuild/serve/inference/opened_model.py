"""The right kind of model for a folder."""

from __future__ import annotations

from onnxbuild.serve.inference.encoder_model import EncoderModel
from onnxbuild.serve.inference.generating.decoder_model import DecoderModel
from onnxbuild.serve.inference.model_folder import ModelFolder, UnusableModelError
from onnxbuild.tables.serving.served_tasks import DECODERS, ENCODERS

Model = EncoderModel | DecoderModel


def opened_model(folder: ModelFolder, threads: int | None) -> Model:
    """The model of a folder, ready to answer. Errors: UnusableModelError."""
    if folder.task in ENCODERS:
        return EncoderModel(folder, threads)
    if folder.task in DECODERS:
        return DecoderModel(folder, threads)
    known = ", ".join((*ENCODERS, *DECODERS))
    raise UnusableModelError(f"there is no address for the task `{folder.task or 'unknown'}`, only for {known}")
