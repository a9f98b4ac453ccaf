"""The command `serve`: what it serves, and what it refuses before it listens."""

import asyncio
import json
import shutil
import socket

import pytest
from serving import change, serving

from onnxbuild.cli import run_command

pytestmark = pytest.mark.heavy


def refused(capsys, *arguments, code=2):
    assert run_command(["serve", *map(str, arguments)]) == code
    return capsys.readouterr().err


def test_a_manifest_serves_the_models_that_are_named(manifest):
    with serving(manifest, "embedder", "ranker/fp32") as server:
        names = [one["id"] for one in server.request("/v1/models").json["data"]]
        assert names == ["embedder/fp32", "embedder", "ranker/fp32", "ranker"]
        assert sum("OB749 warning" in line for line in server.log) == 2, "they were built with `validate: false`"
        assert not any("OB744" in line or "OB747" in line for line in server.log)
        assert server.end() == 0


def test_a_build_that_is_not_up_to_date_is_served_with_a_warning(manifest, tmp_path):
    shutil.copytree(manifest.parent, tmp_path / "copy")
    changed = tmp_path / "copy" / "models.yaml"
    changed.write_text(changed.read_text(encoding="utf-8").replace("seed: 1", "seed: 9"), encoding="utf-8")
    with serving(changed, "embedder") as server:
        assert any(
            "OB744 warning: `embedder/fp32` is not up to date: the last build is served" in one for one in server.log
        )
        assert server.request("/v1/embeddings", {"input": "a"}).status == 200


_MODEL = """
    source: {random: bert, seed: 1, config: {hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2}}
    task: feature-extraction
    targets: [fp32, o2]
"""
TWO = f"""
onnxbuild: 1
targets: {{fp32: {{}}, o2: {{optimize: O2}}}}
models:
  several: {_MODEL}
    package: plain
  chosen: {_MODEL}
    select: {{minimize: size_mb}}
"""


@pytest.mark.parametrize(("selectors", "code", "says"), [
    ([], "OB740", "name some of several, chosen"),
    (["several"], "OB740", "`several` has 2 variants, and no `select:` chooses the best"),
    (["severe"], "OB740", "did you mean `several`?"),
    (["several/o3"], "OB740", "did you mean `several/o2`?"),
    (["several/o2"], "OB741", "onnxbuild run"),
    (["chosen"], "OB741", "chosen/best`"),
    (["several/packages/plain"], "OB741", "m.yaml several/packages/plain`"),
])  # fmt: skip
def test_what_is_not_clear_or_not_built_is_refused(tmp_path, capsys, selectors, code, says):
    path = tmp_path / "m.yaml"
    path.write_text(TWO, encoding="utf-8")
    shown = refused(capsys, path, *selectors)
    assert shown.startswith(code)
    assert says in shown


def test_a_folder_without_a_model_is_refused(tmp_path, capsys):
    assert "OB741 no model was delivered" in refused(capsys, tmp_path)


def test_a_folder_of_several_models_gets_the_name_of_one(out, capsys):
    assert "/ranker/fp32`" in refused(capsys, out / "ranker").partition("has written, such as `")[2]


def test_one_variant_twice_is_refused(out, tmp_path, capsys):
    shutil.copytree(out / "ranker" / "fp32", tmp_path / "ranker")
    shown = refused(capsys, out / "ranker" / "fp32", tmp_path / "ranker")
    assert shown.startswith("OB740 two of the folders are `ranker/fp32`")


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "config.json"])
@pytest.mark.parametrize("harm", ["edit", "remove", "link"])
def test_files_that_are_not_those_of_the_build_are_not_served(out, tmp_path, capsys, name, harm):
    folder = tmp_path / "folder"
    shutil.copytree(out / "ranker" / "fp32", folder)
    path = folder / name
    if harm == "edit":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif harm == "link":
        path.rename(tmp_path / name)
        path.symlink_to(tmp_path / name)
    else:
        path.unlink()
    shown = refused(capsys, folder)
    assert shown.startswith("OB742")
    assert f"`{name}` {'was removed' if harm == 'remove' else 'has changed'} since it was delivered" in shown


