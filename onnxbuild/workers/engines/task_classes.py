"""The class of transformers that a task is exported from and compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.tasks import TASKS, is_speech_to_text

# The names in transformers 5 of classes that it renamed.
_RENAMED: Mapping[str, str] = {"AutoModelForVision2Seq": "AutoModelForImageTextToText"}


def class_of(task: str, *, ctc: bool = False) -> Any:
    """The class of transformers for a task; `ctc`: a speech model of one graph, without a decoder.

    Errors: CheckFailed OBE01 for an unknown task.
    """
    import transformers

    row = TASKS.get(task)
    if row is None:
        raise CheckFailed("OBE01", f"no PyTorch class is known for task `{task}`")
    return transformers.AutoModelForCTC if ctc and is_speech_to_text(task) else auto_class(row.model_class)


def auto_class(name: str) -> Any:
    """An auto class, under the name that it has in the installed transformers."""
    import transformers

    return getattr(transformers, name, None) or getattr(transformers, _RENAMED[name])
