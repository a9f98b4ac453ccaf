"""The right kind of model for a folder."""

from __future__ import annotations

from onnxbuild.serve.inference import encoder_model
from onnxbuild.serve.inference.encoder_model import EncoderModel
from onnxbuild.serve.inference.generating import decoder_model
from onnxbuild.serve.inference.generating.decoder_model import DecoderModel
from onnxbuild.serve.inference.model_folder import ModelFolder, UnusableModelError

Model = EncoderModel | DecoderModel


def opened_model(folder: ModelFolder, threads: int | None) -> Model:
    """The model of a folder, ready to answer. Errors: UnusableModelError."""
    if folder.task in encoder_model.TASKS:
        return EncoderModel(folder, threads)
    if folder.task in decoder_model.TASKS:
        return DecoderModel(folder, threads)
    known = ", ".join((*encoder_model.TASKS, *decoder_model.TASKS))
    raise UnusableModelError(f"there is no address for the task `{folder.task or 'unknown'}`, only for {known}")
