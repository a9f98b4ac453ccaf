"""sentence-transformers: writes a folder for its ONNX backend, with the loader that needs no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.packaging.sentence_package import SentenceParams
from onnxbuild.tables.publishing.sentence_tasks import is_embedder_task
from onnxbuild.workers.folders.model_files import copy_model_file, files_below
from onnxbuild.workers.package.checksums import closed
from onnxbuild.workers.package.placed_graphs import carry_configs, place_graphs
from onnxbuild.workers.package.sentence_card import card

LOADER = "onnx_model.py"

_SOURCES = ("pools.py", LOADER)  # in the order in which the loader's file has them
_MODULES = "modules.json"
_HEADER = '"""{about}"""\n\nfrom __future__ import annotations\n\n{imports}\n\n{code}'


def run(params: SentenceParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Write the graphs to `onnx/`, the modules and configs beside it, the loader, a card and the checksums.

    Errors: CheckFailed OBE191 for a checkpoint whose tokenizer the loader cannot read.
    """
    package = outputs["package"]
    progress("copying the graphs")
    graphs = place_graphs(params.graphs, inputs, package, onnx_name)
    carry_configs(params.graphs, inputs, package)
    if is_embedder_task(params.task):
        _write_modules(package, inputs["model"])
    if not (package / "tokenizer.json").is_file():
        hint = ("hint", "save the checkpoint with a fast tokenizer, which writes `tokenizer.json`")
        raise CheckFailed("OBE191", f"`{LOADER}` needs `tokenizer.json`, which the model does not have", notes=[hint])
    (package / LOADER).write_text(loader_text(), encoding="utf-8", newline="\n")
    (package / "README.md").write_text(card(params, graphs), encoding="utf-8", newline="\n")
    progress("writing the checksums")
    return {"graphs": graphs, **closed(package)}


def onnx_name(name: str, role: str) -> str:
    """The name of a graph in a role: `model.onnx` as `O3` is `onnx/model_O3.onnx`."""
    stem = Path(name).name.removesuffix(".onnx")
    return f"onnx/{stem}_{role}.onnx" if role else f"onnx/{stem}.onnx"


def loader_text() -> str:
    """The loader as one file that stands alone: the server's code for pooling, and the loader itself."""
    texts = [(_folder_of_sources() / name).read_text(encoding="utf-8") for name in _SOURCES]
    about = re.match(r'"""(.*?)"""', texts[-1], re.DOTALL)
    assert about is not None, "BUG: the loader has a docstring"
    bodies = [_without_head(text) for text in texts]
    # What the loader imports includes all that the code for pooling does.
    return _HEADER.format(about=about[1], imports="\n".join(_imports(texts[-1])), code="\n\n".join(bodies))


def _folder_of_sources() -> Path:
    return Path(__file__).parents[2] / "serve" / "inference"


def _imports(text: str) -> list[str]:
    """The imports of a source and the blank line between their groups, without those of onnxbuild."""
    lines = text.splitlines()
    places = [number for number, line in enumerate(lines) if re.match(r"(import|from) (?!__future__|onnxbuild)", line)]
    return lines[places[0] : places[-1] + 1]


def _without_head(text: str) -> str:
    """The code after the docstring and the imports."""
    lines = text.splitlines()
    last = max(number for number, line in enumerate(lines) if re.match(r"(import|from) ", line))
    return "\n".join(lines[last + 1 :]).strip("\n") + "\n"


def _write_modules(package: Path, checkpoint: Path) -> None:
    """The modules of an embedder: those of the checkpoint with their weights, or mean pooling, as the library would."""
    if not (package / _MODULES).is_file():
        _write_mean_pooling(package)
        return
    for module in json.loads((package / _MODULES).read_text(encoding="utf-8")):
        folder = str(module.get("path") or "")
        for name in files_below(checkpoint / folder) if folder and (checkpoint / folder).is_dir() else ():
            if not (package / folder / name).exists():
                copy_model_file(checkpoint / folder / name, package / folder / name)


def _write_mean_pooling(package: Path) -> None:
    config = json.loads((package / "config.json").read_text(encoding="utf-8"))
    types = ("Transformer", ""), ("Pooling", "1_Pooling")
    modules: list[dict[str, Any]] = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(types)
    ]
    _write_json(package / _MODULES, modules)
    size = config.get("hidden_size") or config.get("dim") or config.get("d_model")
    _write_json(
        package / "1_Pooling" / "config.json", {"word_embedding_dimension": size, "pooling_mode_mean_tokens": True}
    )


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8", newline="\n")
