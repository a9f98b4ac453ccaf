"""The old layout of sentence-transformers, with the model in a folder of its own, turned into today's."""

from __future__ import annotations

import json
from pathlib import Path

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.checkpoint_files import OLD_TRANSFORMER
from onnxbuild.workers.folders.model_files import copy_model_file, files_below

_MODULES = "modules.json"


def flatten(source: Path, destination: Path) -> dict[str, str]:
    """Move the files of the model to the top, where every loader looks for them, and say so in modules.json.

    Facts: `flattened`, the folder. Errors: CheckFailed OBE16 for a modules.json that does not name the folder.
    """
    modules = _modules(source)
    for module in modules:
        if module.get("path") == OLD_TRANSFORMER:
            module["path"] = ""
    inner = OLD_TRANSFORMER + "/"
    # The model's own files last: a file of the same name at the top is not one that a loader reads.
    for name in sorted(files_below(source), key=lambda name: name.startswith(inner)):
        copy_model_file(source / name, destination / name.removeprefix(inner))
    (destination / _MODULES).write_text(json.dumps(modules, indent=2) + "\n", encoding="utf-8")
    return {"flattened": OLD_TRANSFORMER}


def _modules(source: Path) -> list[dict[str, object]]:
    try:
        modules = json.loads((source / _MODULES).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckFailed("OBE16", f"{_MODULES} cannot be read: {error}") from error
    known = isinstance(modules, list) and all(isinstance(one, dict) for one in modules)
    if not known or OLD_TRANSFORMER not in [one.get("path") for one in modules]:
        raise CheckFailed("OBE16", f"{_MODULES} does not name the folder `{OLD_TRANSFORMER}`")
    return list(modules)
