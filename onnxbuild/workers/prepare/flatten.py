"""The old layout of sentence-transformers, with the model in a folder of its own, turned into today's."""

from __future__ import annotations

import json
from pathlib import Path

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.checkpoint_files import old_folder
from onnxbuild.workers.folders.model_files import copy_model_file, files_below

_MODULES = "modules.json"


def flatten(source: Path, destination: Path) -> dict[str, str]:
    """Move the files of the model to the top, where every loader looks for them, and say so in modules.json.

    Facts: `flattened`, the folder. Errors: CheckFailed OBE16 for a modules.json that does not name the folder.
    """
    names = files_below(source)
    folder = old_folder(names)
    assert folder is not None, "BUG: planning has seen the folder"
    modules = _modules(source, folder)
    for module in modules:
        if module.get("path") == folder:
            module["path"] = ""
    inner = folder + "/"
    # The model's own files last: a file of the same name at the top is not one that a loader reads.
    for name in sorted(names, key=lambda name: name.startswith(inner)):
        copy_model_file(source / name, destination / name.removeprefix(inner))
    (destination / _MODULES).write_text(json.dumps(modules, indent=2) + "\n", encoding="utf-8")
    return {"flattened": folder}


def _modules(source: Path, folder: str) -> list[dict[str, object]]:
    try:
        modules = json.loads((source / _MODULES).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckFailed("OBE16", f"{_MODULES} cannot be read: {error}") from error
    known = isinstance(modules, list) and all(isinstance(one, dict) for one in modules)
    if not known or folder not in [one.get("path") for one in modules]:
        raise CheckFailed("OBE16", f"{_MODULES} does not name the folder `{folder}`")
    return list(modules)
