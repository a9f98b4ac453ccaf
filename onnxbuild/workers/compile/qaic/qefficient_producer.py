"""The graph as QEfficient, Qualcomm's package, writes it: with its own operators, which the compiler knows.

QEfficient keeps its exports in a folder of the user, by a hash of the config and the path, and not of the weights:
other weights at the same path give the old graph. So it runs in a process of its own with a home that is empty. What it
made is kept by our key, which has the digest of the checkpoint and the version of the package.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.qaic_backend import QaicParams
from onnxbuild.tables.compiling.pooled_outputs import Pooled
from onnxbuild.workers.compile.qaic.card_files import GRAPH
from onnxbuild.workers.compile.qaic.card_program import STATE
from onnxbuild.workers.compile.qaic.pooled_graph import pooled_as
from onnxbuild.workers.graphs.graph_files import load_model, save_model

_SCRIPT = Path(__file__).with_name("qefficient_script.py")
OUTPUT = "output"  # of an encoder


def produce(
    params: QaicParams, checkpoint: Path, folder: Path, *, decodes: bool
) -> tuple[dict[str, Any], tuple[str, ...], Pooled | None, dict[str, Any]]:
    """Write the graph to `folder`; return the config, the inputs of the cache, how it pools, and what is worth knowing.

    Errors: CheckFailed OBE240 for a pooling that no graph can have, OBE242 if QEfficient is absent or fails.
    """
    pooled = None if decodes else pooled_as(checkpoint, params.pooling)
    with TemporaryDirectory(prefix="onnxbuild-qefficient-") as home:
        order = {
            "checkpoint": str(checkpoint),
            "batched": isinstance(params.full_batch_size, int),
            "pooling": None if pooled is None else pooled.pooling,
            "normalized": pooled is not None and pooled.normalized,
            "answer": str(Path(home) / "onnxbuild-answer.json"),
        }
        answer = _ask(order, Path(home))
        model = _loaded(answer["graph"])
    save_model(model, folder / GRAPH)
    states = tuple(one.name for one in model.graph.input if one.name.startswith("past_"))
    kept = {one.name for one in model.graph.output}
    missing = [name for name in states if f"{name}{STATE}" not in kept]
    if missing:
        raise CheckFailed("OBE242", f"the graph of QEfficient does not return `{missing[0]}{STATE}`")
    if pooled is not None and OUTPUT not in kept:
        raise CheckFailed("OBE242", f"the graph of QEfficient does not return `{OUTPUT}`")
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    plain = {name: value for name, value in config.items() if name != "_name_or_path"}
    return plain, states, pooled, {"qefficient": answer["version"]}


def _ask(order: dict[str, Any], home: Path) -> dict[str, Any]:
    """Run the script in an empty home; its answer is in a file, since libraries print what they like."""
    environment = {**os.environ, "QEFF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, str(_SCRIPT), json.dumps(order)],
        cwd=home, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    print(done.stdout, done.stderr, sep="\n", flush=True)  # the log of the action
    if done.returncode != 0:
        raise _failed(_reason(done))
    try:
        answer: dict[str, Any] = json.loads(Path(order["answer"]).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _failed("it ended with code 0 and did not say where the graph is") from error
    return answer


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Why the script failed: by a signal, or with the last line that it said."""
    if done.returncode < 0:
        return f"it was killed by signal {-done.returncode}"
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return said[-1] if said else f"it ended with code {done.returncode}"


def _loaded(graph: str) -> Any:
    """The graph with its weights, before the home is removed. Errors: OBE242 without it, those of `load_model`."""
    try:
        return load_model(Path(graph))
    except OSError as error:
        raise _failed(f"it ended with code 0, and its graph `{Path(graph).name}` is not there") from error


def _failed(reason: str) -> CheckFailed:
    hint = "install QEfficient and the versions that it asks for in an environment, and name it as a toolchain"
    return CheckFailed("OBE242", f"QEfficient wrote no graph: {reason}", notes=[("hint", hint)])
