"""What a model's own processor makes of recordings and pictures: the feeds of its first graph."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.folders.processors import processor_of
from onnxbuild.workers.inputs.sample_source import Source
from onnxbuild.workers.inputs.samples import Sample
from onnxbuild.workers.validate.of_files.recordings import RATE

_COLOURS = "RGB"


class Processor:
    """The processor of a model folder, which transformers loads."""

    def __init__(self, source: Source, *, hears: bool, trusts_code: bool) -> None:
        """Load it. Errors: CheckFailed OBE142 if the folder has none that transformers can load."""
        import transformers

        loader: Any = transformers.AutoFeatureExtractor if hears else transformers.AutoImageProcessor
        # The fast processors of pictures need torchvision, and give slightly other values than the slow ones.
        options = {} if hears else {"use_fast": False}
        # Some processors make a mask only if they are asked, and the graph may need one all the same.
        self._masks = {"return_attention_mask": True} if hears and "attention_mask" in source.inputs else {}
        try:
            self._process = loader.from_pretrained(
                source.folder, local_files_only=True, trust_remote_code=trusts_code, **options
            )
        except Exception as error:
            kind = "recordings" if hears else "pictures"
            reason = " ".join(str(error).split())
            hint = "the checkpoint must have a preprocessor_config.json, which an export takes along"
            notes = [("cause", reason), ("hint", hint)]
            raise CheckFailed("OBE142", f"the model's processor of {kind} cannot be loaded", notes=notes) from error

    @property
    def rate(self) -> int:
        """Samples per second that the model hears."""
        return int(getattr(self._process, "sampling_rate", RATE))

    def heard(self, sound: np.ndarray, label: str) -> Sample:
        """A sample of one recording."""
        return _sample(self._process(sound, sampling_rate=self.rate, return_tensors="np", **self._masks), label)

    def seen(self, picture: Any, label: str) -> Sample:
        """A sample of one picture."""
        return _sample(self._process(picture, return_tensors="np"), label)


def has_processor(source: Source) -> bool:
    """Whether the folder has the config of a processor."""
    return bool(processor_of(source.folder))


def picture_of(content: bytes, place: str) -> Any:
    """A picture in RGB. Errors: CheckFailed OBE53 without pillow, OBE141 if the content is no picture."""
    try:
        from PIL import Image
    except ImportError as error:
        hint = "run `pip install 'onnxbuild[metrics]'` in the environment of the worker"
        raise CheckFailed("OBE53", "reading pictures needs pillow", notes=[("hint", hint)]) from error
    try:
        return Image.open(io.BytesIO(content)).convert(_COLOURS)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise CheckFailed("OBE141", f"the picture of {place} cannot be read: {error}") from error


def _sample(features: Any, label: str) -> Sample:
    """The features as feeds: 32-bit floats, masks as whole numbers."""
    feeds = {name: _plain(np.asarray(value)) for name, value in features.items()}
    none: np.ndarray = np.zeros((1, 0), np.int64)
    return Sample(label=label, feeds=feeds, mask=None, step_ids=none, decoder_ids=none, rows=1, tokens=0)


def _plain(values: np.ndarray) -> np.ndarray:
    is_real = np.issubdtype(values.dtype, np.floating)
    return values.astype(np.float32 if is_real else np.int64)
