"""The right kind of model for a folder."""

from __future__ import annotations

from onnxbuild.serve.inference import encoder_model
from onnxbuild.serve.inference.encoder_model import EncoderModel
from onnxbuild.serve.inference.model_folder import ModelFolder, UnusableModelError

Model = EncoderModel


def opened_model(folder: ModelFolder, threads: int | None) -> Model:
    """The model of a folder, ready to answer. Errors: UnusableModelError."""
    if folder.task in encoder_model.TASKS:
        return EncoderModel(folder, threads)
    raise UnusableModelError(f"the server has nothing for the task `{folder.task or 'unknown'}`")
