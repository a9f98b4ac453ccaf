"""A backend that writes its graphs from the checkpoint needs no export: nothing exports for nobody."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onnxbuild.commands.lint import lint
from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.planning.expand import expand
from onnxbuild.planning.locked import Lock
from onnxbuild.steps import KINDS

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=("avx2",), cores=2)
TARGETS = {"aic": {"compile": {"backend": "qaic"}}, "steps": {"steps": [{"compile": "qaic"}]}, "fp32": {}}
MODEL = {"source": "random:gpt2", "task": "text-generation", "generate": {"prompts": ["a"]}, "benchmark": True}


def written(**model: Any) -> None:
    content = {"onnxbuild": 1, "targets": TARGETS, "models": {"m": {**MODEL, **model}}}
    Path("m.yaml").write_text(json.dumps(content))


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ActionGraph]:
    monkeypatch.chdir(tmp_path)

    def run(*targets: str, **model: Any) -> ActionGraph:
        written(targets=list(targets), **model)
        return expand(load_manifest("m.yaml", kinds=KINDS), KINDS, Lock(), MACHINE)

    return run


@pytest.mark.parametrize("target", ["aic", "steps"])
def test_nothing_is_exported(graph, target):
    found = graph(target)
    assert list(found.actions) == [
        "m:fetch", f"m/{target}:compile-qaic", f"m/{target}:validate", f"m/{target}:benchmark", f"m/{target}:generate",
    ]  # fmt: skip
    assert dict(found.actions[f"m/{target}:compile-qaic"].inputs) == dict(found.actions["m:fetch"].inputs) | {
        "model": found.actions[f"m/{target}:validate"].inputs["reference"]
    }
    (variant,) = found.variants
    assert (variant.steps, variant.proofs) == (("m:fetch", f"m/{target}:compile-qaic"), ())
    benchmark = found.actions[f"m/{target}:benchmark"]
    assert "uncompiled" not in benchmark.inputs, "the graph of an export keeps its cache elsewhere"
    assert benchmark.after == (f"m/{target}:validate",)


def test_the_other_targets_of_the_model_start_from_the_export(graph):
    found = graph("aic", "fp32")
    assert [one.steps for one in found.variants] == [("m:fetch", "m/aic:compile-qaic"), ("m:fetch", "m:export")]


def test_of_the_export_only_the_trust_matters(graph):
    """An exporter that this interpreter lacks is no fault, and the steps may run the checkpoint's code."""
    found = graph("aic", export={"exporter": "mobius", "trust_remote_code": True})
    assert found.actions["m/aic:compile-qaic"].params["trust_remote_code"] is True
    written(targets=["fp32"], export={"exporter": "mobius"})
    assert [one.code for one in lint("m.yaml", MACHINE, selectors=[], kinds=KINDS) if one.severity == "error"]


def test_a_missing_task_is_still_a_fault(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(targets=["aic"], task="text-generatoin")
    assert "OB302" in [one.code for one in lint("m.yaml", MACHINE, selectors=[], kinds=KINDS)]
