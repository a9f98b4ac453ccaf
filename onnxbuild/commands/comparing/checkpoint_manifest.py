"""A manifest for a checkpoint folder that is compared without one: its model, and a toolchain for each exporter."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.steps.exporters import EXPORTERS
from onnxbuild.store.files import write_atomically

_FILE = "exporters.yaml"
# What `compare-exporters` installs for a folder; a manifest names its own toolchains.
_TOOLCHAINS: Mapping[str, tuple[str, ...]] = {
    "transformers-4": (
        "optimum-onnx==0.1.0", "optimum==2.1.0", "transformers==4.57.6", "torch==2.13.0", "onnx==1.23.2",
        "onnxruntime==1.31.1", "sentence-transformers==5.7.0", "sentencepiece", "accelerate",
    ),
    "transformers-5": (
        "transformers==5.23.0", "torch==2.13.0", "onnxscript==0.7.2", "onnx==1.23.2", "onnxruntime==1.31.1",
        *(one.requirement for one in EXPORTERS.values() if one.requirement and not one.may_come_along), "sentencepiece",
        "sentence-transformers==5.7.0",
    ),
}  # fmt: skip


def manifest_for(asked: Asked) -> Asked:
    """The question as it was asked, or, for a checkpoint folder, about a manifest that is written for it.

    The manifest is in `.onnxbuild/` of the working directory, as are its results. Errors: DiagnosticError OB639 for a
    folder without config.json.
    """
    folder = Path(asked.manifest).absolute()
    if not folder.is_dir():
        return asked
    if not (folder / "config.json").is_file():
        message = f"the folder `{asked.manifest}` is not a checkpoint: it has no config.json"
        raise DiagnosticError([fault("OB639", message, hint="name a manifest, or the folder of a checkpoint")])
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.name).strip("-").lower() or "model"
    place = Path(".onnxbuild").absolute() / "compare-exporters" / name
    place.mkdir(parents=True, exist_ok=True)
    write_atomically(place / _FILE, _manifest(name, folder).encode())
    store = asked.store or os.environ.get("ONNXBUILD_STORE") or str(Path(".onnxbuild").absolute() / "store")
    return asked._replace(manifest=str(place / _FILE), store=store, allow_paths=(*asked.allow_paths, str(folder)))


def _manifest(name: str, folder: Path) -> str:
    """YAML in the form of JSON, so that every path is quoted."""
    toolchains = {one: {"requirements": list(requirements)} for one, requirements in _TOOLCHAINS.items()}
    model = {"source": f"local:{folder}", "targets": ["fp32"]}
    return json.dumps({"onnxbuild": 1, "toolchains": toolchains, "targets": {"fp32": {}}, "models": {name: model}})