def test_a_file_behind_a_link_to_a_folder_is_not_served(tmp_path):
    """Its content is right, and whoever owns the other folder changes it at will."""
    from onnxbuild.digest import digest_bytes
    from onnxbuild.serve.running.checked_folder import check_files
    from onnxbuild.serve.unusable_folder import UnusableFolderError

    (tmp_path / "folder").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "model.onnx").write_bytes(b"graph")
    listed = {"onnx/model.onnx": {"blake3": digest_bytes(b"graph"), "bytes": 5}}
    described = {"model": "ranker", "target": "fp32", "files": listed}
    (tmp_path / "folder" / "onnxbuild.json").write_text(json.dumps(described), encoding="utf-8")
    (tmp_path / "folder" / "onnx").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnusableFolderError, match=r"`onnx/model\.onnx` has left the folder"):
        check_files(tmp_path / "folder")
    (tmp_path / "folder" / "onnx").unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "folder" / "onnx")
    assert check_files(tmp_path / "folder").target == "fp32"


def plain_folder(folder, **changes):
    """A delivered folder with a file that is no model."""
    from onnxbuild.digest import digest_bytes

    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(b"graph")
    listed = {"model.onnx": {"blake3": digest_bytes(b"graph"), "bytes": 5}}
    described = {"model": "ranker", "target": "fp32", "files": listed, **changes}
    (folder / "onnxbuild.json").write_text(json.dumps(described), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", [
    "sentence_bert_config.json", "1_Pooling/config.json", "chat_template.jinja", "onnx/model.onnx", "Session.JSON",
])  # fmt: skip
def test_an_added_file_that_the_server_would_read_is_not_served(tmp_path, name):
    """Such as one that cuts every text to three tokens."""
    from onnxbuild.serve.running.checked_folder import check_files
    from onnxbuild.serve.unusable_folder import UnusableFolderError

    folder = plain_folder(tmp_path / "folder")
    for kept in ("notes.txt", "README.md", "bom.cdx.json", "tokenizers.py"):
        (folder / kept).write_text("{}")
    assert check_files(folder).target == "fp32"
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}")
    with pytest.raises(UnusableFolderError, match=f"`{name}` was added since it was delivered"):
        check_files(folder)


def test_an_added_link_to_a_folder_is_not_served(tmp_path):
    from onnxbuild.serve.running.checked_folder import check_files
    from onnxbuild.serve.unusable_folder import UnusableFolderError

    folder = plain_folder(tmp_path / "folder")
    (tmp_path / "elsewhere").mkdir()
    (folder / "1_Pooling").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnusableFolderError, match="`1_Pooling` was added"):
        check_files(folder)


def test_a_validation_that_was_skipped_is_no_validation(tmp_path):
    from onnxbuild.serve.running.checked_folder import check_files

    skipped = {"kind": "validate", "facts": {"skipped": "needs openvino"}}
    for steps, wanted in (([skipped], False), ([{"kind": "validate", "facts": {"passed": True}}], True), ([], False)):
        assert check_files(plain_folder(tmp_path / "folder", steps=steps)).is_validated is wanted


