"""Checks a package for sentence-transformers with both of its loaders, on the same texts.

The loader without torch runs in a process in which importing torch or transformers raises. It has to compute what the
library computes with the same file, and for embedders both have to agree with ONNX Runtime's own vectors.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.packaging.package_kind import ClientParams
from onnxbuild.tables.publishing.sentence_tasks import is_embedder_task
from onnxbuild.workers.inputs.sentences import SENTENCES
from onnxbuild.workers.package.client_checks import (
    absent_module,
    check_equal,
    largest_difference,
    reported,
    skipped,
    unopened,
)
from onnxbuild.workers.package.sentence_folder import onnx_name

_BOUND = 1e-6  # of vectors whose length is about 1; of others, and of logits, relative to the largest value
_BATCH = 7  # of 19 texts: several batches, of which the last is smaller
_TEXTS = 19

# The last text is longer than most models read.
_LONG = " ".join(SENTENCES)

_ALONE = """
import importlib.abc, json, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "sentence_transformers", "optimum", "onnxbuild"}:
            raise ImportError(f"{name} is imported by a loader that must not need it")
sys.meta_path.insert(0, Absent())
import numpy as np
sys.path.insert(0, sys.argv[1])
from onnx_model import OnnxModel
task = json.load(sys.stdin)
model = OnnxModel(sys.argv[1], sys.argv[2], threads=1)
if task["embeds"]:
    found = [model.encode(task["texts"], batch_size=task["batch"], **options) for options in task["options"]]
else:
    found = [model.predict([tuple(pair) for pair in task["texts"]], batch_size=task["batch"])]
np.savez(sys.argv[3], *found)
"""


def run(params: ClientParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Load every graph with the library and with the loader, and compare what they compute.

    Errors: CheckFailed OBE190 for other numbers, OBE191 if one of them does not open the package.
    """
    missing = absent_module("sentence_transformers", "optimum.onnxruntime", "tokenizers")
    if missing is not None:
        return skipped("needs sentence-transformers and optimum-onnx", outputs)
    import sentence_transformers

    embeds = is_embedder_task(params.task)
    differences = {}
    for role in params.graphs:
        name = onnx_name("model.onnx", role)
        progress(f"loading {name}")
        library = _Library(inputs["model"], name, embeds=embeds, trusts_code=params.trusts_code)
        task = _task(inputs["model"], embeds=embeds)
        alone = _alone(inputs["model"], name, task)
        differences[name] = max(map(_relative, alone, library.answers(task)))
    check_equal(differences, _BOUND, "the loader without torch")
    return reported(
        {
            "client": f"sentence-transformers {sentence_transformers.__version__}, and onnx_model.py without torch",
            "max_difference": differences,
            "bound": _BOUND,
        },
        outputs,
    )


def _relative(alone: np.ndarray, library: np.ndarray) -> float:
    """The largest difference, relative to the largest value where that is above 1."""
    scale = max(1.0, float(np.abs(library).max(initial=0.0)))
    return largest_difference(alone, library, "onnx_model.py") / scale


def _task(package: Path, *, embeds: bool) -> dict[str, Any]:
    """The texts that both loaders read, and for embedders the options of each call: prompts, and shorter vectors."""
    texts: list[Any] = [SENTENCES[number % len(SENTENCES)] for number in range(_TEXTS)] + [_LONG, ""]
    if not embeds:
        return {"embeds": False, "batch": _BATCH, "texts": [[text, texts[-3 - i % 5]] for i, text in enumerate(texts)]}
    prompts = _json(package / "config_sentence_transformers.json").get("prompts") or {}
    names: list[dict[str, Any]] = [{"prompt_name": name} for name in sorted(prompts)]
    options = [{}, {"prompt": "query: "}, {"truncate_dim": 5, "normalize_embeddings": True}, *names]
    return {"embeds": True, "batch": _BATCH, "texts": texts, "options": options}


def _json(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


class _Library:
    """sentence-transformers with its ONNX backend, on one graph."""

    def __init__(self, package: Path, name: str, *, embeds: bool, trusts_code: bool) -> None:
        import sentence_transformers

        from onnxbuild.workers.engines.onnxruntime_engine import session_options

        loader = sentence_transformers.SentenceTransformer if embeds else sentence_transformers.CrossEncoder
        options = {
            "file_name": Path(name).name,
            "provider": "CPUExecutionProvider",
            "session_options": session_options(1),
        }
        try:
            self._model: Any = loader(
                str(package),
                backend="onnx",
                device="cpu",
                model_kwargs=options,
                local_files_only=True,
                trust_remote_code=trusts_code,
            )
        except Exception as error:
            raise unopened("sentence-transformers", name, error) from error

    def answers(self, task: Mapping[str, Any]) -> list[np.ndarray]:
        """What the library computes for a task, an array per call."""
        common = {"batch_size": task["batch"], "show_progress_bar": False}
        if not task["embeds"]:
            return [self._model.predict(task["texts"], **common)]
        return [self._model.encode(task["texts"], **common, **options) for options in task["options"]]


def _alone(package: Path, name: str, task: Mapping[str, Any]) -> list[np.ndarray]:
    """What the loader computes, in a process that can import neither torch nor transformers."""
    result = Path("alone.npz").absolute()  # in the action's own folder
    command = [sys.executable, "-B", "-c", _ALONE, str(package), Path(name).name, str(result)]
    done = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr)
        last = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise CheckFailed("OBE191", f"onnx_model.py does not open `{name}`", notes=[("cause", last)])
    with np.load(result) as arrays:
        return [arrays[key] for key in arrays.files]
