"""Which graphs and files an ONNX source has; the texts of its faults are in tests/rules (OB622 to OB624)."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from onnxbuild.manifest.load import load_manifest
from onnxbuild.manifest.reach import Reach
from onnxbuild.onnx_files.onnx_outline import Outline
from onnxbuild.permissions import permissions
from onnxbuild.planning.local_files import LocalFiles
from onnxbuild.planning.locked import Lock, LockedSource
from onnxbuild.planning.sources import SourceReader
from onnxbuild.steps import KINDS

RULES = Path(__file__).parents[1] / "rules"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for code in ("OB622", "OB623"):
        shutil.copytree(RULES / code / "models", tmp_path, dirs_exist_ok=True)

    def run(source, file=(), *, hub=None):
        block = {"source": source, "file": list(file), "targets": ["fp32"]}
        (tmp_path / "m.yaml").write_text(json.dumps({"onnxbuild": 1, "targets": {"fp32": {}}, "models": {"m": block}}))
        lock = Lock(sources={"hub:org/m@main": LockedSource(COMMIT, hub, {"model_type": "bert"})} if hub else {})
        faults = []
        local = LocalFiles(faults, Reach("m.yaml", permissions()))
        found = SourceReader(lock, local).fetched(load_manifest("m.yaml", kinds=KINDS).models[0])
        run.local = local
        return found, [(one.code, one.message, dict(one.notes).get("hint")) for one in faults]

    return run


def test_weights_under_any_name_and_nothing_else(read, tmp_path):
    for name in ("config.json", "stray.onnx_data", "stray.data", "notes.bin"):
        (tmp_path / "good" / name).write_text("{}")
    wanted = ("config.json", "model.onnx", "parts/w1", "weights.bin")
    for source in ("onnx:good", "onnx:good/model.onnx"):
        found, faults = read(source)
        assert (faults, found.params["files"], found.inputs["files"].files) == ([], wanted, wanted)
        # Another graph may refer to other files, and a file may be replaced by a link.
        assert str(tmp_path / "good" / "model.onnx") in read.local.files
        assert str(tmp_path / "good" / "parts") in read.local.directories


def test_a_link_to_weights_elsewhere_is_a_fault(read, tmp_path, monkeypatch):
    monkeypatch.delenv("ONNXBUILD_ALLOW_PATH")
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "good" / "parts" / "w1", tmp_path / "elsewhere" / "w1")
    os.symlink(tmp_path / "elsewhere" / "w1", tmp_path / "good" / "parts" / "w1")
    found, faults = read("onnx:good")
    message = f"`parts/w1` is a link that leads out of the model folder, to `{tmp_path}/elsewhere/w1`"
    assert (found, [fault[:2] for fault in faults]) == (None, [("OB060", message)])
    os.remove(tmp_path / "good" / "parts" / "w1")
    os.rmdir(tmp_path / "good" / "parts")
    os.symlink(tmp_path / "elsewhere", tmp_path / "good" / "parts")  # a folder on the way
    found, faults = read("onnx:good")
    assert (found, [fault[:2] for fault in faults]) == (None, [("OB060", message)])


def test_a_file_that_is_no_model_is_left_to_the_run(read, tmp_path):
    (tmp_path / "good" / "model.onnx").write_text("not a graph")
    (tmp_path / "good" / "model.onnx_data").write_text("weights")
    assert read("onnx:good")[0].params["files"] == ("model.onnx", "model.onnx_data")


def test_weights_under_the_name_of_the_description(read, tmp_path, monkeypatch):
    """A delivery would write its own file in their place, and the model would not load."""
    named = Outline(inputs=("x",), data={"onnxbuild.json": 1})
    monkeypatch.setattr("onnxbuild.planning.graphs.local_graphs.read_outline", lambda _path: named)
    (tmp_path / "good" / "onnxbuild.json").write_text("weights")
    message = "`model.onnx` has weights in `onnxbuild.json`, which onnxbuild writes beside every model"
    hint = "save the model again with another name for its weights"
    assert read("onnx:good") == (None, [("OB623", message, hint)])


def test_graphs_in_folders_below_are_no_model(read, tmp_path):
    for name in ("a", "b", "c"):
        shutil.copytree(tmp_path / "good", tmp_path / "several" / name)
    hint = "graphs are looked for at its top and in `onnx/`: name the folder that holds those of one model"
    assert read("onnx:several") == (None, [("OB027", "`several` contains no .onnx file", hint)])
    assert read("onnx:several/b")[1] == []


def test_only_the_picked_graphs_are_taken(read):
    assert read("onnx:two", ["model_uint8.onnx"])[0].params["files"] == ("model_uint8.onnx",)
    parts = ["encoder_model.onnx", "decoder_model.onnx"]
    assert read("onnx:parts", parts)[0].params["files"] == ("decoder_model.onnx", "encoder_model.onnx")


ON_HUB = ("config.json", "onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_q4.onnx", "tokenizer.json", "x.png")


def test_a_graph_of_a_repository(read):
    found, faults = read("hub:org/m", ["onnx/model_q4.onnx"], hub=ON_HUB)
    files = ("config.json", "onnx/model_q4.onnx", "tokenizer.json")
    params = {"origin": "hub", "repo": "org/m", "revision": COMMIT, "files": files}
    assert (faults, found.artifact, found.params) == ([], "onnx", params)


def test_a_graph_beside_a_checkpoint(read):
    files = (*ON_HUB, "model.safetensors")
    plain, faults = read("hub:org/m", hub=files)
    assert (faults, plain.artifact, "files" in plain.params) == ([], "checkpoint", False)
    assert read("hub:org/m", ["onnx/model.onnx"], hub=files)[0].artifact == "onnx"


def test_graphs_of_a_repository_of_which_one_is_meant(read):
    hint = "pick one with `file: onnx/model.onnx`; there are `onnx/model.onnx`, `onnx/model_q4.onnx`"
    message = "the repository has 2 graphs that are not parts of one model"
    assert read("hub:org/m", hub=ON_HUB) == (None, [("OB622", message, hint)])
    parts = ("config.json", "onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx")
    assert read("hub:org/m", hub=parts)[0].params["files"] == tuple(sorted(parts))
    assert read("hub:org/m", hub=("model.onnx", "onnx/decoder_model.onnx"))[1][0][0] == "OB622"


def test_a_graph_that_a_repository_lacks(read):
    message, hint = "the source has no graph `onnx/model_q8.onnx`", "did you mean `onnx/model_q4.onnx`?"
    assert read("hub:org/m", ["onnx/model_q8.onnx"], hub=ON_HUB) == (None, [("OB624", message, hint)])
    message, hint = "the source has no graph `a.onnx`", "it has no .onnx file"
    assert read("hub:org/m", ["a.onnx"], hub=("model.safetensors",)) == (None, [("OB624", message, hint)])
