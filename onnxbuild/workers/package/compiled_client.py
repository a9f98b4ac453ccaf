"""Checks a package of compiled targets: the engine of each backend must open its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.packaging.compiled_package import CompiledClientParams
from onnxbuild.workers.engines.compiled.compiled_model import Where
from onnxbuild.workers.engines.compiled.open_variant import checked_record, open_compiled, why_skipped
from onnxbuild.workers.package.client_checks import reported


def run(params: CompiledClientParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Compare each folder with its `compiled.json`, and open it where the machine has what runs it.

    One folder that cannot be opened here makes the whole check skipped; `opened` names the others, and `opened_on` says
    where each of them was opened: on its device, in an emulator, or by a host double. Errors: CheckFailed
    OBE230 to OBE234 for a folder that is not what was compiled, or that cannot be loaded as it is.
    """
    lacking: dict[str, str] = {}
    opened: dict[str, Where] = {}
    runtimes = params.runtimes or {}
    for role, runtime in runtimes.items():
        folder = inputs["model"] / role
        checked_record(folder)
        needs = why_skipped(folder, runtime)
        if needs is not None:
            lacking[role] = needs
            continue
        progress(f"opening {role} with {runtime.backend}")
        opened[role] = open_compiled(folder, threads=1).where
    skipped = {"skipped": "; ".join(dict.fromkeys(lacking.values()))} if lacking else {}
    clients = dict.fromkeys(_client(runtimes[role].backend, where) for role, where in opened.items())
    places = {"opened_on": msgspec.to_builtins(opened)} if opened else {}
    return reported({"client": ", ".join(clients), "opened": list(opened), **places, **skipped}, outputs)


def _client(backend: str, where: Where) -> str:
    """`openvino`, or `qnn (emulator of HTP)`: what stands in for a device says so."""
    return backend if where.place == "device" else f"{backend} ({where.place} of {where.name})"
