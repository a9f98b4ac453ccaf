"""What the workers of backends share: the stages of the graphs, a compiler as a program, and the facts."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxbuild.protocol import CheckFailed, Facts
from onnxbuild.steps.compiling.compiled_record import (
    RECORD,
    SCRIPT,
    CompiledRecord,
    CompiledStage,
    StageInput,
    write_record,
)
from onnxbuild.tables.graph_stages import stages_of
from onnxbuild.workers.folders.model_files import carry_along, files_below
from onnxbuild.workers.folders.model_graphs import data_below

_OURS = (RECORD, "onnxbuild.json")  # a compiler may not bring its own
_TAIL = 20  # lines of the compiler's output that a message has


def stages_in(folder: Path, files: Mapping[str, str]) -> dict[str, CompiledStage]:
    """The stages of the ONNX graphs of a folder. `files`: the backend's file of each graph, by the graph's name."""
    import onnx

    stages: dict[str, CompiledStage] = {}
    for name in files:
        graph = onnx.load(folder / name, load_external_data=False).graph
        held = {one.name for one in graph.initializer}
        inputs = {one.name: StageInput(_shape(one), _type(one)) for one in graph.input if one.name not in held}
        outputs = {one.name: _shape(one) for one in graph.output}
        for stage, branch in stages_of(Path(name).name, list(inputs)).items():
            stages[stage] = CompiledStage(file=files[name], inputs=inputs, outputs=outputs, branch=branch)
    return stages


def _shape(value: Any) -> tuple[int | str, ...]:
    dimensions = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dimensions)


def _type(value: Any) -> str:
    import onnx

    names = {"float32": "float", "float64": "double"}
    name = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
    return f"tensor({names.get(name, name)})"


def _beside_graphs(source: Path, folder: Path) -> None:
    """Copy what an export has besides graphs and their data."""
    carry_along(source, folder, besides=data_below(source))


def finish(
    source: Path,
    folder: Path,
    record: CompiledRecord,
    *,
    carry: Callable[[Path, Path], None] = _beside_graphs,
    **facts: Any,
) -> Facts:
    """Write `compiled.json` over all files of the backend, add tokenizer and configs, and return the facts.

    The backend's files are all that the folder has when this is called, but for those that onnxbuild writes itself.
    `carry`: copies the tokenizer and the configs from the source.
    """
    for name in _OURS:
        (folder / name).unlink(missing_ok=True)
    files = files_below(folder)
    write_record(folder, record, files)
    carry(source, folder)
    return {
        "backend": record.backend,
        "state": record.state,
        "compiler": {"name": record.compiler.name, "version": record.compiler.version},
        "device": record.device,
        **({"needs": record.needs} if record.needs else {}),
        "bytes": sum((folder / name).stat().st_size for name in files),
        "stages": list(record.stages),
        **facts,
    }


def write_script(folder: Path, command: Sequence[str]) -> None:
    """Write `compile.sh`, which runs a compiler in the folder with exactly this command: `sh compile.sh`."""
    lines = (
        "#!/bin/sh",
        "# What onnxbuild would have run, or has run, in this folder.",
        "set -e",
        'cd "$(dirname "$0")"',
    )
    (folder / SCRIPT).write_text("\n".join((*lines, shlex.join(command), "")), encoding="utf-8")


def run_compiler(
    command: Sequence[str], folder: Path, *, makes: Sequence[str], environment: Mapping[str, str] | None = None
) -> str:
    """Run a compiler in `folder` and return its output; `makes`: the files that it must leave there.

    The time limit of the action ends it with the worker. Errors: CheckFailed OBE235 if it fails or is killed, OBE236
    if it ends well without a file, OBE237 if it does not start.
    """
    try:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **(environment or {})}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    except OSError as error:
        raise CheckFailed("OBE237", f"`{command[0]}` does not start: {error.strerror}") from error
    output = done.stdout.decode("utf-8", "replace")
    print(output, flush=True)  # the log of the action
    if done.returncode != 0:
        raise CheckFailed("OBE235", f"`{command[0]}` {_ended(done.returncode)}", notes=_said(output, command))
    missing = [name for name in makes if not _has_content(folder / name)]
    if missing:
        message = f"`{command[0]}` ended with code 0 and did not write `{missing[0]}`"
        raise CheckFailed("OBE236", message, notes=_said(output, command))
    return output


def _has_content(path: Path) -> bool:
    return path.is_dir() and any(path.iterdir()) if path.is_dir() else path.is_file() and path.stat().st_size > 0


def _ended(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    names = {one.value: one.name for one in signal.Signals}
    return f"was killed by {names.get(-code, f'signal {-code}')}"


def _said(output: str, command: Sequence[str]) -> list[tuple[str, str]]:
    tail = " | ".join(line.strip() for line in output.splitlines()[-_TAIL:] if line.strip())
    return [*([("output", tail)] if tail else []), ("command", shlex.join(command))]
