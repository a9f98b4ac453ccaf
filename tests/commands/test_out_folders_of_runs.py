"""What `run` does with folders below out/: links are refused, and those of former targets are found and removed."""

import errno
import json
import os
import sys

import pytest

import onnxbuild
from onnxbuild.cli import run_command
from onnxbuild.deliver import out_folder
from onnxbuild.diagnostics import DiagnosticError


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "model.onnx").write_text("model")
    (tmp_path / "source" / "config.json").write_text("{}")
    return tmp_path


def manifest(*variants, name="m.yaml"):
    """A manifest with these variants, such as `a/t`."""
    models, targets = {}, {}
    for variant in variants:
        model, _, target = variant.partition("/")
        models.setdefault(model, {"source": "onnx:source", "load": False, "targets": []})["targets"].append(target)
        targets[target] = {}
    with open(name, "w", encoding="utf-8") as file:
        json.dump({"onnxbuild": 1, "targets": targets, "models": models}, file)


def run(capsys, *arguments, name="m.yaml"):
    """The exit code, and the lines on stderr that name a folder below out/."""
    code = run_command(["run", name, *arguments])
    return code, [line for line in capsys.readouterr().err.splitlines() if "out/" in line]


def folders(world):
    return sorted(str(path.relative_to(world / "out")) for path in (world / "out").glob("*/*"))


def test_a_folder_of_a_former_target_is_mentioned_and_pruned(world, capsys):
    manifest("a/old", "a/new", "gone/old")
    assert run(capsys) == (0, [])
    manifest("a/new")
    words = [f"m.yaml no longer names out/{name}/: `onnxbuild run m.yaml --prune` removes it"
             for name in ("a/old", "gone/old")]  # fmt: skip
    assert run(capsys) == (0, words)
    assert run(capsys, "--dry-run", "--prune") == (0, words)
    assert run_command(["plan", "m.yaml"]) == 0
    assert capsys.readouterr().err.splitlines() == words
    assert folders(world) == ["a/new", "a/old", "gone/old"]
    assert run(capsys, "--prune") == (0, ["removed out/a/old/", "removed out/gone/old/"])
    assert [sorted(os.listdir(world / "out")), folders(world)] == [["a"], ["a/new"]]
    assert run(capsys, "--prune") == (0, [])


def test_files_that_are_not_ours_survive_pruning(world, capsys):
    manifest("a/old", "a/new")
    run(capsys)
    (world / "out" / "a" / "old" / "model.onnx").write_text("my own weights")
    (world / "out" / "a" / "old" / "notes").write_text("mine")
    manifest("a/new")
    words = "removed the models from out/a/old/, which still has edited files (`model.onnx`) and files of others"
    assert run(capsys, "--prune") == (0, [words])
    assert {path.name: path.read_text() for path in (world / "out" / "a" / "old").iterdir()} == {
        "model.onnx": "my own weights", "notes": "mine",
    }  # fmt: skip
    assert run(capsys, "--prune") == (0, []), "it is no longer ours"


@pytest.mark.parametrize(
    ("name", "words"),
    [("model.onnx", "edited files (`model.onnx`)"), ("notes", "files of others"), ("empty/", "folders of others")],
)
def test_what_stays_of_a_pruned_folder_is_named_as_what_it_is(world, capsys, name, words):
    manifest("a/old", "a/new")
    run(capsys)
    place = world / "out" / "a" / "old" / name
    if name.endswith("/"):
        place.mkdir()
    else:
        place.write_text("mine")
    manifest("a/new")
    assert run(capsys, "--prune") == (0, [f"removed the models from out/a/old/, which still has {words}"])
    assert os.listdir(world / "out" / "a" / "old") == [name.rstrip("/")]


@pytest.mark.parametrize(
    ("edited", "removed", "words"),
    [
        (["model.onnx"], [], "had been edited (`model.onnx`)"),
        ([], ["model.onnx"], "lacked files (`model.onnx`)"),
        (["config.json"], ["model.onnx"], "had been edited (`config.json`) and lacked files (`model.onnx`)"),
    ],
)
def test_a_repair_says_what_was_done_to_the_files(world, capsys, edited, removed, words):
    (world / "source" / "config.json").write_text("{}")
    manifest("a/t")
    run(capsys)
    folder = world / "out" / "a" / "t"
    for name in edited:
        (folder / name).unlink()
        (folder / name).write_text("[]")
    for name in removed:
        (folder / name).unlink()
    assert run(capsys) == (0, [f"out/a/t/ {words}: restored from the store"])


def test_only_what_onnxbuild_wrote_is_pruned(world, capsys):
    manifest("a/old", "a/other", "a/new")
    run(capsys)
    description = world / "out" / "a" / "other" / "onnxbuild.json"
    description.write_text(description.read_text().replace('"bytes"', '"bytes" '))
    (world / "out" / "a" / "copy").mkdir()
    (world / "out" / "a" / "copy" / "onnxbuild.json").write_bytes(
        (world / "out" / "a" / "old" / "onnxbuild.json").read_bytes()
    )
    manifest("a/new")
    assert run(capsys, "--prune") == (0, ["removed out/a/old/"])
    assert folders(world) == ["a/copy", "a/new", "a/other"]


@pytest.mark.parametrize("folder", ["../../victim", "a/../../victim", "a", "/victim", "a/b/c", ".a/b"])
def test_a_record_leads_nowhere_else(world, capsys, folder):
    from onnxbuild.digest import digest_bytes

    manifest("a/old", "a/new")
    run(capsys)
    victim = world / "victim"
    victim.mkdir()
    description = (world / "out" / "a" / "old" / "onnxbuild.json").read_bytes()
    (victim / "onnxbuild.json").write_bytes(description)
    (record,) = (world / ".onnxbuild" / "delivered").iterdir()
    text = json.loads(record.read_text())
    record.write_text(json.dumps({**text, "folders": {folder: digest_bytes(description)}}))
    manifest("a/new")
    assert run(capsys, "--prune") == (0, [])
    assert victim.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")
