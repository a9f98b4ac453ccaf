"""The reference of a variant whose checkpoint another library than transformers loads."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from onnxbuild.workers.engines.engine import Arrays, Device
from onnxbuild.workers.engines.static_embeddings import Bags, is_static, open_static
from onnxbuild.workers.engines.timm_models import is_timm, open_timm
from onnxbuild.workers.engines.torch_engine import TorchModel


class LibraryModel(TorchModel):
    """A model of one pass that returns its outputs by name."""

    def run(self, stage: str, feeds: Arrays) -> dict[str, np.ndarray]:
        """Its outputs."""
        outputs = self.prepare(stage, feeds)()
        return {name: value.detach().cpu().numpy() for name, value in outputs.items()}


def open_library_model(folder: Path, task: str, *, device: Device) -> LibraryModel | None:
    """The checkpoint as its own library loads it; None if that is transformers."""
    start = time.perf_counter()
    if is_static(folder):
        model = Bags(open_static(folder, device=device))
    elif is_timm(folder):
        model = open_timm(folder, task).model
    else:
        return None
    return LibraryModel(model, load_seconds=time.perf_counter() - start, device=device)
