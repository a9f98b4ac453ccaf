"""package-transformers.js: writes the folder that Transformers.js loads, in the layout of onnx-community."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.packaging.package_kind import graph_port
from onnxbuild.steps.packaging.transformers_js import JavaScriptParams
from onnxbuild.tables.publishing.javascript_dtypes import file_name, javascript_task
from onnxbuild.tables.publishing.javascript_halves import halves_of
from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.package.checksums import closed
from onnxbuild.workers.package.javascript.dtype_files import loaded_graphs, write_dtype
from onnxbuild.workers.package.javascript.javascript_card import card
from onnxbuild.workers.package.javascript.javascript_config import write_files, write_json, write_settings
from onnxbuild.workers.package.javascript.model_halves import write_halves
from onnxbuild.workers.package.javascript.quantize_config import quantize_config


def run(params: JavaScriptParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Write the graphs of each dtype, the configs, the tokenizer, a card and the checksums.

    Facts: `dtypes`, `graphs` (each with its chunks of weights), `settings` for the library, `files`, `bytes`.
    """
    destination = outputs["package"]
    folders = {dtype: inputs[graph_port(target)] for dtype, target in params.graphs.items()}
    chunks: dict[str, int] = {}
    for dtype, folder in folders.items():
        progress(f"writing {dtype}")
        chunks |= _write_graphs(params, folder, destination / "onnx", dtype)
    write_files((*folders.values(), inputs["model"]), destination)
    halves = [dtype for dtype, folder in folders.items() if _has_half_past(destination, folder, dtype)]
    settings = write_settings(destination, chunks, halves, params.default_dtype or None)
    write_json(destination / "quantize_config.json", quantize_config(params.recipes))
    (destination / "README.md").write_text(_card(params, destination), encoding="utf-8", newline="\n")
    return {
        "dtypes": list(folders),
        "graphs": chunks,
        "settings": settings,
        **closed(destination),
    }


def _write_graphs(params: JavaScriptParams, folder: Path, destination: Path, dtype: str) -> dict[str, int]:
    """Write the whole model, its halves, or both; returns for each file how many chunks of weights it has."""
    words = params.word_timestamps is True
    whole = (
        {} if params.halves == "only" else write_dtype(folder, destination, dtype, params.chunk_bytes, attentions=words)
    )
    halves = write_halves(folder, destination, dtype, params.chunk_bytes) if params.halves else {}
    return {**whole, **halves}


def _card(params: JavaScriptParams, destination: Path) -> str:
    config = read_config(destination)
    name = (config.get("architectures") or [config.get("model_type") or "Model"])[0]
    default: str = params.default_dtype or ("q8" if "q8" in params.graphs else str(min(params.graphs)))
    whole = params.halves != "only"
    halves = halves_of(config.get("model_type")) if params.halves else ()
    row = javascript_task(params.task, config)
    assert row is not None, "BUG: planning lets a task pass that the library does not run"
    return card(destination, params.task, row, str(name), params.graphs, default, whole=whole, halves=halves)


def _has_half_past(destination: Path, folder: Path, dtype: str) -> bool:
    """Whether a graph of the dtype reads its past in fp16, which versions up to 4.1 have to be told."""
    import onnx

    paths = (destination / "onnx" / file_name(name, dtype) for name in loaded_graphs(folder))
    graphs = (onnx.load(path, load_external_data=False).graph for path in paths if path.is_file())
    return any(_is_half(one) for graph in graphs for one in graph.input if one.name.startswith("past_key_values"))


def _is_half(value: Any) -> bool:
    import onnx

    return bool(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16)