def test_pruning_follows_no_link(world, capsys):
    manifest("a/old", "a/new")
    run(capsys)
    (world / "out" / "a" / "old").rename(world / "elsewhere")
    (world / "out" / "a" / "old").symlink_to(world / "elsewhere")
    manifest("a/new")
    assert run(capsys, "--prune") == (0, [])
    assert (world / "elsewhere" / "model.onnx").read_text() == "model"


def test_a_folder_that_another_manifest_delivers_is_not_pruned(world, capsys):
    manifest("a/t", name="other.yaml")
    run(capsys, name="other.yaml")
    manifest("a/t", "b/t")
    run(capsys)
    manifest("b/t")
    assert run(capsys, "--prune") == (0, [])
    assert folders(world) == ["a/t", "b/t"]
    os.remove("other.yaml")
    assert run(capsys, "--prune") == (0, ["removed out/a/t/"])


def test_nothing_is_pruned_after_a_failure(world, capsys, monkeypatch):
    manifest("a/old", "a/new")
    run(capsys)
    manifest("a/new")
    (world / "out" / "a" / "new" / "model.onnx").unlink()

    def refuse(folder, *_given):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

    monkeypatch.setattr(out_folder, "replace_folder", refuse)
    code, lines = run(capsys, "--prune")
    assert (code, folders(world)) == (1, ["a/new", "a/old"])
    assert "m.yaml no longer names out/a/old/: `onnxbuild run m.yaml --prune` removes it" in lines


def test_a_selection_of_targets_leaves_the_others(world, capsys):
    manifest("a/one", "a/two")
    run(capsys)
    assert run(capsys, "a/one", "--prune") == (0, [])
    assert folders(world) == ["a/one", "a/two"]


def test_each_output_folder_has_its_own_record(world, capsys):
    manifest("a/old", "a/new")
    run(capsys, "--out", "elsewhere/out")
    manifest("a/new")
    assert run(capsys, "--prune") == (0, [])
    assert run(capsys, "--prune", "--out", "elsewhere/out") == (0, ["removed elsewhere/out/a/old/"])


def test_a_folder_that_cannot_be_removed_fails_the_run(world, capsys, monkeypatch):
    from onnxbuild.deliver import delivered

    manifest("a/old", "a/new")
    run(capsys)
    manifest("a/new")

    def refuse(_path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(delivered, "remove_file", refuse)
    code, lines = run(capsys, "--prune")
    assert (code, lines) == (1, ["OB091 out/a/old/ could not be removed: Permission denied"])
    monkeypatch.undo()
    monkeypatch.chdir(world)
    assert run(capsys, "--prune") == (0, ["removed out/a/old/"])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"manifest": 1}', "[" * 10_000, '{"manifest": "", "out": "", "folders": {"a/b": 1}}']
)
def test_a_damaged_record_says_nothing(world, capsys, text):
    manifest("a/old", "a/new")
    run(capsys)
    (record,) = (world / ".onnxbuild" / "delivered").iterdir()
    record.write_text(text)
    manifest("a/new")
    assert run(capsys, "--prune") == (0, [])
    assert folders(world) == ["a/new", "a/old"]


# -- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")
def test_an_output_folder_that_is_a_link_is_refused_unless_it_is_named(world, capsys):
    manifest("a/t")
    (world / "elsewhere").mkdir()
    (world / "out").symlink_to("elsewhere")
    assert run_command(["run", "m.yaml"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"OB090 the output folder `{world}/out` is a symbolic link",
        f"  = hint: name the folder that it leads to with `--out DIR`, or remove the link `{world}/out`",
    ]
    with pytest.raises(DiagnosticError, match="OB090"):
        onnxbuild.run("m.yaml")
    assert os.listdir(world / "elsewhere") == []
    assert run(capsys, "--out", "out")[0] == 0
    assert os.listdir(world / "elsewhere") == ["a"]


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")
def test_a_plan_refuses_a_link_as_the_run_does(world, capsys):
    manifest("a/old", "a/new")
    run(capsys)
    (world / "out").rename(world / "elsewhere")
    (world / "out").symlink_to("elsewhere")
    manifest("a/new")
    capsys.readouterr()
    assert run_command(["plan", "m.yaml"]) == 2
    assert "a/old" not in capsys.readouterr().err
    assert run_command(["run", "-n", "m.yaml", "--out", "out"]) == 0
    assert "a/old" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")
@pytest.mark.parametrize("place", ["out/a", "out/a/t"])
def test_a_link_below_the_output_folder_is_refused_before_anything_is_built(world, capsys, place):
    manifest("a/t")
    (world / "elsewhere").mkdir()
    (world / place).parent.mkdir(parents=True)
    (world / place).symlink_to(world / "elsewhere")
    assert run_command(["run", "m.yaml"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"OB090 the output folder `{world}/{place}` is a symbolic link",
        "  = hint: remove the link: a run replaces the folder, and does not follow a link",
    ]
    assert not (world / ".onnxbuild").exists()
    assert os.listdir(world / "elsewhere") == []


def test_a_file_that_had_to_make_room_is_named(world, capsys):
    manifest("a/t")
    (world / "out" / "a" / "t").mkdir(parents=True)
    (world / "out" / "a" / "t" / "model.onnx").write_text("mine")
    words = "out/a/t/ had a file `model.onnx` that is not of onnxbuild: it is now `model.onnx.kept`"
    assert words in run(capsys)[1]
