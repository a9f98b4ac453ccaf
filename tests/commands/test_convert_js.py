"""convert-js: the manifest that it writes, which lint accepts, and what it refuses."""

from __future__ import annotations

import shlex

import pytest

from onnxbuild.cli import run_command
from onnxbuild.commands.converting import convert_js
from onnxbuild.commands.converting.convert_js import TARGETS, Conversion, manifest_text
from onnxbuild.commands.lint import lint
from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.permissions import Permissions
from onnxbuild.report.render_diagnostics import render
from onnxbuild.steps import KINDS

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=("avx2",), cores=2)


def conversion(**fields):
    values = {"model": "m", "dtypes": ("fp32", "q8"), "clients": ("node",), "output": None, "task": None}
    return Conversion(**{**values, **fields})


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "My Model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert", "architectures": ["BertForSequenceClassification"]}')
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer.json").write_text("{}")
    return folder


def test_manifest_of_every_dtype_has_no_fault(tmp_path):
    text = manifest_text(conversion(dtypes=tuple(TARGETS), task="text-classification"), "random:bert", "small")
    path = tmp_path / "small.yaml"
    path.write_text(text)
    assert render(lint(str(path), MACHINE, kinds=KINDS), "text") == ""
    assert "dtypes: {fp32: fp32, fp16: fp16, q8: q8, int8: q8, uint8: q8, q4: q4, q4f16: q4f16, bnb4: bnb4}" in text


def test_first_dtype_is_the_default_where_pages_would_miss_one():
    text = manifest_text(conversion(dtypes=("q4", "fp16"), clients=()), "random:bert", "small")
    assert "        default_dtype: q4\n        client: false\n" in text
    assert "default_dtype" not in manifest_text(conversion(), "random:bert", "small")


def test_dry_run_shows_the_manifest_and_writes_nothing(checkpoint, capsys):
    assert run_command(["convert-js", "My Model", "--dtypes", "fp32,q8", "--dry-run"]) == 0
    shown = capsys.readouterr().err
    assert f"    source: 'local:{checkpoint}'\n" in shown
    assert "\n  my-model:\n" in shown
    assert [path.name for path in checkpoint.parent.iterdir()] == ["My Model"]


