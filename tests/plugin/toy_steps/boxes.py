"""A package kind, `box`, whose client is the program `toybox`: what a plugin that ships models consists of."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from onnxbuild.steps.kind import Context
from onnxbuild.steps.packaging.package_kind import Client, ClientParams, Package, PackageParams


class BoxParams(PackageParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A folder with the graphs of all targets in a file. `expects`: what the client must say of it."""

    OF_CLIENT: ClassVar[tuple[str, ...]] = ("client", "expects")

    expects: str = "fine"


class BoxCheckParams(ClientParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the client must say."""

    expects: str = "fine"


def _settle(params: BoxParams, _context: Context) -> BoxCheckParams:
    return BoxCheckParams(task=params.task, graphs=params.graphs, expects=params.expects)


BOX = Package(
    name="box",
    summary="all graphs in one file",
    version=1,
    params=BoxParams,
    worker="toy_steps.boxes:run",
    pure=True,
    client=Client(
        worker="toy_steps.boxes:check",
        params=BoxCheckParams,
        settle=_settle,
        packages=lambda _params: ("program toybox",),
        reads_data_only=True,
    ),
)


def run(params: BoxParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], _tell: Any) -> Mapping[str, Any]:
    parts = [(inputs[f"graph-{target}"] / "model.onnx").read_bytes() for target in params.graphs.values()]
    (outputs["package"] / "deep").mkdir()
    (outputs["package"] / "deep" / "box.bin").write_bytes(b"".join(parts))
    return {"bytes": sum(map(len, parts)), "files": 1}


def check(
    params: BoxCheckParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], _tell: Any
) -> Mapping[str, Any]:
    from onnxbuild.workers.package.client_checks import reported, skipped, unequal

    place = shutil.which("toybox")
    if place is None:
        return skipped("needs toybox", outputs)
    done = subprocess.run([place, inputs["model"] / "deep" / "box.bin"], capture_output=True, text=True, check=True)
    if done.stdout.strip() != params.expects:
        raise unequal(f"toybox says `{done.stdout.strip()}` instead of `{params.expects}`", {})
    return reported({"client": "toybox 1.0"}, outputs)
