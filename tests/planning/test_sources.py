"""What `source:` means; the texts of its faults are in tests/rules (OB016, OB026 to OB028)."""

import sys

import pytest

from onnxbuild.manifest.load import load_manifest
from onnxbuild.manifest.reach import Reach
from onnxbuild.permissions import permissions
from onnxbuild.planning.action_graph import FilesSource
from onnxbuild.planning.local_files import LocalFiles
from onnxbuild.planning.locked import Lock
from onnxbuild.planning.sources import SourceReader
from onnxbuild.steps import KINDS


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(source, *, where="m.yaml"):
        head = "onnxbuild: 1\ntargets: {fp32: {}}\n"
        body = f"models: {{m: {{source: {source}, targets: [fp32]}}}}\n"
        if where == "m.yaml":
            (tmp_path / where).write_text(head + body)
        else:
            (tmp_path / "m.yaml").write_text(f"{head}include: {where}\n")
            (tmp_path / where).parent.mkdir(exist_ok=True)
            (tmp_path / where).write_text(body)
        faults = []
        reader = SourceReader(Lock(), LocalFiles(faults, Reach("m.yaml", permissions())))
        found = reader.fetched(load_manifest("m.yaml", kinds=KINDS).models[0])
        return found, [(one.code, one.message) for one in faults]

    return run


def checkpoint(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}" if name.endswith(".json") else "x")


def test_what_matters_of_a_checkpoint(read, tmp_path):
    wanted = (
        "1_Pooling/config.json",
        "config.json",
        "merges.txt",
        "model.safetensors",
        "modules.json",
        "tokenizer.json",
    )
    noise = (
        "README.md", ".gitattributes", ".git/config", "picture.png", "pytorch_model.bin", "tf_model.h5",
        "flax_model.msgpack", "onnx/model.onnx", "openvino/openvino_model.xml", "original/consolidated.00.pth",
        "training_args.bin",
    )  # fmt: skip
    checkpoint(tmp_path / "model", *wanted, *noise)
    found, faults = read("local:model")
    assert (faults, found.inputs["files"]) == ([], FilesSource(str(tmp_path / "model"), wanted))
    assert found.params == {"origin": "files", "files": wanted}


def test_paths_are_relative_to_the_file_in_which_they_stand(read, tmp_path):
    checkpoint(tmp_path / "sub" / "model", "config.json", "model.safetensors")
    found, faults = read("local:model", where="sub/inner.yaml")
    assert (faults, found.inputs["files"].root) == ([], str(tmp_path / "sub" / "model"))


def test_a_package_is_found_and_not_imported(read, tmp_path, monkeypatch):
    checkpoint(tmp_path / "toy_pkg" / "weights", "config.json", "pytorch_model.bin")
    (tmp_path / "toy_pkg" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    found, faults = read("package:toy_pkg/weights")
    assert (faults, found.inputs["files"].root) == ([], str(tmp_path / "toy_pkg" / "weights"))
    assert "toy_pkg" not in sys.modules


@pytest.mark.parametrize("name", ["no_such", "__main__", "sys"])
def test_a_package_that_is_none(read, name):
    found, faults = read(f"'package:{name}/x'")
    assert (found, faults) == (None, [("OB016", f"the package `{name}` is not installed")])


@pytest.mark.parametrize("name", ["os.path", "no such", "..", ".", "../x", "-e"])
def test_a_package_with_a_name_that_no_package_has(read, name):
    found, faults = read(f"'package:{name}/x'")
    assert (found, faults) == (None, [("OB026", f"`{name.split('/')[0]}` is not the name of a package")])


def test_an_onnx_file_with_its_data(read, tmp_path):
    checkpoint(tmp_path / "g", "a.onnx", "a.onnx_data", "b.onnx", "config.json", "notes.txt")
    found, _ = read("onnx:g/a.onnx")
    assert (found.artifact, found.params["files"]) == ("onnx", ("a.onnx", "a.onnx_data", "config.json"))


def test_an_onnx_folder(read, tmp_path):
    checkpoint(tmp_path / "g", "a.onnx", "a.onnx_data", "b.onnx", "config.json", "notes.txt")
    assert read("onnx:g")[0].params["files"] == ("a.onnx", "a.onnx_data", "b.onnx", "config.json")


def test_a_file_is_no_checkpoint(read, tmp_path):
    (tmp_path / "model").write_text("x")
    assert read("local:model") == (None, [("OB016", "`model` is a file")])


def test_random(read):
    found, _ = read("random:gpt2")
    assert (found.params, found.config) == ({"origin": "random", "architecture": "gpt2"}, {"model_type": "gpt2"})
