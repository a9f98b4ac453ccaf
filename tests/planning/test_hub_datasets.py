"""Datasets on a Hub: how they are locked, which of their files are meant, and how a plan has them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hub_server import HubServer

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.action_graph import OutputRef
from onnxbuild.planning.expand import expand
from onnxbuild.planning.hub import Hub
from onnxbuild.planning.lock_file import hub_key, lock_for, read_lock
from onnxbuild.planning.locked import Lock, LockedSource
from onnxbuild.steps import KINDS

CPU = Machine(cpu="a", architecture="x86_64", flags=("avx2",), cores=2)
FILES = ("data/test-0.parquet", "data/train-0.parquet", "data/train-1.parquet")
KEY = "hub:datasets/org/rows@main"
MANIFEST = """\
onnxbuild: 1
datasets: {{rows: {dataset}}}
targets: {{int8: {{quantize: {{method: static, dataset: rows}}}}}}
models:
  a: {{source: random:bert, task: fill-mask, validate: {{dataset: rows}}, targets: [int8]}}
  b: {{source: random:gpt2, task: text-generation-with-past, targets: [int8]}}
"""


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def make(dataset="{source: hub:org/rows}"):
        Path("m.yaml").write_text(MANIFEST.format(dataset=dataset))
        return load_manifest("m.yaml", kinds=KINDS)

    return make


def graph_of(manifest, *files):
    lock = Lock(sources={KEY: LockedSource("c0ffee", files)})
    return expand(manifest, KINDS, lock, machine=CPU)


def fault_of(manifest, *files):
    with pytest.raises(DiagnosticError) as raised:
        graph_of(manifest, *files)
    (found,) = raised.value.diagnostics
    return found.code, found.message, dict(found.notes)["hint"]


def test_what_uses_a_dataset_needs_the_one_fetch_of_it(manifest):
    actions = graph_of(manifest(), "rows.csv").actions
    fetch = actions["datasets/rows:fetch"]
    assert fetch.kind == "fetch"
    assert {name: fetch.params[name] for name in ("origin", "repo", "revision", "files")} == {
        "origin": "hub", "repo": "datasets/org/rows", "revision": "c0ffee", "files": ["rows.csv"]
    }  # fmt: skip
    users = {name for name, action in actions.items() if OutputRef(fetch.id, "model") in action.inputs.values()}
    assert users == {"a/int8:quantize", "a/int8:validate", "a/int8:validate-fp32", "b/int8:quantize"}


def test_a_pattern_chooses_files(manifest):
    chosen = graph_of(manifest("{source: hub:org/rows, files: data/train-*.parquet}"), *FILES)
    assert chosen.actions["datasets/rows:fetch"].params["files"] == list(FILES[1:])


def test_several_files_of_which_none_was_chosen(manifest):
    assert fault_of(manifest(), *FILES) == (
        "OB012",
        "`hub:org/rows` has 3 files of rows, and no `files` says which",
        f"choose with a pattern, such as `files: data/train-1.parquet`; it has {', '.join(FILES)}",
    )


def test_a_pattern_that_matches_nothing(manifest):
    dataset = "{source: hub:org/rows, files: validation.*}"
    assert fault_of(manifest(dataset), *FILES) == (
        "OB027", "`files: validation.*` matches no file of `hub:org/rows`", f"it has {', '.join(FILES)}"
    )  # fmt: skip


def test_a_repository_without_rows(manifest):
    code, message, _ = fault_of(manifest())
    assert (code, message) == ("OB027", "`hub:org/rows` contains no rows that can be read")


def test_files_of_something_else_than_a_hub(manifest):
    code, message, _ = fault_of(manifest("{source: [{text: a}], files: a.csv}"))
    assert (code, message) == ("OB032", "`files` of the dataset `rows`, whose source is not `hub:`")


def test_a_name_that_is_none(manifest):
    code, message, _ = fault_of(manifest("{source: 'hub:a/b/c'}"))
    assert (code, message) == ("OB026", "`hub:a/b/c` is not a source")


def test_the_lock_pins_a_dataset_beside_a_model_of_the_same_name(manifest):
    with HubServer() as server:
        server.add("org/rows", {"config.json": b"{}"})
        commit = server.add("datasets/org/rows", {"README.md": b"rows", "rows.csv": b"text\na\n", "a.png": b"x"})
        lock = lock_for(manifest(), resolve=Hub(server.endpoint).resolve)
    assert lock.sources == {KEY: LockedSource(commit, ("rows.csv",))}
    assert read_lock(Path("onnxbuild.lock")) == lock
    assert hub_key("datasets/org/rows") == KEY
    assert lock_for(manifest(), offline=True) == lock


def test_offline_says_what_is_not_locked_as_it_is_written(manifest):
    with pytest.raises(DiagnosticError) as raised:
        lock_for(manifest(), offline=True)
    assert [one.message for one in raised.value.diagnostics] == [
        "`hub:org/rows` is not in `onnxbuild.lock`, and --offline allows no network"
    ]


def test_a_repository_that_is_not_there(manifest):
    with HubServer() as server, pytest.raises(DiagnosticError) as raised:
        lock_for(manifest(), resolve=Hub(server.endpoint).resolve)
    (found,) = raised.value.diagnostics
    assert found.message == "`hub:org/rows@main` cannot be resolved: the repository does not exist"
    assert found.span.line == 2
