"""client-transformers.js: runs each dtype of a package in the library, and compares with Python's ONNX Runtime.

Both run the same file on the same inputs, which the library's own tokenizer and processor made. Whether a dtype is
accurate is a question for the validation of its target.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnxbuild.machine import usable_cores
from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.packaging.transformers_js import JavaScriptClientParams, Where
from onnxbuild.tables.publishing.javascript_dtypes import javascript_task, tolerance_of
from onnxbuild.tables.publishing.javascript_halves import halves_of
from onnxbuild.tables.tasks import TASKS, proper_name
from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.package.client_checks import reported, skipped, unequal
from onnxbuild.workers.package.javascript.client_answers import compared
from onnxbuild.workers.package.javascript.kernels_of_client import missing_kernels
from onnxbuild.workers.package.javascript.node_project import (
    CLIENTS,
    ClientAbsent,
    browser,
    node,
    project_folder,
    version_of,
)

_TEXTS = ("Where is it quiet tonight?", "It is quiet in the harbour, and a boat comes back in the morning.")
_TOKENS = 12  # that a decoder generates
_CASE_SECONDS = 600
# SwiftShader, which runs WebGPU without a GPU, has no `shader-f16`.
_NOT_RUN = {("webgpu", dtype) for dtype in ("fp16", "q4f16", "q2f16")}


def run(
    params: JavaScriptClientParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell
) -> Facts:
    """Run each dtype in each client that is present, one process per case.

    Facts: `cases` by client and dtype, as `client_answers.compared` returns them, and `max_difference`. If a client is
    absent, the check is skipped, unless another one fails. Errors: CheckFailed OBE190 for other numbers, OBE191 if the
    library does not load a dtype.
    """
    cases, absent = run_cases(params, inputs["model"], progress)
    _check(cases, version_of(params.library))
    if absent:
        return skipped(", ".join(dict.fromkeys(absent)), outputs)
    far = {name: facts["far"] for name, facts in cases.items()}
    name = f"Transformers.js {version_of(params.library)}"
    return reported({"client": name, "max_difference": far, "cases": cases}, outputs)


def run_cases(
    params: JavaScriptClientParams, package: Path, tell: Tell, *, calls: int = 0
) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The facts of each case by client and dtype, and what the clients need that could not be started.

    `calls`: how many further calls are timed; the facts have the fastest as `seconds`.
    """
    absent: list[str] = []
    cases: dict[str, dict[str, Any]] = {}
    for client in params.clients:
        try:
            setting = _setting(client, params, tell, calls)
        except ClientAbsent as error:
            absent.append(str(error))
            continue
        for dtype in (one for one in params.graphs if (client, one) not in _NOT_RUN):
            tell(f"{dtype} in {client}")
            cases[f"{client}/{dtype}"] = _case(client, dtype, setting, params, package)
    return cases, absent


def _setting(client: Where, params: JavaScriptClientParams, tell: Tell, calls: int) -> dict[str, Any]:
    """How a client is started, and the part of its job that names programs. Errors: ClientAbsent."""
    program = node()
    found = {} if client == "node" else {"browser": browser()}
    project = project_folder(params.library, tell)
    return {"program": program, "job": {"project": str(project), "device": _device(client), "calls": calls, **found}}


def _device(client: Where) -> str:
    return "cpu" if client == "node" else client


def _case(
    client: Where, dtype: str, setting: Mapping[str, Any], params: JavaScriptClientParams, package: Path
) -> dict[str, Any]:
    script = CLIENTS / ("in_node.mjs" if client == "node" else "in_chromium.mjs")
    job = {**setting["job"], **_job(params, package), "dtype": dtype}
    with TemporaryDirectory(prefix="onnxbuild-client-") as scratch:
        answer = _answer([setting["program"], str(script)], job, Path(scratch))
    tolerance = tolerance_of(client, params.library, dtype)
    facts = compared(answer, package, tolerance, dtype, usable_cores())
    missing = () if facts["equal"] else missing_kernels(package, dtype, client, params.library)
    return {**facts, "no_kernel": list(missing)} if missing else facts


def _job(params: JavaScriptClientParams, package: Path) -> dict[str, Any]:
    row, known = javascript_task(params.task, read_config(package)), TASKS[proper_name(params.task)]
    assert row is not None, "BUG: planning lets a task pass that has no pipeline"
    is_pair = row.reads == "pair" or _is_reranker(package)
    return {
        "root": str(package.resolve().parent),
        "model": package.name,
        "pipeline": row.pipeline,
        "class": row.of_class,
        "reads": "pair" if is_pair else row.reads,
        "texts": _TEXTS[:1] if known.generates else _TEXTS,
        "tokens": _TOKENS if known.generates else 0,
        "words": params.word_timestamps is True,
        "whole": params.halves != "only",
        "halves": _halves(package) if params.halves else {},
    }


def _halves(package: Path) -> dict[str, dict[str, str]]:
    """The class of each half by the name of its graph, and what it reads."""
    halves = halves_of(read_config(package).get("model_type"))
    return {half.file.removesuffix(".onnx"): {"class": half.javascript_class, "reads": half.reads} for half in halves}


def _is_reranker(package: Path) -> bool:
    """Whether the model is a classifier with one label, which rates pairs of texts."""
    config = read_config(package)
    return len(config.get("id2label") or {}) == 1 and str(config.get("architectures")).find("SequenceClass") > 0


def _answer(command: list[str], job: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    """What the script writes; an error in the place of an answer if it ends without one."""
    asked, answered = scratch / "job.json", scratch / "answer.json"
    asked.write_text(json.dumps(job), encoding="utf-8")
    try:
        done = subprocess.run(
            [*command, str(asked), str(answered)], capture_output=True, text=True, check=False, timeout=_CASE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer in {_CASE_SECONDS} s"}
    if not answered.is_file():
        return {"error": f"it ended with the exit code {done.returncode}: {done.stderr.strip()[-500:]}"}
    answer: dict[str, Any] = json.loads(answered.read_text(encoding="utf-8"))
    return {"error": answer["failed"]} if "failed" in answer else answer


def _notes(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    kernels = ", ".join(facts.get("no_kernel", ()))
    known = [("hint", f"this client has no right kernel for {kernels}: leave the dtype out")] if kernels else []
    return [("cause", facts["because"]), *known]


def _check(cases: Mapping[str, Mapping[str, Any]], version: str) -> None:
    for name, facts in cases.items():
        if not facts["loads"]:
            message = f"Transformers.js {version} does not run `{name}`"
            raise CheckFailed("OBE191", message, notes=_notes(facts), facts={"cases": dict(cases)})
        if not facts["equal"]:
            message = f"Transformers.js {version} computes other numbers than ONNX Runtime with `{name}`"
            raise unequal(f"{message}: {facts['because']}", {"cases": dict(cases)}, _notes(facts)[1:])
