"""What `source:` means; the texts of its faults are in tests/rules (OB016, OB026 to OB028)."""

import os
import sys

import pytest

from onnxbuild.manifest.load import load_manifest
from onnxbuild.manifest.reach import Reach
from onnxbuild.permissions import permissions
from onnxbuild.planning.action_graph import FilesSource
from onnxbuild.planning.local_files import LocalFiles
from onnxbuild.planning.locked import Lock, LockedSource
from onnxbuild.planning.sources import SourceReader
from onnxbuild.steps import KINDS


@pytest.fixture
def read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(source, *, where="m.yaml", lock=Lock()):  # noqa: B008 - it is frozen
        head = "onnxbuild: 1\ntargets: {fp32: {}}\n"
        body = f"models: {{m: {{source: {source}, targets: [fp32]}}}}\n"
        if where == "m.yaml":
            (tmp_path / where).write_text(head + body)
        else:
            (tmp_path / "m.yaml").write_text(f"{head}include: {where}\n")
            (tmp_path / where).parent.mkdir(exist_ok=True)
            (tmp_path / where).write_text(body)
        faults = []
        reader = SourceReader(lock, LocalFiles(faults, Reach("m.yaml", permissions())))
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


def test_the_data_of_a_graph_in_either_spelling_and_no_other_weights(read, tmp_path):
    checkpoint(tmp_path / "g", "a.onnx", "a.onnx.data", "b.onnx_data", "tokenizer.json", "model.safetensors")
    found, faults = read("onnx:g/a.onnx")
    assert (faults, found.files) == ([], ("a.onnx", "a.onnx.data", "tokenizer.json"))
    assert (found.config, found.params) == (None, {"origin": "files", "files": found.files})


@pytest.mark.parametrize(
    ("block", "params"),
    [
        ("{random: bert}", {"config": {}, "seed": 0}),
        ("{random: bert, seed: 4, config: {n: 1}}", {"config": {"n": 1}, "seed": 4}),
        ("{random: bert, tokenizer: {text: 'file:t.txt'}}", {"config": {}, "seed": 0, "tokenizer_vocabulary": 2000}),
        (
            "{random: bert, tokenizer: {text: 'file:t.txt', vocabulary: 3}}",
            {"config": {}, "seed": 0, "tokenizer_vocabulary": 3},
        ),
    ],
)
def test_a_random_model_has_defaults(read, tmp_path, block, params):
    (tmp_path / "t.txt").write_text("a")
    found, faults = read(block)
    assert (faults, found.params) == ([], {"origin": "random", "architecture": "bert", **params})
    assert found.config == {**params["config"], "model_type": "bert"}
    assert found.inputs == ({"text": FilesSource(str(tmp_path), ("t.txt",))} if "tokenizer" in block else {})
    assert (found.artifact, found.files, found.unlocked) == ("checkpoint", None, False)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("file:gone.txt", ("OB016", "`gone.txt` does not exist")),
        ("file:folder", ("OB016", "`folder` is a folder")),
        ("hub:x", ("OB026", "`hub:x` is not a source")),
    ],
)
def test_the_text_of_a_tokenizer_is_a_file(read, tmp_path, text, fault):
    (tmp_path / "folder").mkdir()
    assert read(f"{{random: bert, tokenizer: {{text: '{text}'}}}}") == (None, [fault])


LOCKED = "c" * 40


@pytest.mark.parametrize(
    ("files", "artifact"),
    [
        (("model.safetensors", "onnx/model.onnx"), "checkpoint"),
        (("onnx/model.onnx",), "onnx"),
        (("README.md",), "checkpoint"),
        ((), "checkpoint"),
    ],
)
def test_a_locked_repository_is_what_its_files_say(read, files, artifact):
    lock = Lock(sources={"hub:o/m@v1": LockedSource(LOCKED, files, {"model_type": "bert"})})
    found, faults = read("'hub:o/m@v1'", lock=lock)
    assert (faults, found.artifact, found.files) == ([], artifact, files or None)
    graphs = {"files": files} if artifact == "onnx" else {}
    assert found.params == {"origin": "hub", "repo": "o/m", "revision": LOCKED, **graphs}
    assert (found.config, found.unlocked) == ({"model_type": "bert"}, False)
    missing, _ = read("'hub:o/m'", lock=lock)
    assert (missing.params["revision"], missing.config, missing.unlocked) == ("main", None, True)


@pytest.mark.parametrize("below", ["../other", "..", "weights/../../other"])
def test_a_package_is_not_left(read, tmp_path, monkeypatch, below):
    checkpoint(tmp_path / "lib" / "left_pkg", "__init__.py")
    checkpoint(tmp_path / "lib" / "other", "config.json", "model.safetensors")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    fault = ("OB060", f"`package:left_pkg/{below}` is outside the package `left_pkg`")
    assert read(f"package:left_pkg/{below}") == (None, [fault])


