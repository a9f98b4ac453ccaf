"""The description of a delivered folder: its exact content, and how it is read again."""

import json
import os

import msgspec
import pytest
from outs import PARTS

from onnxbuild.deliver import provenance as module
from onnxbuild.deliver.provenance import PROVENANCE, described, ours, provenance
from onnxbuild.digest import digest_value
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import Action, ActionGraph, FilesSource, OutputRef, RowsSource, Stated, Variant
from onnxbuild.store.content import File, Tree
from onnxbuild.store.store import Store
from onnxbuild.store.traces import Trace
from onnxbuild.version import __version__

ENDED = {"fetch": "hit", "export": "built", "validate": "unchanged", "benchmark": "failed"}


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "store") as store:
        yield store


def parts_of(number):
    return {
        **PARTS,
        "version": number,
        "packages": {"onnx": "1"},
        "toolchain": {"python": "3"},
        "machine": {"cpu": "x"},
        "inputs": {"in": "d"},
        "params": {"of": "the trace"},
    }


def world(store):
    """A variant of four actions with a trace each; the last one failed, and a fifth was never reached."""
    variant = Variant(
        model="m",
        target="t",
        output=OutputRef("export", "onnx"),
        precision="int8",
        steps=("fetch", "export"),
        checks=("validate",),
        measures=("benchmark", "generate"),
    )
    actions = {name: Action(id=name, kind=f"kind of {name}", params={"name": name}, inputs={}) for name in ENDED}
    outcomes = {}
    for number, (name, outcome) in enumerate(ENDED.items()):
        parts = parts_of(number)
        trace = Trace(parts=parts, outputs={"out": digest_value(name)}, facts={"fact": name}, seconds=1.5, worker="w")
        key = digest_value(parts)
        store.traces.record(key, trace, [])
        outcomes[name] = Outcome(id=name, kind=f"kind of {name}", outcome=outcome, key=key)
    return variant, ActionGraph(actions, (variant,)), outcomes


def step_of(name, number):
    return {
        "id": name,
        "kind": f"kind of {name}",
        "version": number,
        "key": digest_value(parts_of(number)),
        "params": {"name": name},
        "packages": {"onnx": "1"},
        "toolchain": {"python": "3"},
        "machine": {"cpu": "x"},
        "inputs": {"in": "d"},
        "outputs": {"out": digest_value(name)},
        "facts": {"fact": name},
    }


def test_the_description_has_the_files_and_each_step_that_succeeded(store):
    content = Tree((File("a.onnx", "aa", 1), File(PROVENANCE, "bb", 2), File("sub/b", "cc", 3)))
    text = provenance(*world(store), store, content)
    assert text.endswith(b"}\n")
    assert text.startswith(b'{\n  "onnxbuild": ')
    value = json.loads(text)
    assert value == {
        "onnxbuild": __version__,
        "model": "m",
        "target": "t",
        "precision": "int8",
        "sources": [],
        "datasets": {},
        "files": {"a.onnx": {"blake3": "aa", "bytes": 1}, "sub/b": {"blake3": "cc", "bytes": 3}},
        "steps": [step_of("fetch", 0), step_of("export", 1), step_of("validate", 2)],
    }
    assert list(value["steps"][0]) == list(step_of("fetch", 0))


REPO = {"origin": "hub", "repo": "org/tiny", "revision": "0" * 40}
ROWS = {"origin": "hub", "repo": "datasets/org/rows", "revision": "1" * 40}
DRAWN = {"origin": "random", "architecture": "bert", "seed": 3}


@pytest.mark.parametrize(
    ("params", "stated", "wanted"),
    [
        (REPO, Stated(scheme="hub", license="mit", license_from="the card on the Hub"),
         {"kind": "hub", "repository": "org/tiny", "commit": "0" * 40, "license": "mit",
          "license_from": "the card on the Hub"}),
        (DRAWN, Stated(scheme="random"),
         {"kind": "random", "architecture": "bert", "seed": 3, "license": None, "license_from": None}),
        ({"origin": "files"}, Stated(scheme="package", package="toy"),
         {"kind": "package", "package": "toy", "license": None, "license_from": None}),
        ({"origin": "files"}, Stated(scheme="local"), {"kind": "local", "license": None, "license_from": None}),
    ],
)  # fmt: skip
def test_the_description_has_the_sources(store, params, stated, wanted):
    variant, graph, outcomes = world(store)
    variant = msgspec.structs.replace(variant, stated={"fetch": stated})
    actions = {**graph.actions, "fetch": msgspec.structs.replace(graph.actions["fetch"], params=params)}
    outcomes["fetch"] = msgspec.structs.replace(outcomes["fetch"], outputs={"model": "d"})
    text = provenance(variant, ActionGraph(actions, (variant,)), outcomes, store, Tree(()))
    assert json.loads(text)["sources"] == [{"step": "fetch", **wanted, "digest": "d"}]


