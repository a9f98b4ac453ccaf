"""Peak memory and time of each step on a model of gigabytes, compared with `onnx.load` and `onnx.save`.

`python benchmarks/big_models.py [--layers 11] [--steps export,graph-only,…] [--work FOLDER]`. The model is a Llama with
seeded random weights: 11 layers of TinyLlama's sizes are 2.5 GB in fp32, 22 are its 1.1 billion parameters and 4.4 GB.
Every step runs in its own process. Its memory is sampled 20 times per second, in two parts: what the process allocated
(anonymous), and what it mapped from files, which the kernel can take back when another process needs memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
TASK = "text-generation-with-past"
SIZES = {
    "hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 32, "num_key_value_heads": 4,
    "vocab_size": 32000, "max_position_embeddings": 2048,
}  # fmt: skip

# Step → its worker, its params, and the folders of its inputs. `onnx` is what a script without onnxbuild does.
STEPS: Mapping[str, tuple[str, dict[str, object], dict[str, str]]] = {
    "fetch (random weights)": ("fetch", {"origin": "random", "architecture": "llama", "task": TASK, "config": {}}, {}),
    "export": ("export", {"task": TASK}, {"model": "fetch"}),
    "graph only (O1)": ("optimize", {"level": "O1"}, {"model": "export"}),
    "4 bit, weight-only": ("quantize", {"method": "weight-only", "bits": 4}, {"model": "export"}),
    "dynamic int8": ("quantize", {"method": "dynamic", "preset": "avx512_vnni"}, {"model": "export"}),
    "validate": ("validate", {"task": TASK, "shapes": [[1, 8]]}, {"model": "export", "reference": "fetch"}),
    "onnx.load + onnx.save": ("onnx", {}, {"model": "export"}),
}


def main() -> None:
    """Run the chosen steps in order, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--layers", type=int, default=11)
    parser.add_argument("--steps", help="names or beginnings of names, separated by commas (default: all)")
    parser.add_argument("--work", type=Path, help="keep the results in this folder, and reuse those of an earlier run")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        _run_one(json.loads(arguments.one))
        return
    with tempfile.TemporaryDirectory() as scratch:
        _measure(arguments.work or Path(scratch), arguments.layers, (arguments.steps or "").split(","))


def _measure(work: Path, layers: int, wanted: list[str]) -> None:
    print(f"{layers} layers\n\n| step | seconds | allocated, GB | with mapped files, GB | output, GB | weights file |")
    print("|---|---|---|---|---|---|")
    for title, (worker, params, inputs) in STEPS.items():
        if not any(title.startswith(start) for start in wanted):
            continue
        output = work / title.split()[0].replace("+", "")
        fresh = {**params, "config": {**SIZES, "num_hidden_layers": layers}} if worker == "fetch" else params
        request = {
            "worker": worker,
            "params": fresh,
            "inputs": {port: str(work / place) for port, place in inputs.items()},
            "output": str(output),
        }
        output.mkdir(parents=True, exist_ok=True)
        seconds, allocated, resident = _watched([sys.executable, __file__, "--one", json.dumps(request)])
        size = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
        kept = _same_weights(work / "export", output) if worker in {"optimize", "onnx"} else ""
        row = (title, f"{seconds:.0f}", f"{allocated / 1e9:.2f}", f"{resident / 1e9:.2f}", f"{size / 1e9:.2f}", kept)
        print("| " + " | ".join(row) + " |", flush=True)


def _watched(words: list[str]) -> tuple[float, int, int]:
    """Seconds, peak anonymous memory and peak resident memory. Errors: RuntimeError if the process fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    began = time.monotonic()
    allocated = resident = 0
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            memory = _memory(process.pid)
            allocated, resident = max(allocated, memory[0]), max(resident, memory[1])
            time.sleep(0.05)
        seconds = time.monotonic() - began
        log.seek(0)
        if process.returncode != 0:
            raise RuntimeError(log.read().decode(errors="replace")[-3000:])
    return seconds, allocated, resident


def _memory(process: int) -> tuple[int, int]:
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0, 0
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "VmRSS"))}
    return kilobytes.get("RssAnon", 0) * 1024, kilobytes.get("VmRSS", 0) * 1024


def _same_weights(before: Path, after: Path) -> str:
    """Whether the weights files are equal byte for byte, so that a store keeps them once."""
    digests = []
    for folder in (before, after):
        path = max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "blake2b").digest())
    return "the same" if digests[0] == digests[1] else "different"


def _run_one(request: dict[str, object]) -> None:
    """Run one step in this process."""
    import importlib
    from typing import Any, get_type_hints

    import msgspec

    from onnxbuild.tables.thresholds import THRESHOLDS

    inputs: Any = {port: Path(path) for port, path in request["inputs"].items()}  # type: ignore[attr-defined]
    output = Path(str(request["output"]))
    if request["worker"] == "onnx":
        import onnx

        model = onnx.load(inputs["model"] / "model.onnx")
        onnx.save(model, output / "model.onnx", save_as_external_data=True, location="model.onnx_data")
        return
    run = importlib.import_module(f"onnxbuild.workers.{request['worker']}.worker").run
    settled: Any = request["params"]
    if request["worker"] == "validate":
        settled = {**settled, "thresholds": THRESHOLDS["generation"]["fp32"]}
    port = "report" if request["worker"] == "validate" else "model"
    facts = run(msgspec.convert(settled, get_type_hints(run)["params"]), inputs, {port: output}, lambda *_: None)
    print(msgspec.json.encode(facts).decode())


if __name__ == "__main__":
    main()
