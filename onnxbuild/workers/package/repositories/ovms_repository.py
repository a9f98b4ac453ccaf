"""ovms: writes the model repository and its `config.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from onnxbuild.protocol import Facts, Tell
from onnxbuild.steps.packaging.ovms_package import OvmsParams
from onnxbuild.workers.package.checksums import closed
from onnxbuild.workers.package.placed_graphs import carry_configs
from onnxbuild.workers.package.repositories.repository_graphs import CONFIGS, MODELS, place_models
from onnxbuild.workers.package.repositories.repository_texts import ovms_readme

CONFIG = "config.json"


def run(params: OvmsParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Write the graphs, the config of the server, and beside them the tokenizer, which clients need."""
    package = outputs["package"]
    progress("copying the graphs")
    names = [model.name for model in place_models(params, inputs, package)]
    carry_configs(params.graphs, inputs, package / CONFIGS)
    base = params.base_path.rstrip("/")
    models = [
        {"config": {"name": name, "base_path": f"{base}/{name}", "target_device": params.target_device}}
        for name in names
    ]
    text = json.dumps({"model_config_list": models}, indent=2) + "\n"
    (package / MODELS / CONFIG).write_text(text, encoding="utf-8", newline="\n")
    (package / "README.md").write_text(ovms_readme(names, base, params.version), encoding="utf-8", newline="\n")
    return {"models": names, **closed(package)}