def test_the_description_has_the_datasets(store):
    """One on a Hub, one on this machine and one in the manifest itself: of all of them the digest of the rows."""
    variant, graph, outcomes = world(store)
    inputs = {
        "export": ("far", OutputRef("rows:fetch", "model"), {"repository": "datasets/org/rows", "commit": "1" * 40}),
        "validate": ("near", FilesSource("/somewhere", ("rows.jsonl",)), {"files": ["rows.jsonl"]}),
        "fetch": ("own", RowsSource(({"text": "a"},)), {}),
    }
    actions = {**graph.actions, "rows:fetch": Action(id="rows:fetch", kind="fetch", params=ROWS, inputs={})}
    for name, (dataset, rows, _) in inputs.items():
        actions[name] = Action(id=name, kind="k", params={"dataset": dataset}, inputs={"dataset": rows})
        parts = {**parts_of(0), "inputs": {"dataset": f"digest of {dataset}"}}
        key = digest_value(parts)
        store.traces.record(
            key, Trace(parts=parts, outputs={"out": digest_value(name)}, facts={}, seconds=0.0, worker=""), []
        )
        outcomes[name] = msgspec.structs.replace(outcomes[name], key=key)
    text = provenance(variant, ActionGraph(actions, (variant,)), outcomes, store, Tree(()))
    wanted = {dataset: {**more, "digest": f"digest of {dataset}"} for dataset, _, more in inputs.values()}
    assert json.loads(text)["datasets"] == wanted
    assert b"somewhere" not in text


@pytest.mark.parametrize("change", [{"seconds": 9.0}, {"log": "elsewhere"}, {"outcome": "built"}])
def test_equal_results_have_equal_descriptions(store, change):
    variant, graph, outcomes = world(store)
    other = {**outcomes, "fetch": msgspec.structs.replace(outcomes["fetch"], **change)}
    content = Tree((File("a.onnx", "aa", 1),))
    assert provenance(variant, graph, outcomes, store, content) == provenance(variant, graph, other, store, content)


WHOLE = {
    "model": "m",
    "target": "t",
    "onnxbuild": "9",
    "steps": 7,
    "files": {
        "a": {"blake3": "aa", "bytes": 1},
        PROVENANCE: {"blake3": "bb", "bytes": 2},
        "b/c": {"blake3": "cc", "bytes": 3},
    },
}


def test_a_description_is_read_again(tmp_path):
    text = json.dumps(WHOLE).encode()
    (tmp_path / PROVENANCE).write_bytes(text)
    found = described(tmp_path)
    assert found is not None
    assert (found[0].model, found[0].target, found[1]) == ("m", "t", text)
    assert ours(tmp_path) == (File("a", "aa", 1), File("b/c", "cc", 3))


DAMAGED = [
    b"", b"{", b"[]", b"\xff", b"[" * 100_000, json.dumps({**WHOLE, "files": []}).encode(),
    json.dumps({**WHOLE, "model": None}).encode(), json.dumps({**WHOLE, "files": {"a": {"blake3": "aa"}}}).encode(),
    json.dumps({**WHOLE, "files": {"a": {"blake3": "aa", "bytes": "1"}}}).encode(),
]  # fmt: skip


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_description_names_no_files(tmp_path, text):
    (tmp_path / PROVENANCE).write_bytes(text)
    assert described(tmp_path) is None
    assert ours(tmp_path) == ()


def test_a_missing_description_names_no_files(tmp_path):
    assert described(tmp_path) is None
    assert ours(tmp_path / "missing") == ()


def test_a_description_is_read_up_to_its_limit(tmp_path, monkeypatch):
    (tmp_path / PROVENANCE).write_text(json.dumps(WHOLE))
    size = os.path.getsize(tmp_path / PROVENANCE)
    for limit, is_read in ((size, True), (size - 1, False)):
        monkeypatch.setattr(module, "_LARGEST", limit)
        assert (described(tmp_path) is not None) == is_read
