"""OB802: the compiler of a target is looked for where the target is compiled, also in the toolchain of its model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import devices_here
import pytest

from onnxbuild.diagnostics import Diagnostic
from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.expand import survey
from onnxbuild.planning.locked import Lock
from onnxbuild.planning.toolchains import LockedPackage, LockedToolchain, toolchain_key
from onnxbuild.rules import World, check
from onnxbuild.steps import KINDS

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=("avx2",), cores=2)
LISTED = ["torch==2.13.0", "transformers==4.57.6", "optimum-onnx==0.1.0"]
INT8 = {"backend": "openvino", "quantize": "int8"}


def warnings(
    root: Path, block: Any, toolchain: dict[str, Any] | None, locked: tuple[str, ...] = ()
) -> list[Diagnostic]:
    model = {"source": "random:bert", "task": "text-classification", "targets": ["one"], "benchmark": False}
    own = {} if toolchain is None else {"toolchains": {"own": toolchain}}
    models = {"m": model if toolchain is None else {**model, "toolchain": "own"}}
    content = {"onnxbuild": 1, "targets": {"one": {"compile": block}}, "models": models, **own}
    (root / "m.yaml").write_text(json.dumps(content))
    manifest = load_manifest(root / "m.yaml", kinds=KINDS)
    packages = tuple(LockedPackage(name, "1.0", "") for name in locked)
    key = toolchain_key(toolchain.get("requirements", ())) if toolchain else ""
    lock = Lock(toolchains={key: LockedToolchain(packages)} if locked else {})
    expansion = survey(manifest, KINDS, lock, MACHINE)
    world = World(manifest=manifest, lock=lock, expansion=expansion, installed=lambda _name: "1.0")
    return [one for one in check(world) if one.code == "OB802"]


@pytest.mark.parametrize(
    ("block", "locked", "absent"),
    [
        ("openvino", ("onnx", "onnxruntime"), "openvino"),
        (INT8, ("onnx", "openvino"), "nncf"),
        ("ort", ("onnx",), "onnxruntime"),
        ("qnn", ("onnx", "onnxruntime"), "onnxruntime-qnn"),
        ("dml", ("onnx", "onnxruntime"), "onnxruntime-directml"),
        ("openvino", ("onnx", "OpenVINO"), None),
        ("qnn", ("onnx", "onnxruntime_qnn"), None),
    ],
)
def test_a_locked_toolchain_has_what_its_lock_names(
    tmp_path: Path, block: Any, locked: tuple[str, ...], absent: str | None
) -> None:
    found = warnings(tmp_path, block, {"requirements": LISTED}, (*locked, "torch"))
    what = f"so `m/one:compile-{_name(block)}` will only be prepared, not compiled"
    expected = [] if absent is None else [f"`{absent}` is not in the toolchain `own`, {what}"]
    assert [one.message for one in found] == expected
    assert [one.notes for one in found] == [(("hint", f"add `{absent}` to the toolchain"),)] * len(found)


@pytest.mark.parametrize(
    ("block", "more", "absent"),
    [
        ("openvino", [], True),
        (INT8, ["openvino==2026.3"], True),
        ("openvino", ["openvino-genai"], False),  # it brings openvino along
        (INT8, ["optimum-intel[openvino]"], False),  # it brings both
        ("qnn", ["onnxruntime_qnn>=2"], False),
    ],
)
def test_before_a_toolchain_is_locked_only_what_nothing_can_bring_is_absent(
    tmp_path: Path, block: Any, more: list[str], *, absent: bool
) -> None:
    assert bool(warnings(tmp_path, block, {"requirements": [*LISTED, *more]})) is absent


@pytest.mark.parametrize("has_it", [True, False])
def test_an_interpreter_has_what_is_in_its_folders(tmp_path: Path, *, has_it: bool) -> None:
    site = tmp_path / "env/lib/python3.11/site-packages"
    for name in ("onnx", *(("openvino",) if has_it else ())):
        (site / f"{name}-1.0.dist-info").mkdir(parents=True)
        (site / f"{name}-1.0.dist-info/METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
    (tmp_path / "env/bin").mkdir()
    (tmp_path / "env/bin/python").touch(mode=0o755)
    (tmp_path / "env/pyvenv.cfg").write_text("version = 3.11.7\n")
    assert bool(warnings(tmp_path, "openvino", {"python": "env/bin/python"})) is not has_it


def test_a_gpu_without_the_library_of_its_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices_here.nvidia(monkeypatch)
    monkeypatch.setattr("onnxbuild.needs.step_needs.has_library", lambda _name: False)
    (found,) = warnings(tmp_path, "tensorrt", None)
    assert found.message == (
        "`libnvinfer.so` is not on this machine, so `m/one:compile-tensorrt` will only be prepared, not compiled"
    )
    assert "LD_LIBRARY_PATH" in dict(found.notes)["hint"]
    assert warnings(tmp_path, "cuda", None) == []


def test_a_driver_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    devices_here.nvidia(monkeypatch, gpus=())
    (found,) = warnings(tmp_path, "cuda", None)
    words = "the driver of NVIDIA is here, and no GPU: `/dev` has no `nvidia0`"
    assert found.message == f"{words}, so `m/one:compile-cuda` will only be prepared, not compiled"
    assert dict(found.notes)["hint"] == "run this target on a machine that has it, with a shared store"


def _name(block: Any) -> str:
    return str(block["backend"] if isinstance(block, dict) else block)
