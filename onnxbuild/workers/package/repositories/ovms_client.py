"""Checks the package `ovms`: its layout wherever it is built, and its graphs in OpenVINO Runtime where that is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.packaging.package_kind import ClientParams
from onnxbuild.workers.package.client_checks import (
    absent_module,
    check_equal,
    largest_difference,
    reported,
    skipped,
    unopened,
)
from onnxbuild.workers.package.repositories.repository_graphs import CONFIGS, MODELS
from onnxbuild.workers.package.repositories.repository_layout import check_graph_files, model_folders, newest_version
from onnxbuild.workers.package.repositories.repository_runs import GraphRun, sample_run

_CONFIG = "config.json"
_BOUND = 1e-3  # relative to the largest value: OpenVINO multiplies in another order
_BOUND_OF_INTEGERS = 0.1  # it scales and rounds the activations of quantized layers by rules of its own
_QUANTIZED = frozenset({"DynamicQuantizeLinear", "QuantizeLinear", "MatMulInteger", "MatMulNBits"})


def run(params: ClientParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Check the layout and the config, then compile each graph with OpenVINO and compare one batch.

    Errors: CheckFailed OBE45 for a config without its models, OBE190, OBE191.
    """
    models = inputs["model"] / MODELS
    versions = {folder.name: newest_version(folder) for folder in model_folders(models)}
    graphs = {name: check_graph_files(version) for name, version in versions.items()}
    _check_config(models / _CONFIG, set(versions))
    if absent_module("openvino") is not None:
        return skipped("needs openvino", outputs)
    differences, bounds = {}, {}
    for name, version in versions.items():
        progress(f"compiling {name}")
        compiled = _compiled(graphs[name])
        one = sample_run(version, inputs["model"] / CONFIGS, params)
        if one is not None:
            differences[name] = _difference(compiled, one)
            bounds[name] = _bound(graphs[name])
            check_equal({name: differences[name]}, bounds[name], "OpenVINO")
    client = f"OpenVINO Runtime {metadata.version('openvino')}; not run by a model server"
    facts = {"client": client, "max_difference": differences, "bound": max(bounds.values(), default=_BOUND)}
    return reported(facts, outputs)


def _check_config(path: Path, names: set[str]) -> None:
    try:
        entries = [one["config"] for one in json.loads(path.read_text(encoding="utf-8"))["model_config_list"]]
        stated = {one["name"]: one["base_path"] for one in entries}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unopened("OpenVINO Model Server", f"{MODELS}/{_CONFIG}", error) from error
    lacking = sorted(names.symmetric_difference(stated))
    if lacking:
        message = f"`{lacking[0]}` is not both a folder of the repository and a model of `{_CONFIG}`"
        raise CheckFailed("OBE45", message, notes=[("hint", "build the package again")])
    for name, base in stated.items():
        if base.rsplit("/", 1)[-1] != name:
            message = f"`{_CONFIG}` looks for `{name}` in `{base}`, and its folder is `{name}`"
            raise CheckFailed("OBE45", message, notes=[("hint", "build the package again")])


def _compiled(graph: Path) -> Any:
    import openvino

    try:
        core = openvino.Core()
        # Some CPUs would compute in bfloat16.
        return core.compile_model(core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except Exception as error:
        raise unopened("OpenVINO", f"{graph.parent.parent.name}/{graph.parent.name}/{graph.name}", error) from error


def _difference(compiled: Any, one: GraphRun) -> float:
    results = compiled(dict(one.feeds))
    found = {name: value for output, value in results.items() for name in output.get_names()}
    return max(
        largest_difference(found[name], value, name) / max(1.0, float(np.abs(value).max(initial=0)))
        for name, value in one.expected.items()
    )


def _bound(graph: Path) -> float:
    from onnxbuild.workers.graphs.graph_files import load_graph

    has_integers = any(node.op_type in _QUANTIZED for node in load_graph(graph).graph.node)
    return _BOUND_OF_INTEGERS if has_integers else _BOUND
