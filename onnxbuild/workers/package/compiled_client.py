"""Checks a package of compiled targets: the engine of each backend must open its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.packaging.compiled_package import CompiledClientParams
from onnxbuild.workers.engines.compiled.open_variant import checked_record, open_compiled, why_skipped
from onnxbuild.workers.package.client_checks import reported


def run(params: CompiledClientParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Compare each folder with its `compiled.json`, and open it where the machine has what runs it.

    One folder that cannot be opened here makes the whole check skipped; `opened` names the others. Errors: CheckFailed
    OBE230 to OBE234 for a folder that is not what was compiled, or that cannot be loaded as it is.
    """
    lacking, opened = {}, []
    runtimes = params.runtimes or {}
    for role, runtime in runtimes.items():
        folder = inputs["model"] / role
        checked_record(folder)
        needs = why_skipped(folder, runtime)
        if needs is not None:
            lacking[role] = needs
            continue
        progress(f"opening {role} with {runtime.backend}")
        open_compiled(folder, threads=1)
        opened.append(role)
    skipped = {"skipped": "; ".join(dict.fromkeys(lacking.values()))} if lacking else {}
    backends = dict.fromkeys(runtimes[role].backend for role in opened)
    return reported({"client": ", ".join(backends), "opened": opened, **skipped}, outputs)
