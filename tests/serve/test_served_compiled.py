"""Variants of `ort` and `openvino` are served with their own runtimes, and give what the graph gives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from token_model import OUT, token_model

from onnxbuild.digest import digest_bytes
from onnxbuild.serve.inference.model_folder import ModelFolder, UnusableModelError
from onnxbuild.serve.inference.opened_model import opened_model
from onnxbuild.serve.running.checked_folder import check_files
from onnxbuild.serve.unusable_folder import UnusableFolderError
from onnxbuild.serve.wire import Item

pytest.importorskip("openvino")

# ONNX Runtime's converter to its own format leaves a file open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ITEMS = [Item("the a of in"), Item("to"), Item("and is the the the the of to")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return token_model(tmp_path_factory.mktemp("served") / "model", masked=True)


@pytest.fixture(scope="module", params=["ort", "ort-format", "openvino"])
def compiled(request: pytest.FixtureRequest, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from onnxbuild.machine import this_machine
    from onnxbuild.steps.compiling.openvino_backend import OpenvinoParams
    from onnxbuild.steps.compiling.ort_backend import OrtParams
    from onnxbuild.workers.compile.openvino import openvino_worker
    from onnxbuild.workers.compile.ort import ort_worker

    folder = tmp_path_factory.mktemp(request.param)
    places = {"model": model}, {"model": folder}, lambda *_told: None
    if request.param == "openvino":
        openvino_worker.run(OpenvinoParams(), *places)
    else:
        kind = "ort" if request.param == "ort-format" else "onnx"
        ort_worker.run(OrtParams(format=kind, cpu=this_machine().int8_preset), *places)
    return folder


def vectors(folder: Path) -> np.ndarray:
    rows = opened_model(ModelFolder(folder, "feature-extraction"), 1).answer("embed", ITEMS)
    return np.stack([np.frombuffer(row.vector, np.float32) for row in rows])


def test_the_vectors_are_those_of_the_graph(model: Path, compiled: Path) -> None:
    wanted, found = vectors(model), vectors(compiled)
    assert found.shape == (3, OUT)
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
    assert np.abs(wanted[0] - wanted[1]).max() > 0.01


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"compiler": {"name": "x", "version": "1.0"}}, "1.0, and .* is installed: compile it again"),
        ({"backend": "qaic"}, "does not say how it is loaded: 'qaic'"),
        ({"stages": {}}, "does not say how it is loaded"),
    ],
)
def test_what_another_version_has_compiled_is_refused(
    compiled: Path, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    shutil.copytree(compiled, tmp_path, dirs_exist_ok=True)
    record = json.loads((compiled / "compiled.json").read_text())
    (tmp_path / "compiled.json").write_text(json.dumps(record | change))
    with pytest.raises(UnusableModelError, match=says):
        vectors(tmp_path)


@pytest.mark.parametrize(
    ("compiled", "settings", "says"),
    [
        ("openvino", {"bounds": {"sequence_length": "1..16"}}, "its sizes are bounded"),
        ("ort", {"cpu": "arm64-of-tomorrow"}, "optimized for a CPU with arm64-of-tomorrow"),
    ],
    indirect=["compiled"],
)
def test_what_does_not_hold_here_is_refused(
    compiled: Path, tmp_path: Path, settings: dict[str, Any], says: str
) -> None:
    shutil.copytree(compiled, tmp_path, dirs_exist_ok=True)
    record = json.loads((compiled / "compiled.json").read_text())
    (tmp_path / "compiled.json").write_text(json.dumps(record | {"settings": settings}))
    with pytest.raises(UnusableModelError, match=says):
        vectors(tmp_path)


@pytest.mark.parametrize(
    ("kind", "facts", "says"),
    [
        ("compile-qaic", {"state": "compiled"}, "compiled for `qaic`, and the server runs ONNX graphs and what `ort`"),
        ("compile-openvino", {"state": "prepared", "needs": "openvino"}, "only prepared for `openvino`"),
        ("compile-openvino", {"state": "compiled"}, ""),
    ],
)
def test_a_folder_is_served_if_it_is_compiled_for_a_runtime_of_the_server(
    tmp_path: Path, kind: str, facts: dict[str, str], says: str
) -> None:
    (tmp_path / "model.blob").write_bytes(b"blob")
    listed = {"model.blob": {"blake3": digest_bytes(b"blob"), "bytes": 4}}
    described = {"model": "m", "target": "t", "files": listed, "steps": [{"kind": kind, "facts": facts}]}
    (tmp_path / "onnxbuild.json").write_text(json.dumps(described))
    if not says:
        assert check_files(tmp_path).target == "t"
        return
    with pytest.raises(UnusableFolderError, match=says):
        check_files(tmp_path)
