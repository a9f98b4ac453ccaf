"""A folder that was moved away, with a link to it in its place: no stamp of a file changes, and no receipt answers."""

import json
import os
import sys
import time

import pytest

from onnxbuild.cli import run_command
from onnxbuild.commands import workspace
from onnxbuild.commands.parsing.options import Asked, RunOptions
from onnxbuild.commands.run import question_of
from onnxbuild.receipts.receipt import standing

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")

UP_TO_DATE = "up to date: 2 actions, nothing to do"
MODELS = {"a": "sub/a", "b": "sub/b"}


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Two models below one folder, and in a folder of its own each of: what is included, a plugin, an interpreter."""
    root = tmp_path / "checkout"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.delenv("ONNXBUILD_ALLOW_PATH", raising=False)
    for name in MODELS.values():
        (root / name / "files").mkdir(parents=True)
        (root / name / "files" / "graph").write_text(name)
        (root / name / "model.onnx").symlink_to("files/graph")
    for name, text in (("inc/targets.yaml", 'targets: {"fp32": {}}'), ("plug/plugin.py", ""), ("tool/python", "")):
        (root / name).parent.mkdir()
        (root / name).write_text(text)
    write(root)
    monkeypatch.setattr(workspace, "plugin_files", lambda _kinds: (str(root / "plug" / "plugin.py"),))
    watched = (str(root / "tool" / "python"),)
    toolchain = type("Toolchain", (), {"watched": lambda _self: watched, "close": lambda _self: None})()
    monkeypatch.setattr(workspace, "environments_of", lambda *_given: {"t": toolchain})
    time.sleep(0.05)
    return root


def write(root, **more):
    models = {name: {"source": f"onnx:{source}", "load": False, "targets": ["fp32"]} for name, source in MODELS.items()}
    manifest = {"onnxbuild": 1, "include": ["inc/targets.yaml"], "models": models, **more}
    (root / "m.yaml").write_text(json.dumps(manifest))


def answers(world, **options):
    found = standing(str(world / ".onnxbuild"), question_of(RunOptions(asked=Asked("m.yaml"), **options)))
    return found is not None and not found.moved


def run(capsys, *command):
    """The exit code of a command, and the line that says how it ended."""
    code = run_command([*(command or ["run", "-q"]), "m.yaml"])
    printed = capsys.readouterr()
    return code, (printed.err or printed.out).splitlines()[0].partition(" in ")[0]


def linked(place, to):
    """Move a folder away, and put a link to it in its place."""
    place.rename(to)
    place.symlink_to(os.path.relpath(to, place.parent))


OUTSIDE = "OB060 `{}` is outside the folder of the manifest: it leads to"
PLACES = {
    "out": (2, "OB090 the output folder"),
    "out/a": (2, "OB090 the output folder"),
    "out/a/fp32": (2, "OB090 the output folder"),
    "sub": (2, OUTSIDE.format("sub/a")),
    "sub/a": (2, OUTSIDE.format("sub/a")),
    "sub/a/files": (2, "OB060 `model.onnx` is a link that leads out of the model folder"),
    "inc": (2, OUTSIDE.format("inc/targets.yaml")),
    ".onnxbuild": (2, "OB062 `.onnxbuild` is a symbolic link"),
    ".onnxbuild/store": (2, "OB062 `.onnxbuild` contains the symbolic link `store`"),
    ".onnxbuild/store/blobs": (2, "OB062 `.onnxbuild` contains the symbolic link `store/blobs`"),
    ".onnxbuild/store/locks": (2, "OB062 `.onnxbuild` contains the symbolic link `store/locks`"),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_what_the_engine_refuses_no_receipt_calls_up_to_date(world, tmp_path, capsys, place):
    assert run(capsys)[0] == 0
    assert answers(world)
    (world / ".onnxbuild" / "store" / "locks").mkdir(exist_ok=True)
    linked(world / place, tmp_path / "elsewhere")
    code, words = PLACES[place]
    ended = run(capsys)
    assert ended[0] == code
    assert ended[1].startswith(words)
    assert run(capsys, "plan") == ended


@pytest.mark.parametrize("place", ["plug", "tool"])
def test_a_link_that_may_be_there_is_decided_anew(world, tmp_path, capsys, place):
    run(capsys)
    linked(world / place, tmp_path / "elsewhere")
    assert not answers(world)
    assert run(capsys) == (0, UP_TO_DATE)
    time.sleep(0.05)
    run(capsys)
    assert answers(world), "the new receipt knows the link"
    (world / place).unlink()
    (tmp_path / "elsewhere").rename(tmp_path / "further")
    (world / place).symlink_to(tmp_path / "further")
    assert not answers(world), "the link leads elsewhere"
    (world / place).unlink()
    (world / place).symlink_to(tmp_path / "elsewhere")
    linked(tmp_path / "further", tmp_path / "elsewhere")
    assert answers(world), "it leads where it led"
    linked(tmp_path / "elsewhere", tmp_path / "third")
    assert not answers(world), "so does the link behind it"


def test_a_folder_of_blobs_that_is_a_link_is_not_read(world, tmp_path, capsys):
    """`plan` says what the run then does: the results are not in the store."""
    run(capsys)
    for number, fan in enumerate(list((world / ".onnxbuild" / "store" / "blobs").iterdir())):
        linked(fan, tmp_path / f"fan{number}")
    assert not answers(world)
    assert run_command(["cache", "verify", "m.yaml"]) == 1
    capsys.readouterr()
    run_command(["plan", "m.yaml"])
    assert "missing from the store or damaged" in capsys.readouterr().out
    run_command(["run", "m.yaml"])
    assert "up to date" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["locks", "notes"])
def test_a_link_in_a_store_that_the_manifest_names(world, tmp_path, capsys, name):
    write(world, store={"path": "st"})
    time.sleep(0.05)
    assert run(capsys)[0] == 0
    assert answers(world)
    (world / "st" / name).mkdir(exist_ok=True)
    linked(world / "st" / name, tmp_path / "elsewhere")
    ended = run(capsys)
    assert ended == (2, f"OB062 `st` contains the symbolic link `{name}`")
    assert run(capsys, "plan") == ended


def test_a_link_in_a_store_that_the_user_names(world, tmp_path, capsys):
    store = ["--store", "../st"]
    assert run(capsys, "run", "-q", *store)[0] == 0
    (tmp_path / "st" / "locks").mkdir(exist_ok=True)
    linked(tmp_path / "st" / "locks", tmp_path / "elsewhere")
    ended = run(capsys, "run", "-q", *store)
    assert (ended[0], ended[1][:5]) == (2, "OB072")
    assert run(capsys, "plan", *store) == ended


def test_a_link_that_the_user_names_as_the_output_folder_is_followed(world, tmp_path, capsys):
    run(capsys, "run", "-q", "--out", "o")
    linked(world / "o", tmp_path / "elsewhere")
    assert not answers(world, out="o")
    assert run(capsys, "run", "-q", "--out", "o") == (0, UP_TO_DATE)


def test_removed_outputs_do_not_end_the_plan(world, capsys):
    """A folder that is missing is not a link: the remembered plan serves, and the folder is written again."""
    run(capsys)
    os.rename(world / "out" / "a", world / "gone")
    receipt = standing(str(world / ".onnxbuild"), question_of(RunOptions(asked=Asked("m.yaml"))))
    assert len(receipt.moved) == 1
    assert run(capsys) == (0, UP_TO_DATE)
    assert (world / "out" / "a" / "fp32" / "model.onnx").read_text() == "sub/a"
