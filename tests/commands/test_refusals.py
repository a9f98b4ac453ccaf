"""What `run` refuses before it starts anything, `plan` and `lint` refuse too, in the same words."""

import json
import os

import pytest

from onnxbuild.cli import run_command

COMMANDS = (["run"], ["run", "-n"], ["plan"], ["lint"])


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A folder with one ONNX model, a key that its owner alone may read, and no permissions from outside."""
    root = tmp_path / "checkout"
    (root / "model").mkdir(parents=True)
    (root / "model" / "model.onnx").write_text("x")
    monkeypatch.chdir(root)
    monkeypatch.delenv("ONNXBUILD_ALLOW_PATH", raising=False)
    return root


def write(toolchain=None, **more):
    model = {
        "source": "onnx:model",
        "load": False,
        "targets": ["fp32"],
        **({"toolchain": toolchain} if toolchain else {}),
    }
    manifest = {"onnxbuild": 1, "targets": {"fp32": {}}, "models": {"m": model}, **more}
    with open("m.yaml", "w", encoding="utf-8") as file:
        json.dump(manifest, file)


def first_line(command, capsys):
    """The exit code, and the first line of what a command printed."""
    code = run_command([*command, "m.yaml"])
    printed = capsys.readouterr()
    return code, (printed.out if command[0] == "lint" else printed.err).splitlines()[0]


def refused_by_all(capsys, *options):
    """The line with which every command refuses the manifest; nothing is written."""
    before = sorted(os.walk("."))
    ended = {" ".join(command): first_line([*command, *options], capsys) for command in COMMANDS}
    assert sorted(os.walk(".")) == before
    ((code, line),) = set(ended.values())
    assert code == 2
    return line


REMOTE = "s3://bucket/onnxbuild"


def test_a_key_outside_the_folder(world, tmp_path, capsys):
    (tmp_path / "key").write_text("secret:x")
    write(store={"remote": REMOTE, "sign": "../key"})
    line = refused_by_all(capsys)
    key = tmp_path / "key"
    assert line == f"OB060 `store.sign`: `{key}` is outside the folder of the manifest"


def test_a_key_that_is_missing(world, capsys):
    write(store={"remote": REMOTE, "sign": "key"})
    assert refused_by_all(capsys) == f"OB077 `store.sign` names the file `{world}/key`: No such file or directory"


def test_a_key_of_the_user_that_is_none(world, monkeypatch, capsys):
    monkeypatch.setenv("ONNXBUILD_SIGN_KEY", "secret:x")
    write(store={"remote": REMOTE})
    assert refused_by_all(capsys).startswith("OB077 ONNXBUILD_SIGN_KEY has no key: ")


def test_no_key_is_asked_for_offline(world, capsys):
    write(store={"remote": REMOTE, "sign": "key"})
    for command in COMMANDS:
        assert run_command([*command, "m.yaml", "--offline"]) == 0, command


@pytest.mark.parametrize("path", ["out", "out/m", "out/m/store"])
def test_a_store_in_the_place_of_the_outputs(world, capsys, path):
    write(store={"path": path})
    line = refused_by_all(capsys)
    assert line == f"OB064 the output folder `{world}/out` and `{world}/{path}` would contain each other's files"


def test_a_store_that_the_command_line_puts_among_the_outputs(world, capsys):
    write()
    line = refused_by_all(capsys, "--store", "out/m")
    assert line == f"OB064 the output folder `{world}/out` and `{world}/out/m` would contain each other's files"


def test_a_store_beside_the_models_of_the_outputs(world, capsys):
    write(store={"path": "out/.store"})
    for command in COMMANDS:
        assert run_command([*command, "m.yaml"]) == 0, command


@pytest.mark.parametrize("command", [["run"], ["run", "-n"]], ids=" ".join)
@pytest.mark.parametrize("out", [".onnxbuild", ".onnxbuild/store", ".onnxbuild/store/out"])
def test_an_output_folder_in_the_state_folder(world, capsys, command, out):
    write()
    assert first_line([*command, "--out", out], capsys)[1].startswith(f"OB064 the output folder `{world / out}`")
    assert not (world / ".onnxbuild" / "store" / "out").exists()


def test_an_output_folder_that_is_a_link(world, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (world / "out").symlink_to(tmp_path / "elsewhere")
    write()
    assert refused_by_all(capsys) == f"OB090 the output folder `{world}/out` is a symbolic link"


def test_a_state_folder_that_is_a_link(world, tmp_path, capsys):
    (tmp_path / "elsewhere").mkdir()
    (world / ".onnxbuild").symlink_to(tmp_path / "elsewhere")
    write()
    assert refused_by_all(capsys) == "OB062 `.onnxbuild` is a symbolic link"


def test_a_store_that_has_files_of_others(world, capsys):
    write(store={"path": "model"})
    line = refused_by_all(capsys)
    assert line == (
        f"OB070 the folder {world}/model is not a store of onnxbuild: it is not empty and has no store's marker"
    )


def test_an_interpreter_that_is_missing(world, capsys):
    write(toolchain="t", toolchains={"t": {"python": "venv/bin/python"}})
    assert refused_by_all(capsys).startswith("OB048 ")


def test_an_interpreter_that_cannot_be_understood(world, capsys):
    (world / "python.sh").write_text("#!/bin/sh\n")
    (world / "python.sh").chmod(0o755)
    write(toolchain="t", toolchains={"t": {"python": "./python.sh"}})
    assert refused_by_all(capsys).startswith("OB080 the interpreter of toolchain `t` cannot be understood: ")


BELOW_A_FILE = "Not a directory"


@pytest.mark.parametrize(("path", "why"), [
    ("m.yaml/x", BELOW_A_FILE), ("m.yaml/x/y", BELOW_A_FILE), ("m.yaml", BELOW_A_FILE),
    ("x" * 300, "File name too long"), ("nowhere", "No such file or directory"),
], ids=["below a file", "further below", "a file", "a long name", "a link to nothing"])  # fmt: skip
@pytest.mark.parametrize("by", ["the manifest", "the command line"])
def test_a_store_that_can_never_be_created(world, capsys, path, why, by):
    (world / "nowhere").symlink_to("gone")
    write(**({"store": {"path": path}} if by == "the manifest" else {}))
    options = [] if by == "the manifest" else ["--store", path]
    if path == "nowhere" and by == "the manifest":
        assert refused_by_all(capsys).startswith("OB062 ")
        return
    assert refused_by_all(capsys, *options) == f"OB040 the store {world}/{path} cannot be used: {why}"


@pytest.mark.parametrize("path", [".git/store", "sub/.GIT/x", ".hg/s", "link/store"])
def test_a_store_in_a_folder_of_version_control(world, capsys, path):
    (world / ".svn").mkdir()
    (world / "link").symlink_to(".svn")
    write(store={"path": path})
    assert refused_by_all(capsys) == f"OB060 the store `{path}` is inside a folder of version control"


def test_a_manifest_below_a_folder_of_version_control_has_a_store(world, monkeypatch, capsys):
    (world / ".git" / "model").mkdir(parents=True)
    (world / ".git" / "model" / "model.onnx").write_text("x")
    monkeypatch.chdir(world / ".git")
    write(store={"path": "store"})
    for command in COMMANDS:
        assert run_command([*command, "m.yaml"]) == 0, command


@pytest.mark.parametrize("place", ["out", "out/m", "out/m/fp32"])
def test_a_file_in_the_place_of_an_output_folder(world, capsys, place):
    """A run noticed it after everything was built."""
    write()
    (world / place).parent.mkdir(parents=True, exist_ok=True)
    (world / place).write_text("mine")
    assert refused_by_all(capsys) == f"OB647 the output folder `{world}/{place}` cannot be used: Not a directory"
    assert (world / place).read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no FIFO in a folder")
@pytest.mark.parametrize("place", ["out", "out/m", "out/m/fp32"])
def test_a_fifo_in_the_place_of_an_output_folder(world, capsys, place):
    write()
    (world / place).parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(world / place)
    assert refused_by_all(capsys) == f"OB647 the output folder `{world}/{place}` cannot be used: Not a directory"


@pytest.mark.parametrize("place", ["out/m", "out/m/fp32"])
def test_a_link_in_the_place_of_an_output_folder(world, capsys, place):
    write()
    (world / place).parent.mkdir(parents=True, exist_ok=True)
    (world / place).symlink_to(world / "model")
    assert refused_by_all(capsys) == f"OB090 the output folder `{world}/{place}` is a symbolic link"


@pytest.mark.parametrize("command", [["run"], ["run", "-n"]], ids=" ".join)
@pytest.mark.parametrize(
    ("out", "why"), [("m.yaml/x", BELOW_A_FILE), ("m.yaml", BELOW_A_FILE), ("x" * 300, "File name too long")]
)
def test_an_output_folder_that_can_never_be_created(world, capsys, command, out, why):
    write()
    words = f"OB647 the output folder `{world}/{out}` cannot be used: {why}"
    assert first_line([*command, "--out", out], capsys) == (2, words)


@pytest.mark.parametrize("place", ["out/other", "out/m/other"])
def test_what_a_run_does_not_replace_may_be_anything(world, capsys, place):
    write()
    (world / place).parent.mkdir(parents=True, exist_ok=True)
    (world / place).symlink_to("nowhere")
    for command in COMMANDS:
        assert run_command([*command, "m.yaml"]) == 0, command


def test_only_the_selected_folders_count_in_a_run(world, capsys):
    (world / "other").mkdir()
    (world / "other" / "model.onnx").write_text("another one")  # variants of one source are delivered together
    write(models={"a": model(), "b": model("onnx:other")})
    (world / "out").mkdir()
    (world / "out" / "b").write_text("mine")
    assert run_command(["run", "m.yaml", "a/fp32"]) == 0
    assert run_command(["run", "m.yaml", "b/fp32"]) == 2
    assert run_command(["lint", "m.yaml"]) == 2
    capsys.readouterr()


# -- sources that a run of the manifest writes ------------------------------------------------------------------------


def own(folder, variant):
    return f"OB646 the manifest reads `{folder}`, which it writes itself: the output of `{variant}`"


def model(source="onnx:model", **more):
    return {"source": source, "load": False, "targets": ["fp32"], **more}


def graph_at(place):
    place.mkdir(parents=True)
    (place / "model.onnx").write_text("of somebody")


def test_a_source_that_another_model_writes(world, capsys):
    graph_at(world / "out" / "base" / "fp32")
    write(models={"base": model(), "second": model("onnx:out/base/fp32")})
    assert refused_by_all(capsys) == own(world / "out" / "base" / "fp32", "base/fp32")


@pytest.mark.parametrize(
    "source", ["onnx:out/m/fp32", "onnx:out/m/fp32/model.onnx", "onnx:link", "onnx:out/m/fp32/sub"]
)
def test_a_source_that_the_model_itself_writes(world, capsys, source):
    graph_at(world / "out" / "m" / "fp32")
    graph_at(world / "out" / "m" / "fp32" / "sub")
    (world / "link").symlink_to("out/m/fp32")
    write(models={"m": model(source)})
    named = source.removeprefix("onnx:").removesuffix("/model.onnx")
    assert refused_by_all(capsys) == own(world / named, "m/fp32")


def test_a_folder_of_the_source_that_a_target_would_fill(world, capsys):
    """A model folder has files in `onnx/`: the second run would find the outputs of the first there."""
    graph_at(world / "out" / "m")
    write(targets={"onnx": {}}, models={"m": model("onnx:out/m", targets=["onnx"])})
    assert refused_by_all(capsys) == own(world / "out" / "m" / "onnx", "m/onnx")


@pytest.mark.parametrize("source", ["onnx:out/m", "onnx:out/m/other", "onnx:out/other/fp32", "onnx:out"])
def test_other_folders_of_the_outputs_may_be_sources(world, capsys, source):
    """Nothing that this manifest does changes what is in them."""
    graph_at(world / source.removeprefix("onnx:"))
    write(models={"m": model(source)})
    for command in COMMANDS:
        assert run_command([*command, "m.yaml"]) == 0, command


def test_a_source_counts_with_the_output_folder_of_the_run(world, capsys):
    graph_at(world / "o" / "m" / "fp32")
    write(models={"m": model("onnx:o/m/fp32")})
    assert run_command(["lint", "m.yaml"]) == 0
    capsys.readouterr()
    for command in (["run"], ["run", "-n"]):
        words = (2, own(world / "o" / "m" / "fp32", "m/fp32"))
        assert first_line([*command, "--out", "o"], capsys) == words
    assert run_command(["run", "m.yaml"]) == 0


def test_the_output_of_another_manifest_is_a_source(world, capsys):
    write(models={"base": model()})
    assert run_command(["run", "m.yaml"]) == 0
    write(models={"second": model("onnx:out/base/fp32")})
    for command in COMMANDS:
        assert run_command([*command, "m.yaml"]) == 0, command


def test_an_included_file_that_a_target_would_replace(world, capsys):
    (world / "out" / "m" / "fp32").mkdir(parents=True)
    (world / "out" / "m" / "fp32" / "more.yaml").write_text("vars: {a: 1}")
    write(include=["out/m/fp32/more.yaml"])
    assert refused_by_all(capsys) == own(world / "out" / "m" / "fp32", "m/fp32")


def test_a_dataset_that_a_target_would_replace(world, capsys):
    (world / "out" / "m" / "fp32").mkdir(parents=True)
    (world / "out" / "m" / "fp32" / "rows.jsonl").write_text('{"text": "a"}\n')
    source = {"random": "bert", "tokenizer": {"text": "file:m.yaml"}}
    write(
        targets={"fp32": {"steps": [{"quantize": {"method": "static", "dataset": "rows"}}]}},
        datasets={"rows": {"source": "file:out/m/fp32/rows.jsonl"}},
        models={"m": model(source=source, task="text-classification", validate=False, benchmark=False)},
    )
    assert refused_by_all(capsys) == own(world / "out" / "m" / "fp32", "m/fp32")


def test_an_exporter_and_a_tokenizer_s_text_that_a_target_would_replace(world, capsys):
    for name, text in (("code.py", "def export(*_): ...\n"), ("text", "words")):
        (world / "out" / "m" / "fp32").mkdir(parents=True, exist_ok=True)
        (world / "out" / "m" / "fp32" / name).write_text(text)
    source = {"random": "bert", "tokenizer": {"text": "file:out/m/fp32/text"}}
    exports = {
        "one": {"source": "random:bert", "export": {"exporter": "out/m/fp32/code.py:export"}},
        "two": {"source": source},
    }
    for block in exports.values():
        models = {
            "m": {**block, "task": "text-classification", "validate": False, "benchmark": False, "targets": ["fp32"]}
        }
        write(models=models)
        assert refused_by_all(capsys) == own(world / "out" / "m" / "fp32", "m/fp32")


def test_lint_names_everything_at_once(world, capsys):
    (world / "elsewhere").mkdir()
    (world / "out").symlink_to(world / "elsewhere")
    tools = {name: {"python": f"{name}/bin/python"} for name in ("one", "two")}
    models = {name: {"source": "onnx:model", "toolchain": name, "targets": ["fp32"]} for name in tools}
    write(store={"path": "model", "remote": REMOTE, "sign": "key"}, toolchains=tools, models=models)
    assert run_command(["lint", "m.yaml"]) == 2
    codes = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("OB")]
    assert sorted(codes) == ["OB048", "OB048", "OB070", "OB077", "OB090"]
