"""prepare: today's layout, quantized weights as the values that they stand for, and an adapter merged into its base."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec import UNSET

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.prepare import ADAPTER, PrepareParams
from onnxbuild.workers.folders.model_files import bytes_below, files_below
from onnxbuild.workers.libraries.remote_code import with_its_code

# Writes the second folder from the first, and returns facts.
Work = Callable[[Path, Path], dict[str, Any]]


@with_its_code
def run(params: PrepareParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Write the prepared checkpoint. Facts: `files`, `bytes`, and those of what was done."""
    source, destination = inputs["model"], outputs["model"]
    facts: dict[str, Any] = {}
    works = list(_works(params, inputs, progress))
    with TemporaryDirectory(prefix="onnxbuild-prepare-") as scratch:
        for number, work in enumerate(works):
            folder = Path(scratch) / str(number) if work is not works[-1] else destination
            folder.mkdir(exist_ok=True)
            facts |= work(source, folder)
            source = folder
    return {**facts, "files": len(files_below(destination)), "bytes": bytes_below(destination)}


def _works(params: PrepareParams, inputs: Mapping[str, Path], tell: Tell) -> Iterator[Work]:
    """What the params ask for, in order."""
    if params.flatten is True:
        from onnxbuild.workers.prepare.flatten import flatten

        yield flatten
    if params.unpack is not UNSET:
        from onnxbuild.workers.prepare.unpack import unpack

        yield partial(unpack, layout=params.unpack, tell=tell)
    if params.adapter is True:
        from onnxbuild.workers.prepare.merge_adapter import merge

        yield partial(merge, inputs[ADAPTER], tell=tell, trusts_code=params.trusts_code)
