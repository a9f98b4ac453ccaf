"""Delivered folders that are written by hand, with an account that is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from blake3 import blake3

from onnxbuild.deliver.provenance import PROVENANCE

FILES = {"model.onnx": b"graph", "config.json": b'{"model_type": "bert"}', "onnx/data.bin": b"weights"}
BUILT = {
    "validate": {
        "id": "m/t:validate",
        "kind": "validate",
        "version": 4,
        "key": "c" * 64,
        "params": {"task": "feature-extraction", "precision": "int8", "dataset": "reviews"},
        "packages": {"onnxruntime": "1.31.1", "torch": "2.13.0+cpu", "sentence-transformers": "absent"},
        "toolchain": {"python": "cpython-3.11"},
        "machine": None,
        "inputs": {"model": "a" * 64, "reference": "b" * 64, "dataset": "d" * 64},
        "outputs": {"report": "e" * 64},
        "facts": {"metrics": {"cosine_mean": 0.998}, "thresholds": {"cosine_mean": 0.99}, "reference": "torch"},
    },
    "fetch": {
        "id": "m:fetch",
        "kind": "fetch",
        "version": 2,
        "key": "f" * 64,
        "params": {"origin": "hub", "repo": "org/tiny", "revision": "0" * 40, "files": []},
        "packages": {},
        "toolchain": {},
        "machine": None,
        "inputs": {},
        "outputs": {"model": "b" * 64},
        "facts": {"files": 2},
    },
}
SOURCE = {
    "step": "m:fetch", "kind": "hub", "repository": "org/tiny", "commit": "0" * 40, "digest": "b" * 64,
    "license": "apache-2.0", "license_from": "the card on the Hub",
}  # fmt: skip
ROWS = {"repository": "datasets/org/reviews", "commit": "1" * 40, "digest": "d" * 64}


def listed(files: dict[str, bytes]) -> dict[str, Any]:
    """The part of an account that lists files."""
    return {name: {"blake3": blake3(data).hexdigest(), "bytes": len(data)} for name, data in files.items()}


def account(files: dict[str, bytes] | None = None, **changes: Any) -> dict[str, Any]:
    """The account of a folder with these files."""
    steps = [BUILT["fetch"], BUILT["validate"]]
    made = {
        "onnxbuild": "0.1.0", "model": "m", "target": "t", "precision": "int8", "sources": [SOURCE],
        "datasets": {"reviews": ROWS}, "files": listed(FILES if files is None else files), "steps": steps,
    }  # fmt: skip
    return {**made, **changes}


def folder_with(folder: Path, files: dict[str, bytes] | None = None, **changes: Any) -> Path:
    """A folder with these files, and the account of them."""
    content = FILES if files is None else files
    for name, data in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PROVENANCE).write_text(json.dumps(account(content, **changes)))
    return folder
