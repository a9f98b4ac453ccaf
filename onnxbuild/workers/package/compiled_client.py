"""Checks a package of compiled targets: the engine of each backend must open its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.compiling.backend_kind import HOST_DOUBLE
from onnxbuild.steps.packaging.compiled_package import CompiledClientParams
from onnxbuild.workers.engines.compiled.compiled_model import Where
from onnxbuild.workers.engines.compiled.open_variant import checked_record, open_compiled, why_skipped
from onnxbuild.workers.package.client_checks import reported


def run(params: CompiledClientParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Compare each folder with its `compiled.json`, and open it where the machine has what runs it.

    One folder that cannot be opened here makes the whole check skipped; `opened_on` says where each of the others was,
    such as a host double, which does not open a compiled program. Errors: CheckFailed OBE230 to OBE234 for a folder
    that is not what was compiled, or that cannot be loaded as it is.
    """
    lacking: dict[str, str] = {}
    opened: dict[str, _Opened] = {}
    for role, runtime in (params.runtimes or {}).items():
        folder = inputs["model"] / role
        checked_record(folder)
        needs = why_skipped(folder, runtime)
        if needs is not None:
            lacking[role] = needs
            continue
        progress(f"opening {role} with {runtime.backend}")
        opened[role] = _open(folder)
    skipped = {"skipped": "; ".join(dict.fromkeys(lacking.values()))} if lacking else {}
    clients = dict.fromkeys(one.client for one in opened.values())
    places = {"opened_on": {role: msgspec.to_builtins(one.where) for role, one in opened.items()}} if opened else {}
    return reported({"client": ", ".join(clients), "opened": list(opened), **places, **skipped}, outputs)


class _Opened(Struct, frozen=True):
    client: str
    where: Where


def _open(folder: Path) -> _Opened:
    """What has opened a folder, and where it was; the engine is gone afterwards, and with it the cores of a card."""
    engine = open_compiled(folder, threads=1)
    where = engine.where
    if where.place == "device":
        return _Opened(engine.name, where)
    is_unopened = where.place == HOST_DOUBLE and engine.record.state == "compiled"
    rest = ", which does not open the compiled program" if is_unopened else ""
    return _Opened(f"{engine.name} ({where.place} of {where.name}{rest})", where)