def test_a_module_in_the_current_folder_is_not_imported(tmp_path, monkeypatch):
    """The process of a model is started in the folder in which the command was."""
    from onnxbuild.serve.running.model_process import start_process
    from onnxbuild.serve.unusable_folder import UnusableFolderError

    folder = plain_folder(tmp_path / "folder")
    ran = tmp_path / "ran"
    for name in ("tokenizers", "numpy", "msgspec", "onnxruntime"):
        (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    monkeypatch.chdir(folder)

    async def about():
        process = await start_process(folder, 1, lambda _frame: None, lambda: None)
        try:
            with pytest.raises(UnusableFolderError, match="no address for the task"):
                await process.about()
        finally:
            await process.close()

    asyncio.run(about())
    assert not ran.exists()


def test_a_compiled_variant_is_not_served_as_a_plain_graph(tmp_path):
    """A folder for TensorRT has a graph too, which would run on the CPU."""
    from onnxbuild.digest import digest_bytes
    from onnxbuild.serve.running.checked_folder import check_files
    from onnxbuild.serve.unusable_folder import UnusableFolderError

    (tmp_path / "model.onnx").write_bytes(b"graph")
    listed = {"model.onnx": {"blake3": digest_bytes(b"graph"), "bytes": 5}}
    steps = [{"kind": "export"}, {"kind": "compile-tensorrt"}]
    described = {"model": "ranker", "target": "trt", "files": listed, "steps": steps}
    (tmp_path / "onnxbuild.json").write_text(json.dumps(described), encoding="utf-8")
    with pytest.raises(UnusableFolderError, match="compiled for `tensorrt`"):
        check_files(tmp_path)


def test_a_description_that_names_files_elsewhere_is_refused(out, tmp_path, capsys):
    folder = tmp_path / "folder"
    shutil.copytree(out / "ranker" / "fp32", folder)
    description = json.loads((folder / "onnxbuild.json").read_bytes())
    description["files"]["../beside"] = description["files"]["config.json"]
    (folder / "onnxbuild.json").write_text(json.dumps(description), encoding="utf-8")
    shutil.copy(folder / "config.json", tmp_path / "beside")
    assert "`../beside` has left the folder" in refused(capsys, folder)


@pytest.mark.parametrize(("name", "text", "says"), [
    ("session.json", '{"options": {"optimized_model_filepath": "/tmp/x"}}', "sets `optimized_model_filepath`"),
    ("session.json", '{"config_entries": {"session.load_model_format": "ORT"}}', "which `tune` never sets"),
    ("tokenizer.json", "{}", "`tokenizer.json` cannot be read"),
    ("config.json", "[" * 100_000, "`config.json` cannot be read"),
    ("model.onnx", "no graph", "ONNX Runtime cannot open the graph"),
    ("second.onnx", "another graph", "has 2: model.onnx, second.onnx"),
    ("onnxbuild.json", None, "no address for the task `question-answering`"),
])  # fmt: skip
def test_a_model_that_cannot_be_opened_has_a_reason(out, tmp_path, name, text, says):
    from onnxbuild.serve.inference.model_folder import ModelFolder, UnusableModelError
    from onnxbuild.serve.inference.opened_model import opened_model

    folder = tmp_path / "folder"
    shutil.copytree(out / "ranker" / "fp32", folder)
    if text is None:
        description = (folder / name).read_text(encoding="utf-8")
        text = description.replace("text-classification", "question-answering")
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(UnusableModelError) as caught:
        opened_model(ModelFolder(folder), None)
    assert says in str(caught.value)


def test_a_model_that_cannot_be_opened_is_named_with_the_reason(out, tmp_path, capsys):
    folder = tmp_path / "folder"
    shutil.copytree(out / "ranker" / "fp32", folder)
    change(folder, "session.json", '{"options": {"optimized_model_filepath": "/tmp/x"}}')
    shown = refused(capsys, folder, "--port", 0, "--workers", 2, code=1)
    assert "OB743" in shown
    assert "sets `optimized_model_filepath`, which `tune` never sets" in shown


def test_tuned_settings_are_taken(out, tmp_path, capsys):
    """A session with them opens; with a number of threads that cannot be it does not."""
    folder = tmp_path / "folder"
    shutil.copytree(out / "ranker" / "fp32", folder)
    entries = '"config_entries": {"session.intra_op.allow_spinning": "0"}'
    change(folder, "session.json", f'{{"options": {{"intra_op_num_threads": 1}}, {entries}}}')
    with serving(folder) as server:
        assert server.request("/v1/rerank", {"query": "a", "documents": ["b"]}).status == 200
    from onnxbuild.serve.inference.graph_session import GraphSession
    from onnxbuild.serve.inference.model_folder import ModelFolder

    session = GraphSession(ModelFolder(folder), None)
    options = session._session.get_session_options()
    assert options.intra_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert GraphSession(ModelFolder(folder), 3)._session.get_session_options().intra_op_num_threads == 3


def test_an_address_that_is_taken_is_refused_before_a_model_is_opened(out, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        shown = refused(capsys, out / "ranker" / "fp32", "--port", port, code=1)
    assert f"OB745 the server cannot listen on 127.0.0.1, port {port}" in shown


def test_a_missing_package_is_named(out, capsys, monkeypatch):
    def import_module(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr("onnxbuild.commands.serving.serve.import_module", import_module)
    shown = refused(capsys, out / "ranker" / "fp32")
    assert shown.startswith("OB746")
    assert "pip install 'onnxbuild[serve]'" in shown


def test_an_open_server_without_keys_is_warned_of(out, capsys, monkeypatch):
    monkeypatch.setattr("onnxbuild.serve.server_process.run_server", lambda *_: 0)
    arguments = ["serve", str(out / "ranker" / "fp32"), "--host", "0.0.0.0"]
    assert run_command(arguments) == 0
    assert "OB747 warning" in capsys.readouterr().err
    monkeypatch.setenv("ONNXBUILD_API_KEYS", "key")
    assert run_command(arguments) == 0
    assert "OB747" not in capsys.readouterr().err


@pytest.mark.parametrize("text", [None, "", "# only a comment\n", b"\xff\xfe"])
def test_a_file_without_keys_is_refused(out, tmp_path, capsys, text):
    keys = tmp_path / "keys"
    if text is not None:
        keys.write_bytes(text if isinstance(text, bytes) else text.encode())
    said = refused(capsys, out / "ranker" / "fp32", "--api-keys", keys)
    assert "OB748" in said
    assert "Errno" not in said
