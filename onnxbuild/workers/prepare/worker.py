"""prepare: merges an adapter into its base model, or writes quantized weights out as the values that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec import UNSET

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.prepare import ADAPTER, PrepareParams
from onnxbuild.workers.folders.model_files import bytes_below, files_below
from onnxbuild.workers.libraries.remote_code import with_its_code


@with_its_code
def run(params: PrepareParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Write the prepared checkpoint. Facts: `files`, `bytes`, and those of what was done."""
    source, destination = inputs["model"], outputs["model"]
    facts: dict[str, Any] = {}
    with TemporaryDirectory(prefix="onnxbuild-prepare-") as scratch:
        if params.unpack is not UNSET:
            from onnxbuild.workers.prepare.unpack import unpack

            unpacked = Path(scratch) if params.adapter is True else destination
            facts |= unpack(source, unpacked, params.unpack, progress)
            source = unpacked
        if params.adapter is True:
            from onnxbuild.workers.prepare.merge_adapter import merge

            facts |= merge(source, inputs[ADAPTER], destination, progress, trusts_code=params.trusts_code)
    return {**facts, "files": len(files_below(destination)), "bytes": bytes_below(destination)}