def test_an_installed_model_may_consist_of_links(read, tmp_path, monkeypatch):
    checkpoint(tmp_path / "elsewhere", "config.json", "model.safetensors")
    (tmp_path / "lib" / "linked_pkg").mkdir(parents=True)
    (tmp_path / "lib" / "linked_pkg" / "__init__.py").touch()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "lib" / "linked_pkg" / name).symlink_to(tmp_path / "elsewhere" / name)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    monkeypatch.delenv("ONNXBUILD_ALLOW_PATH")
    found, faults = read("package:linked_pkg")
    assert (faults, found.files) == ([], ("config.json", "model.safetensors"))
    found, faults = read("local:lib/linked_pkg")
    assert (found, [code for code, _ in faults]) == (None, ["OB060", "OB060"])


def test_a_link_to_a_folder_of_a_model_that_leads_out_is_followed_nowhere(read, tmp_path, monkeypatch):
    checkpoint(tmp_path / "elsewhere", "config.json")
    checkpoint(tmp_path / "model", "config.json", "model.safetensors", "modules.json")
    (tmp_path / "model" / "1_Pooling").symlink_to(tmp_path / "elsewhere")
    monkeypatch.delenv("ONNXBUILD_ALLOW_PATH")
    found, faults = read("local:model")
    out = f"`1_Pooling/config.json` is a link that leads out of the model folder, to `{tmp_path}/elsewhere/config.json`"
    assert (found, faults) == (None, [("OB060", out)])


def test_only_folders_of_modules_and_of_graphs_are_looked_at(read, tmp_path):
    checkpoint(tmp_path / "g", "a.onnx", "onnx/b.onnx", "2_Dense/c.onnx", "other/d.onnx", "onnx/deep/e.onnx")
    (tmp_path / "g" / "broken.onnx").symlink_to("nowhere")
    (tmp_path / "g" / "f.onnx").symlink_to("a.onnx")
    (tmp_path / "g" / "h.onnx").mkdir()
    (tmp_path / "g" / "3_Link").symlink_to("2_Dense")
    local = LocalFiles([], Reach("m.yaml", permissions()))
    names = local.names_below(str(tmp_path / "g"), None)
    assert names == ["2_Dense/c.onnx", "3_Link/c.onnx", "a.onnx", "f.onnx", "onnx/b.onnx"]
    assert [os.path.relpath(folder, tmp_path / "g") for folder in sorted(local.directories)] == [
        ".", "2_Dense", "3_Link", "onnx",
    ]  # fmt: skip
    gone = str(tmp_path / "gone")
    assert local.names_below(gone, None) == []
    assert [one.message for one in local.faults] == [f"`{gone}` cannot be read: no such file or directory"]


def test_a_name_that_cannot_be_kept_and_a_pointer_are_faults(read, tmp_path):
    checkpoint(tmp_path / "g", "a.onnx", "b\n.onnx")
    assert read("onnx:g") == (None, [("OB027", "the file name `b\\n.onnx` cannot be kept")])
    (tmp_path / "g" / "b\n.onnx").unlink()
    pointer = b"version https://git-lfs.github.com/spec/v1\n"
    (tmp_path / "g" / "a.onnx").write_bytes(pointer.ljust(1024, b" "))
    assert read("onnx:g") == (None, [("OB028", "`a.onnx` is a Git-LFS pointer, not weights")])
    (tmp_path / "g" / "a.onnx").write_bytes(pointer.ljust(1025, b" "))
    assert read("onnx:g")[1] == []


INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("index", "fault"),
    [
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("{}", "it has no `weight_map`"),
        ('{"weight_map": {}}', "it has no `weight_map`"),
        ('{"weight_map": {"a": 1}}', "it has no `weight_map`"),
    ],
)
def test_an_index_that_names_nothing(read, tmp_path, index, fault):
    checkpoint(tmp_path / "model", "config.json", "model-00001-of-00001.safetensors")
    (tmp_path / "model" / INDEX).write_text(index)
    assert read("local:model") == (None, [("OB027", f"`{INDEX}` cannot be used: {fault}")])


def test_the_shards_are_those_that_the_index_names_and_stay_in_the_folder(read, tmp_path):
    checkpoint(tmp_path / "model", "config.json", "odd.safetensors", "model-00001-of-00001.safetensors")
    path = tmp_path / "model" / INDEX
    path.write_text('{"weight_map": {"a": "odd.safetensors"}}')
    found, faults = read("local:model")
    assert faults == []
    assert found.files == ("config.json", "model-00001-of-00001.safetensors", INDEX, "odd.safetensors")
    path.write_text('{"weight_map": {"a": "../m.yaml"}}')
    assert read("local:model") == (None, [("OB630", f"`{INDEX}` names '../m.yaml', which is outside the folder")])


def test_a_file_with_all_weights_needs_no_index(read, tmp_path):
    checkpoint(tmp_path / "model", "config.json", "model.safetensors", "model-00001-of-00002.safetensors")
    assert read("local:model")[1] == []
    (tmp_path / "model" / INDEX).write_text('{"weight_map": {"a": "gone.safetensors"}}')
    assert read("local:model")[1] == []


def test_the_config_of_an_old_sentence_transformer_is_in_its_folder(read, tmp_path):
    files = ("0_Transformer/config.json", "0_Transformer/model.safetensors", "modules.json")
    checkpoint(tmp_path / "old", *files)
    (tmp_path / "old" / files[0]).write_text('{"model_type": "bert"}')
    found, faults = read("local:old")
    assert faults == []
    assert (found.config, found.files) == ({"model_type": "bert"}, files)
