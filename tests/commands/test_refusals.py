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
    assert line == (
        f"OB077 `store.sign` has no key: `{key}` is outside the folder of the manifest; `--allow-path {key}` permits it"
    )


def test_a_key_that_is_missing(world, capsys):
    write(store={"remote": REMOTE, "sign": "key"})
    assert refused_by_all(capsys) == "OB077 `store.sign` has no key: No such file or directory"


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


def test_an_output_folder_that_is_a_file(world, capsys):
    (world / "out").write_text("a file")
    write()
    assert refused_by_all(capsys) == f"OB643 the output folder `{world}/out`: `{world}/out` is a file"


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


def test_lint_names_everything_at_once(world, capsys):
    (world / "elsewhere").mkdir()
    (world / "out").symlink_to(world / "elsewhere")
    tools = {name: {"python": f"{name}/bin/python"} for name in ("one", "two")}
    models = {name: {"source": "onnx:model", "toolchain": name, "targets": ["fp32"]} for name in tools}
    write(store={"path": "model", "remote": REMOTE, "sign": "key"}, toolchains=tools, models=models)
    assert run_command(["lint", "m.yaml"]) == 2
    codes = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("OB")]
    assert sorted(codes) == ["OB048", "OB048", "OB070", "OB077", "OB090"]
