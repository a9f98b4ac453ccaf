"""server: writes the folder with the app, the model, the requirements, the Dockerfile and the recorded answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.packaging.server_package import REQUIRED, ServerParams
from onnxbuild.tables.tasks import proper_name
from onnxbuild.workers.inputs.sentences import SENTENCES
from onnxbuild.workers.package.checksums import closed
from onnxbuild.workers.package.placed_graphs import carry_configs, place_graphs
from onnxbuild.workers.package.servers.carried_code import write_code
from onnxbuild.workers.package.servers.server_texts import DOCKER_IGNORE, dockerfile, readme

MODEL = "model"
_TEXTS = list(SENTENCES[:5])  # of several lengths, so that rows are padded
_DECIMALS = 7

# Run in the folder, as its app will: onnxbuild itself must not be importable there.
_RECORD = """
import json, sys
from pathlib import Path
sys.modules["onnxbuild"] = None
sys.path.insert(0, sys.argv[1])
from answers import addresses_of, open_model
model = open_model(Path(sys.argv[1]), threads=1)
bodies = json.load(sys.stdin)
cases = [{"path": path, "body": bodies[path], "answer": answer(model, bodies[path])}
         for path, answer in addresses_of(model).items()]
json.dump(cases, sys.stdout)
"""


def run(params: ServerParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Write the folder, and record what its model answers.

    Errors: CheckFailed OBE191 for a model that the server cannot open, with its reason.
    """
    package = outputs["package"]
    progress("copying the graph")
    graphs = place_graphs(params.graphs, inputs, package, lambda name, _role: f"{MODEL}/{Path(name).name}")
    carry_configs(params.graphs, inputs, package / MODEL)
    write_code(package)
    _write_json(package / "server.json", {"task": proper_name(params.task)})
    progress("recording the answers")
    cases = _recorded(package)
    _write_json(package / "golden.json", {"tolerance": params.tolerance, "cases": cases})
    paths = [case["path"] for case in cases]
    texts = {"requirements.txt": requirements(), "Dockerfile": dockerfile(), ".dockerignore": DOCKER_IGNORE,
             "README.md": readme(paths)}  # fmt: skip
    for name, text in texts.items():
        (package / name).write_text(text, encoding="utf-8", newline="\n")
    return {"graphs": graphs, "addresses": paths, **closed(package)}


def requirements() -> str:
    """The versions with which the folder was written. A package that is not installed here has no version."""
    return "".join(f"{_pinned(name)}\n" for name in REQUIRED)


def _pinned(name: str) -> str:
    try:
        return f"{name}=={metadata.version(name)}"
    except metadata.PackageNotFoundError:
        return f"{name}  # not installed where this was written, so no version is known to work"


def _recorded(package: Path) -> list[dict[str, Any]]:
    bodies = {
        "/v1/embeddings": {"input": _TEXTS},
        "/classify": {"input": _TEXTS},
        "/token-classify": {"input": _TEXTS[:2]},
        "/v1/rerank": {"query": _TEXTS[3], "documents": _TEXTS[:3]},
        "/v1/completions": {"prompt": _TEXTS[0], "max_tokens": 7},
    }
    command = [sys.executable, "-B", "-c", _RECORD, str(package)]
    done = subprocess.run(command, input=json.dumps(bodies), capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr)
        last = (done.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise CheckFailed("OBE191", "the server of the package does not open its model", notes=[("cause", last)])
    return [{**case, "answer": _rounded(case["answer"])} for case in json.loads(done.stdout)]


def _rounded(value: Any) -> Any:
    """The numbers of an answer with few digits: further ones differ between machines, and say nothing."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, _DECIMALS) if isinstance(value, float) else value


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")
