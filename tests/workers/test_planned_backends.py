"""What planning writes into the params of a backend is what its worker needs."""

import json
from importlib import import_module
from typing import get_type_hints

import msgspec
import pytest
from small_models import classifier

from onnxbuild.machine import this_machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.expand import expand
from onnxbuild.planning.lock_file import read_lock
from onnxbuild.steps import KINDS
from onnxbuild.steps.compiling.provider_backends import PROVIDER_BACKENDS

NAMES = ["ort", *(one.name for one in PROVIDER_BACKENDS)]


@pytest.mark.parametrize("name", NAMES)
def test_the_worker_takes_what_is_planned(tmp_path, name):
    targets = {"own": {"compile": name}}
    of_m = {"source": "random:bert", "task": "text-classification", "targets": ["own"]}
    path = tmp_path / "manifest.yaml"
    path.write_text(json.dumps({"onnxbuild": 1, "targets": targets, "models": {"m": of_m}}), encoding="utf-8")
    graph = expand(load_manifest(str(path), kinds=KINDS), KINDS, read_lock(tmp_path / "none"), this_machine())
    module, _, function = KINDS[f"compile-{name}"].worker.partition(":")
    run = getattr(import_module(module), function)
    params = msgspec.convert(graph.actions[f"m/own:compile-{name}"].params, get_type_hints(run)["params"])
    (tmp_path / "out").mkdir()
    facts = run(params, {"model": classifier().onnx}, {"model": tmp_path / "out"}, lambda *_: None)
    assert facts["backend"] == name
    assert json.loads((tmp_path / "out" / "compiled.json").read_text(encoding="utf-8"))["backend"] == name
