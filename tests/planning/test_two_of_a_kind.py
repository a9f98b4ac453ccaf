"""Two models that differ in one thing: what depends on it is two actions, and only the rest is shared."""

from __future__ import annotations

import collections
import json
from pathlib import Path

import pytest

from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.action_graph import FilesSource
from onnxbuild.planning.expand import expand
from onnxbuild.planning.locked import Lock
from onnxbuild.steps import KINDS

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=("avx2",), cores=2)
ALL = {"fetch", "export", "optimize", "quantize", "validate", "benchmark"}
BLOCK = {
    "source": "random:bert",
    "task": "text-classification",
    "targets": ["int8"],
    "export": {"exporter": "optimum"},
    "benchmark": {"batch": [1]},
}


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The graph of two models with equal blocks except for what is given for each."""
    monkeypatch.chdir(tmp_path)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text('{"model_type": "bert"}')
        (tmp_path / folder / "model.safetensors").write_text("weights")
        (tmp_path / folder / "mine.py").write_text("def export(): ...\n")
        (tmp_path / folder / "rows.jsonl").write_text('{"text": "a", "label": 0}\n')

    def plan(first, second):
        source = {"columns": {"text": "text", "label": "label"}}
        manifest = {
            "onnxbuild": 1,
            "toolchains": {"a": {"python": "a/bin/python"}, "b": {"python": "b/bin/python"}},
            "datasets": {name: {"source": f"file:{name}/rows.jsonl", **source} for name in ("one", "two")},
            "targets": {
                "int8": {"optimize": "O2", "quantize": {"method": "dynamic", "preset": "avx2"}},
                "cuda": {"device": "cuda", "optimize": "O2", "quantize": {"method": "dynamic", "preset": "avx2"}},
            },
            "models": {"first": {**BLOCK, **first}, "second": {**BLOCK, **second}},
        }
        (tmp_path / "m.yaml").write_text(json.dumps(manifest))
        return expand(load_manifest("m.yaml", kinds=KINDS), KINDS, Lock(), MACHINE)

    return plan


def twice(graph) -> set[str]:
    """The kinds of which the two models have an action each."""
    # One validation of each is that of the graph before it is quantized.
    counted = collections.Counter(
        action.kind for action in graph.actions.values() if not action.id.endswith(":validate-fp32")
    )
    assert counted.keys() == ALL
    assert set(counted.values()) <= {1, 2}
    return {kind for kind, count in counted.items() if count == 2}


def test_equal_models_share_every_action(planned) -> None:
    assert twice(planned({}, {})) == set()


DIFFERENCES = {
    "toolchain": ({"toolchain": "a"}, {"toolchain": "b"}, ALL),
    "a toolchain or none": ({"toolchain": "a"}, {}, ALL),
    "folder": ({"source": "local:one"}, {"source": "local:two"}, ALL),
    # Files are copied without a framework, so in one environment.
    "toolchain of a folder": (
        {"source": "local:one", "toolchain": "a"},
        {"source": "local:one", "toolchain": "b"},
        ALL - {"fetch"},
    ),
    "device": ({}, {"targets": ["cuda"]}, ALL - {"fetch", "export"}),
    "folder of the exporter": (
        {"export": {"exporter": "one/mine.py:export"}},
        {"export": {"exporter": "two/mine.py:export"}},
        ALL - {"fetch"},
    ),
    "folder of the rows": ({"validate": {"dataset": "one"}}, {"validate": {"dataset": "two"}}, {"validate"}),
    "seed": ({"source": {"random": "bert", "seed": 0}}, {"source": {"random": "bert", "seed": 1}}, ALL),
    "opset": ({}, {"export": {"exporter": "optimum", "opset": 17}}, ALL - {"fetch"}),
    "what is measured": ({}, {"benchmark": {"batch": [2]}}, {"benchmark"}),
}


@pytest.mark.parametrize("what", list(DIFFERENCES))
def test_models_that_differ_do_not_share_what_depends_on_it(planned, what: str) -> None:
    first, second, expected = DIFFERENCES[what]
    for graph in (planned(first, second), planned(second, first)):
        assert twice(graph) == expected
        doubled = [action for action in graph.actions.values() if action.kind in expected]
        assert {action.id.split("/")[0].split(":")[0] for action in doubled} == {"first", "second"}


def test_each_of_two_folders_is_read_by_its_own_action(planned, tmp_path: Path) -> None:
    graph = planned({"source": "local:one"}, {"source": "local:two"})
    roots = {action.id: source.root for action in graph.actions.values() for source in action.inputs.values()
             if isinstance(source, FilesSource)}  # fmt: skip
    assert roots == {"first:fetch": str(tmp_path / "one"), "second:fetch": str(tmp_path / "two")}


def test_each_action_runs_in_the_toolchain_of_its_model(planned) -> None:
    graph = planned({"toolchain": "a"}, {"toolchain": "b"})
    assert {(action.id.split("/")[0].split(":")[0], action.toolchain) for action in graph.actions.values()} == {
        ("first", "a"), ("second", "b"),
    }  # fmt: skip


@pytest.mark.parametrize("timeouts", [(10, 20), (20, 10)])
def test_a_shared_action_may_take_as_long_as_the_model_that_allows_the_most(planned, timeouts) -> None:
    first, second = timeouts
    graph = planned({"timeout": first}, {"timeout": second})
    assert twice(graph) == set()
    assert {action.timeout_seconds for action in graph.actions.values()} == {20}