def test_repository_of_the_hub_is_a_source(capsys):
    assert run_command(["convert-js", "some-one/Small.Model@main", "--dry-run"]) == 0
    shown = capsys.readouterr().err
    assert "source: 'hub:some-one/Small.Model@main'" in shown
    assert "\n  small-model:\n" in shown
    assert "not linted: what the repository has is known once a run has asked the Hub" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing.bin"], "OB776 `nothing.bin` is neither a folder nor a repository of the Hub"),
        (["empty"], "OB776 the folder `empty` is not a checkpoint: it has no config.json"),
        (["MyModel"], "did you mean `My Model`?"),
        (
            ["My Model/config.json"],
            "OB776 `My Model/config.json` is a file, and a model is a folder\n  = hint: name its folder: `My Model`",
        ),
        (
            ["weights.bin"],
            "is a file, and a model is a folder\n  = hint: name the folder that `save_pretrained` wrote",
        ),
        (
            ["my models.yaml"],
            (
                "OB776 `my models.yaml` is a manifest, and this command takes a model\n"
                "  = hint: build it with `onnxbuild run 'my models.yaml'`"
            ),
        ),
        (["tuned/absent.yml"], "OB776 `tuned/absent.yml` is a manifest"),
        (
            ["tuned/sentimnt"],
            "  = hint: did you mean `tuned/sentiment`? for the repository of the Hub, write `hub:tuned/sentimnt`",
        ),
        (["tuned/x"], "  = hint: for the repository of the Hub, write `hub:tuned/x`"),
        (["two\nlines"], "OB776 the path of the folder has a character that cannot be printed: "),
    ],
)
def test_what_is_no_model_is_refused(arguments, message, checkpoint, capsys):
    (checkpoint.parent / "empty").mkdir()
    (checkpoint.parent / "tuned/sentiment").mkdir(parents=True)
    (checkpoint.parent / "two\nlines").mkdir()
    (checkpoint.parent / "weights.bin").write_bytes(b"weights")
    (checkpoint.parent / "my models.yaml").write_text("onnxbuild: 1")
    assert run_command(["convert-js", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(checkpoint.parent.glob("*-js")), "nothing was written"


def test_hub_is_asked_in_spite_of_a_similar_folder(checkpoint, capsys):
    (checkpoint.parent / "tuned/sentiment").mkdir(parents=True)
    assert run_command(["convert-js", "hub:tuned/sentimnt", "--dry-run"]) == 0
    assert "source: 'hub:tuned/sentimnt'" in capsys.readouterr().err


def test_manifest_names_the_command_that_runs_it_again(checkpoint, monkeypatch, capsys):
    run_command(["convert-js", "My Model", "--dry-run"])
    shown = capsys.readouterr().err
    command = shlex.split(shown.splitlines()[1].removeprefix("# "))
    written = checkpoint.parent / "my-model-js/my-model.yaml"
    written.parent.mkdir()
    written.write_text(shown)
    monkeypatch.chdir(written.parent)
    assert command[:5] == ["onnxbuild", "run", "my-model.yaml", "--out", "."]
    assert run_command(["plan", *command[2:3], *command[5:]]) == 0
    assert "my-model:export" in capsys.readouterr().out


def test_changed_manifest_is_kept(checkpoint, capsys):
    written = checkpoint.parent / "place/my-model.yaml"
    written.parent.mkdir()
    written.write_text("onnxbuild: 1\n")
    assert run_command(["convert-js", "My Model", "--output", "place"]) == 2
    shown = capsys.readouterr().err
    assert "is not what this command would write" in shown
    again = f"onnxbuild run {written} --out {written.parent} --allow-path '{checkpoint}'"
    assert f"  = hint: run it: `{again}`; or delete it, or name another `--output`" in shown
    assert run_command(["convert-js", "My Model", "--output", "place", "--dry-run"]) == 2
    assert "OB776 `" in capsys.readouterr().err
    assert written.read_text() == "onnxbuild: 1\n"


def test_manifest_with_a_fault_does_not_stay_in_the_way(checkpoint, capsys):
    wrong = ["convert-js", "My Model", "--task", "text-clasification", "--output"]
    assert run_command([*wrong, "place"]) == 2
    assert "OB302 " in capsys.readouterr().err
    assert [path.name for path in checkpoint.parent.iterdir()] == ["My Model"]
    other = checkpoint.parent / "shared" / "notes.txt"
    other.parent.mkdir()
    other.write_text("of a person")
    assert run_command([*wrong, "shared"]) == 2
    assert [path.name for path in other.parent.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("arguments", [["--dtypes", "fp32,q5"], ["--clients", "deno"], ["--dtypes", ""]])
def test_unknown_words_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_command(["convert-js", "m", *arguments])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert ("expected `none`, or some of node, wasm" if "--clients" in arguments else "expected some of") in message


def test_dry_run_lints_what_it_shows(checkpoint, capsys):
    assert run_command(["convert-js", "My Model", "--dry-run", "--halves", "beside", "--word-timestamps"]) == 2
    shown = capsys.readouterr().err
    assert "        halves: beside\n        word_timestamps: true\n" in shown
    assert "OB778 Transformers.js loads no halves of the model type `bert`" in shown
    assert "--> my-model-js/my-model.yaml:" in shown
    assert [path.name for path in checkpoint.parent.iterdir()] == ["My Model"]


def test_inside_the_model_the_folder_is_beside_it(checkpoint, monkeypatch, capsys):
    monkeypatch.chdir(checkpoint)
    assert run_command(["convert-js", ".", "--dry-run"]) == 0
    built = []
    monkeypatch.setattr(convert_js, "answer_or_build", lambda options: built.append(options.out) or 0)
    before = sorted(path.name for path in checkpoint.iterdir())
    assert run_command(["convert-js", "."]) == 0
    assert built == [str(checkpoint.parent / "my-model-js")]
    assert (checkpoint.parent / "my-model-js" / "my-model.yaml").is_file()
    assert sorted(path.name for path in checkpoint.iterdir()) == before
    assert f"outputs go beside the model, to `{checkpoint.parent / 'my-model-js'}`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "output"),
    [("emb", "."), ("emb", "emb/js"), ("emb/inner", "emb"), ("emb/link", "emb/inner/js")],
)
def test_an_output_folder_that_writes_into_the_model_is_refused(model, output, checkpoint, capsys):
    inner = checkpoint.parent / "emb" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        (folder / "config.json").write_text((checkpoint / "config.json").read_text())
    (inner.parent / "link").symlink_to(inner)
    assert run_command(["convert-js", model, "--output", output, "--dry-run"]) == 2
    shown = capsys.readouterr().err
    assert f"OB776 the output folder `{checkpoint.parent / output}` would put outputs into the model's folder" in shown
    assert "= hint: name another folder, such as `--output " in shown


def test_a_folder_whose_name_looks_like_a_reference_is_a_source(checkpoint, capsys):
    folder = checkpoint.rename(checkpoint.parent / "a${env.HOME}$${b")
    assert run_command(["convert-js", folder.name, "--dry-run"]) == 0
    shown = capsys.readouterr().err
    assert "a$${env.HOME}$$${b'" in shown
    path = checkpoint.parent / "m.yaml"
    path.write_text(shown)
    manifest = load_manifest(path, kinds=KINDS, permissions=Permissions(paths=(str(folder),)))
    assert manifest.models[0].source == f"local:{folder}"
