"""Recordings and pictures that rows name are inputs of the check: in its key, within the folder, and there."""

from __future__ import annotations

import json
import os

import pytest

from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.action_graph import FilesSource
from onnxbuild.planning.datasets.files_of_rows import named_files
from onnxbuild.planning.expand import expand
from onnxbuild.planning.lock_file import read_lock
from onnxbuild.steps import KINDS

MANIFEST = """
onnxbuild: 1
datasets:
  spoken: {source: "file:data/rows.NAME", columns: {audio: clip}}
targets: {fp32: {}}
models:
  speech:
    source: random:wav2vec2
    task: TASK
    targets: [fp32]
    validate: {dataset: spoken}
"""
MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=(), cores=2)


@pytest.fixture
def world(tmp_path):
    (tmp_path / "data" / "clips").mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "data" / "clips" / f"{name}.wav").write_bytes(name.encode())
    (tmp_path / "outside.wav").write_bytes(b"secret")

    def plan(names, kind="jsonl", task="automatic-speech-recognition"):
        rows = {
            "jsonl": "\n".join(json.dumps({"clip": name, "text": "a"}) for name in names),
            "csv": "\n".join(["clip,text", *(f"{name},a" for name in names)]),
        }[kind]
        (tmp_path / "data" / f"rows.{kind}").write_text(rows, encoding="utf-8")
        manifest = tmp_path / "m.yaml"
        manifest.write_text(MANIFEST.replace("NAME", kind).replace("TASK", task), encoding="utf-8")
        return expand(load_manifest(str(manifest), kinds=KINDS), KINDS, read_lock(tmp_path / "none"), MACHINE)

    return plan


def dataset_of(graph):
    return graph.actions["speech/fp32:validate"].inputs["dataset"]


def messages(caught):
    return [one.message for one in caught.value.diagnostics]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_files_that_rows_name_are_part_of_the_input(world, tmp_path, kind):
    source = dataset_of(world(["clips/b.wav", "clips/a.wav", "./clips/../clips/b.wav"], kind))
    assert source == FilesSource(str(tmp_path / "data"), (f"rows.{kind}", "clips/a.wav", "clips/b.wav"))


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("clips/c.wav", "does not exist"),
        ("../outside.wav", "leads out of the folder of the rows"),
        ("clips/../../outside.wav", "leads out of the folder of the rows"),
        ("clips", "does not exist"),
        ("clips/link.wav", "is a link that leads out of the folder of the rows"),
        ("clips/link-to-nothing.wav", "is a link that leads out of the folder of the rows"),
    ],
)
def test_a_name_that_is_no_input_is_refused(world, tmp_path, name, problem):
    if "link" in name:
        try:
            os.symlink(tmp_path / ("none.wav" if "nothing" in name else "outside.wav"), tmp_path / "data" / name)
        except OSError:
            pytest.skip("links need a right on Windows")
    with pytest.raises(Exception, match="OB690") as caught:
        world(["clips/a.wav", name])
    assert f"row 2 of `rows.jsonl` names `{name}`, which {problem}" in str(caught.value)


def test_an_absolute_name_is_refused(world, tmp_path):
    with pytest.raises(Exception, match="leads out of the folder of the rows"):
        world([str(tmp_path / "data" / "clips" / "a.wav")])


def test_rows_that_cannot_be_read_are_left_to_the_step(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"clip": "a"}\nno json\n', encoding="utf-8")
    with pytest.raises(ValueError, match="Expecting value"):
        list(named_files(str(path), "clip"))
    path.write_text('{"clip": 3}\n["a"]\n{"other": "b"}\n\n', encoding="utf-8")
    assert list(named_files(str(path), "clip")) == []
