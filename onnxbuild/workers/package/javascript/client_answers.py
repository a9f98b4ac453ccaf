"""What a client computed, compared with what Python's ONNX Runtime computes from the same files and inputs."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxbuild.workers.package.javascript.same_file_runs import Arrays, SameFiles

_SMALLEST = 1e-3  # outputs that are smaller are compared as if they had this size
_TYPES: Mapping[str, Any] = {"float32": np.float32, "float16": np.float16, "int64": np.int64, "int32": np.int32}


def compared(answer: Mapping[str, Any], folder: Path, tolerance: float, dtype: str, threads: int) -> dict[str, Any]:
    """Facts of one case: `loads`, `equal`, `far` (a part of the largest number), `because` if it fails."""
    if "error" in answer:
        return {"loads": False, "equal": False, "because": str(answer["error"])}
    facts = {"loads": True, "version": answer["version"], "tolerance": tolerance}
    facts.update({"seconds": answer["seconds"]} if "seconds" in answer else {})
    files = SameFiles(folder, dtype, threads)
    halves = {name: _far(files, half, f"{name}.onnx") for name, half in answer.get("halves", {}).items()}
    whole = _whole(files, folder, answer) if "outputs" in answer else {}
    facts.update({**whole, **({"halves": halves} if halves else {})})
    facts["far"] = max([*halves.values(), *([whole["far"]] if whole else [])])
    facts["equal"] = bool(facts["far"] <= tolerance)
    if not facts["equal"] and facts.get("tokens") == 0:
        facts["because"] = "it writes no token"
    elif not facts["equal"]:
        facts["because"] = f"it differs by {facts['far']:.1e} of the largest number, and {tolerance:g} is the bound"
    return facts


def _whole(files: SameFiles, folder: Path, answer: Mapping[str, Any]) -> dict[str, Any]:
    inputs, outputs = arrays(answer["inputs"]), arrays(answer["outputs"])
    if "tokens" in outputs:
        return _tokens(files, folder, inputs, outputs["tokens"], int(answer["given"]))
    return {"far": _distance(files.outputs(inputs), outputs)}


def _far(files: SameFiles, half: Mapping[str, Any], graph: str) -> float:
    return _distance(files.outputs(arrays(half["inputs"]), graph), arrays(half["outputs"]))


def _tokens(files: SameFiles, folder: Path, inputs: Arrays, tokens: np.ndarray[Any, Any], given: int) -> dict[str, Any]:
    margins = files.margins(inputs, tokens, given, suppressed_in(folder))
    # A client that writes nothing, not even the token that ends a text, has shown nothing.
    return {
        "far": max(margins, default=float("inf")),
        "tokens": len(margins),
        "same_tokens": sum(one <= 0 for one in margins),
    }


def suppressed_in(folder: Path) -> list[int]:
    """The tokens that generation never chooses, as the package says."""
    path = folder / "generation_config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return [int(token) for token in config.get("suppress_tokens") or ()]


def arrays(named: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Tensors as the scripts in `clients/` write them."""
    return {name: _array(one) for name, one in named.items() if one["type"] in _TYPES}


def _array(one: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    flat: np.ndarray[Any, Any] = np.frombuffer(base64.b64decode(one["data"]), _TYPES[one["type"]])
    return flat.reshape([int(size) for size in one["dims"]])


def _distance(expected: Arrays, found: Arrays) -> float:
    """The largest difference between two sets of outputs, as a part of the largest number of each output."""
    shared = [name for name in expected if name in found and expected[name].dtype.kind == "f"]
    if not shared:
        return float("inf")
    return max(_part(expected[name].astype(np.float64), found[name].astype(np.float64)) for name in shared)


def _part(expected: np.ndarray[Any, Any], found: np.ndarray[Any, Any]) -> float:
    if expected.shape != found.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(expected - found).max(initial=0.0)) / max(_SMALLEST, float(np.abs(expected).max(initial=0.0)))
