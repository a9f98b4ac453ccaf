"""compiled: writes one folder for each compiled target, with all that its backend has written, and the checksums."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.packaging.compiled_package import CompiledParams
from onnxbuild.workers.engines.compiled.open_variant import checked_record
from onnxbuild.workers.folders.model_files import copy_model_file, files_below
from onnxbuild.workers.package.checksums import closed
from onnxbuild.workers.package.placed_graphs import folders_of


def run(params: CompiledParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Copy each folder as it is: `compiled.json` has the digests and the names of its files.

    Errors: CheckFailed OBE230 and OBE232 for a folder that is not what was compiled.
    """
    package = outputs["package"]
    states = {}
    for role, folder in folders_of(params.graphs, inputs):
        progress(f"copying {role}")
        states[role] = checked_record(folder).state
        for name in files_below(folder):
            copy_model_file(folder / name, package / role / name)
    progress("writing the checksums")
    return {"states": states, **closed(package)}
