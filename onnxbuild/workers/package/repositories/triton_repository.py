"""triton: writes the model repository, with a tokenizer and an ensemble for each graph that reads tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.packaging.triton_package import ENSEMBLE, TOKENIZER, TritonParams
from onnxbuild.tables.positions import positions_of
from onnxbuild.workers.engines.onnxruntime_engine import open_session
from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.folders.model_files import copy_model_file
from onnxbuild.workers.package.checksums import closed
from onnxbuild.workers.package.placed_graphs import carry_configs, folders_of
from onnxbuild.workers.package.repositories.repository_graphs import (
    CONFIGS,
    MODELS,
    PlacedModel,
    Signature,
    opened_signature,
    place_models,
)
from onnxbuild.workers.package.repositories.repository_texts import Ensemble, triton_readme
from onnxbuild.workers.package.repositories.triton_config import (
    TOKENS,
    batch_of,
    config_text,
    ensemble_config,
    graph_config,
    tokenizer_config,
)

_NO_LIMIT = 1 << 30  # tokenizer_config.json says 1e30 where the tokenizer knows no limit
_CODE = Path(__file__).with_name("triton_tokenizer.py")


def run(params: TritonParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Write the graphs and their configs. Errors: CheckFailed OBE45 for a graph that Triton cannot run as asked."""
    package = outputs["package"]
    progress("copying the graphs")
    placed = place_models(params, inputs, package)
    folders = dict(folders_of(params.graphs, inputs))
    names: list[str] = []
    ensembles: list[Ensemble] = []
    for model in placed:
        signature = opened_signature(open_session(model.graph, threads=1))
        written = _write_model(params, model, signature, [folders[model.role], inputs["model"]], package / MODELS)
        names += written
        if model.name + ENSEMBLE in written:
            batched = batch_of(params, model.name, signature) > 0
            ensembles.append(Ensemble(model.name + ENSEMBLE, signature.outputs[0].name, batched=batched))
    carry_configs(params.graphs, inputs, package / CONFIGS)
    text = triton_readme(names, next(iter(ensembles), None))
    (package / "README.md").write_text(text, encoding="utf-8", newline="\n")
    return {"models": names, **closed(package)}


def _write_model(
    params: TritonParams, model: PlacedModel, signature: Signature, sources: list[Path], models: Path
) -> list[str]:
    """Write the config of a graph, and what reads text for it; returns the names of the models."""
    _write_config(models, graph_config(params, model.name, model.role, signature))
    tokenizer = next((path for path in (one / "tokenizer.json" for one in sources) if path.is_file()), None)
    if not params.ensemble or not model.alone or tokenizer is None or not _reads_tokens(signature):
        return [model.name]
    _write_config(models, tokenizer_config(params, model.name, signature))
    _write_config(models, ensemble_config(params, model.name, signature))
    version = models / f"{model.name}{TOKENIZER}" / str(params.version)
    copy_model_file(tokenizer, version / "tokenizer.json")
    copy_model_file(_CODE, version / "model.py")
    settings = _settings(tokenizer.parent, signature)
    (version / "tokens.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8", newline="\n")
    ensemble = models / f"{model.name}{ENSEMBLE}" / str(params.version)
    ensemble.mkdir()
    # An ensemble has no file of its own, and its version must be a folder: git and OCI artifacts keep no empty one.
    (ensemble / ".keep").write_bytes(b"")
    return [model.name, f"{model.name}{TOKENIZER}", f"{model.name}{ENSEMBLE}"]


def _reads_tokens(signature: Signature) -> bool:
    return "input_ids" in {one.name for one in signature.inputs} <= TOKENS


def _write_config(models: Path, config: Mapping[str, Any]) -> None:
    path = models / config["name"] / "config.pbtxt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(config_text(config), encoding="utf-8", newline="\n")


def _settings(folder: Path, signature: Signature) -> dict[str, Any]:
    """How `model.py` pads and cuts: what the configs beside the tokenizer say, and a fixed length of the graph."""
    config = read_config(folder)
    tokens = _json(folder / "tokenizer_config.json")
    sentence = _json(folder / "sentence_bert_config.json")
    fixed = next(one.dims[-1] for one in signature.inputs if one.name == "input_ids")
    named = (positions_of(config), tokens.get("model_max_length"), sentence.get("max_seq_length"), fixed)
    limits = [int(one) for one in named if isinstance(one, int | float) and 0 < one < _NO_LIMIT]
    pad = tokens.get("pad_token")
    return {
        "max_length": min(limits, default=None),
        "fixed_length": fixed if fixed > 0 else None,
        "pad_token": pad.get("content") if isinstance(pad, dict) else pad,
        "pad_id": config.get("pad_token_id") or 0,
        "pads_left": tokens.get("padding_side") == "left",
        "lowers": bool(sentence.get("do_lower_case")),
        "types": {one.name: one.type.removeprefix("tensor(").removesuffix(")") for one in signature.inputs},
    }


def _json(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found if isinstance(found, dict) else {}
