"""Checks the package `triton`: by contract wherever it is built, and with a Triton server where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.packaging.package_kind import ClientParams
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel, open_session
from onnxbuild.workers.package.client_checks import (
    absent_module,
    check_equal,
    largest_difference,
    reported,
    skipped,
    unequal,
    unopened,
)
from onnxbuild.workers.package.repositories import triton_contract, triton_server
from onnxbuild.workers.package.repositories.repository_graphs import CONFIGS, MODELS, opened_signature
from onnxbuild.workers.package.repositories.repository_layout import check_graph_files, model_folders, newest_version
from onnxbuild.workers.package.repositories.repository_runs import TEXTS, GraphRun, sample_run, text_run
from onnxbuild.workers.package.repositories.triton_config import TEXT
from onnxbuild.workers.package.repositories.triton_stand_in import run_python_model

_BY_CONTRACT = "verified by contract; not run by a Triton server"
_BOUND = 1e-5  # the same graph reads the same tokens
_BOUND_OF_SERVER = 1e-4  # relative to the largest value: the server has another version of ONNX Runtime


def run(params: ClientParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Compare each config with its graph, run each ensemble's parts, and ask a server if there is one.

    Errors: CheckFailed OBE45 for a config that does not describe its graph, OBE190, OBE191.
    """
    if absent_module("tritonclient", "google.protobuf") is not None:
        return skipped("needs tritonclient", outputs)
    package = inputs["model"]
    progress("comparing the configs with the graphs")
    versions = _versions(package / MODELS)
    configs = _configs(package / MODELS, versions)
    runs = _text_runs(configs, versions, package, params)
    differences = {name: _by_contract(name, configs, versions, text) for name, text in runs.items()}
    check_equal(differences, _BOUND, "the tokenizer of the package")
    if not triton_server.has_server():
        return reported({"client": _BY_CONTRACT, "max_difference": differences, "bound": _BOUND}, outputs)
    if absent_module("tritonclient.http", "geventhttpclient") is not None:
        return skipped("needs geventhttpclient, with which tritonclient asks a server", outputs)
    progress("asking the server")
    served, name = _by_server(package, configs, versions, runs, params)
    check_equal(served, _BOUND_OF_SERVER, name)
    return reported({"client": name, "max_difference": served, "bound": _BOUND_OF_SERVER}, outputs)


def _versions(models: Path) -> dict[str, Path]:
    return {folder.name: newest_version(folder) for folder in model_folders(models)}


def _configs(models: Path, versions: Mapping[str, Path]) -> dict[str, Any]:
    """The config of each model, after a comparison with what it describes."""
    configs = {name: triton_contract.read_config_file(models / name) for name in versions}
    for name, config in configs.items():
        if config.backend == "onnxruntime":
            graph = check_graph_files(versions[name])
            triton_contract.check_described(config, opened_signature(open_session(graph, threads=1)))
        elif config.platform == "ensemble":
            triton_contract.check_ensemble(config, configs)
    return configs


def _text_runs(
    configs: Mapping[str, Any], versions: Mapping[str, Path], package: Path, params: ClientParams
) -> dict[str, GraphRun]:
    """What each ensemble has to return for the texts."""
    return {
        name: text_run(versions[graph], package / CONFIGS, trusts_code=params.trusts_code)
        for name, _, graph in triton_contract.ensembles(configs)
    }


def _by_contract(name: str, configs: Mapping[str, Any], versions: Mapping[str, Path], expected: GraphRun) -> float:
    """How far an ensemble is from our own pipeline: its tokenizer under a stand-in for Triton, then its graph."""
    tokenizer, graph = next(pair for one, *pair in triton_contract.ensembles(configs) if one == name)
    text = _text(configs[tokenizer].max_batch_size)
    try:
        feeds = run_python_model(versions[tokenizer], {TEXT: text})
    except Exception as error:
        raise unopened("the stand-in for Triton's Python backend", f"{tokenizer}/model.py", error) from error
    triton_contract.check_values(configs[tokenizer], feeds)
    for one, array in expected.feeds.items():
        if array.shape != feeds[one].shape or not np.array_equal(array, feeds[one]):
            raise unequal(f"`{tokenizer}` makes another `{one}` of the texts than the tokenizer of the model", {})
    model = OnnxModel(versions[graph], threads=1)
    found = model.run(model.first, feeds)
    return max(largest_difference(found[one], value, one) for one, value in expected.expected.items())


def _text(batch: int) -> np.ndarray:
    array: np.ndarray = np.array([text.encode() for text in TEXTS], dtype=np.object_)
    return array.reshape(-1, 1) if batch else array


def _by_server(
    package: Path,
    configs: Mapping[str, Any],
    versions: Mapping[str, Path],
    texts: Mapping[str, GraphRun],
    params: ClientParams,
) -> tuple[dict[str, float], str]:
    """How far each model of the server is from ONNX Runtime here, and what the server is."""
    differences = {}
    with triton_server.triton_client(package / MODELS) as client:
        for name, config in configs.items():
            one = texts.get(name) or (
                sample_run(versions[name], package / CONFIGS, params) if config.backend == "onnxruntime" else None
            )
            if one is not None:
                feeds = {TEXT: _text(config.max_batch_size)} if name in texts else one.feeds
                differences[name] = _relative(triton_server.asked(client, name, feeds), one.expected)
        return differences, triton_server.version_of(client)


def _relative(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    missing = next((name for name in expected if name not in found), None)
    if missing is not None:
        raise unequal(f"the server does not return the output `{missing}`", {})
    return max(
        largest_difference(found[name], value, name) / max(1.0, float(np.abs(value).max(initial=0)))
        for name, value in expected.items()
    )
