"""What the graphs of a model are fed while it reads text: one sample at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.failures.known_messages import CALIBRATING
from onnxbuild.workers.inputs.samples import Sample
from onnxbuild.workers.inputs.stages import run_stages

Feeds = Mapping[str, np.ndarray]


def feeds_by_file(
    folder: Path, samples: Callable[[OnnxModel], Iterable[Sample]], *, threads: int
) -> Callable[[str], Iterable[Feeds]]:
    """A function from the name of a graph to what it is fed, sample by sample, while the model reads `samples`.

    Each call runs the whole model again where it has several stages: a cached step is fed what the pass before it
    returned.
    """
    model = OnnxModel(folder, threads=threads)
    stages = tuple(stage for stage in model.stages if not stage.startswith("merged"))

    def feeds(name: str) -> Iterator[Feeds]:
        here = model.stages_in(Path(name).name)
        for sample in samples(model):
            for stage, fed in _fed(model, sample, stages):
                if stage in here:
                    yield model.complete(stage, fed)

    return feeds


def _fed(model: OnnxModel, sample: Sample, stages: tuple[str, ...]) -> Iterator[tuple[str, Feeds]]:
    if stages == ("forward",):
        return iter([("forward", sample.feeds)])  # nothing reads its outputs
    return ((stage, fed) for stage, fed, _ in run_stages(model, sample, stages))


@contextmanager
def calibrating() -> Iterator[None]:
    """Note on every exception inside that data was being read: running out of memory then has other remedies."""
    try:
        yield
    except Exception as error:
        error.add_note(CALIBRATING)
        raise


class Counted:
    """Feeds that count themselves as they are read."""

    def __init__(self, feeds: Iterable[Feeds]) -> None:
        """Start at 0."""
        self.count = 0
        self._feeds = feeds

    def __iter__(self) -> Iterator[Feeds]:
        """Each of them, once."""
        for fed in self._feeds:
            self.count += 1
            yield fed
