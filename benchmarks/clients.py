"""`python benchmarks/clients.py`: whether packages run in their clients, and compute what ONNX Runtime computes.

It builds `clients/families.yaml`, runs each package in each client, and writes docs/reference/clients.md. Results are
kept in `clients/results.json`. The exit code is 1 if a case fails that the page does not explain.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import other_clients
import platformdirs
from msgspec import UNSET

from onnxbuild.steps.packaging.transformers_js import JavaScriptClientParams
from onnxbuild.workers.package.javascript.javascript_client import run_cases
from onnxbuild.workers.package.javascript.node_project import version_of

HERE = Path(__file__).parent
FAMILIES = HERE / "clients" / "families.yaml"
RESULTS = HERE / "clients" / "results.json"
INTRODUCTION = HERE / "clients" / "introduction.md"
PAGE = HERE.parent / "docs" / "reference" / "clients.md"
DTYPES = ("fp32", "fp16", "q8", "int8", "uint8", "q4", "q4f16", "bnb4")
# The page explains these: products of signed weights, which browsers round otherwise in version 4 (OB777).
ROUNDED_OTHERWISE = ("4/wasm/int8", "4/webgpu/int8")
# It also explains these, in which kernels of another year round integers.
ROUNDED_BEFORE = {("sam", "3/node/q8"), ("sam", "3/node/uint8")}
HALVED = ("siglip",)  # their packages also have the two halves
WORDS = {"node": "Node", "wasm": "Chromium, WebAssembly", "webgpu": "Chromium, WebGPU"}

# Model in the manifest → the words of the page, and its task.
MODELS = {
    "minilm": ("all-MiniLM-L6-v2 (real weights)", "feature-extraction"),
    "classifier": ("BERT, classifier", "text-classification"),
    "tokens": ("DistilBERT, token classifier", "token-classification"),
    "qa": ("BERT, question answering", "question-answering"),
    "reranker": ("BERT, reranker", "text-classification"),
    "gpt2": ("GPT-2", "text-generation-with-past"),
    "llama": ("Llama", "text-generation-with-past"),
    "qwen3": ("Qwen3", "text-generation-with-past"),
    "t5": ("T5", "text2text-generation-with-past"),
    "whisper": ("Whisper", "automatic-speech-recognition-with-past"),
    "vit": ("ViT", "image-classification"),
    "clip": ("CLIP", "zero-shot-image-classification"),
    "siglip": ("SigLIP, whole and in halves", "zero-shot-image-classification"),
    "sam": ("SAM", "feature-extraction"),
}


def main() -> int:
    """Build, run the chosen clients, and write the page."""
    options = _arguments()
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    if not options.no_run:
        packages = _built(options.work, options.model)
        for name in options.model:
            for library in options.library:
                results.setdefault(name, {}).update(_cases(packages, name, library, options.client, options.dtype))
                RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(page(results), encoding="utf-8")
    unexplained = [
        f"{name} {case}: {facts['because']}"
        for name, cases in results.items()
        for case, facts in cases.items()
        if not facts["equal"] and not facts.get("no_kernel") and not (facts["loads"] and _is_explained(name, case))
    ]
    print("\n".join(unexplained) or "every case is equal, or the page explains it")
    return 1 if unexplained else 0


def _is_explained(name: str, case: str) -> bool:
    return case in ROUNDED_OTHERWISE or (name, case) in ROUNDED_BEFORE


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    work = Path(platformdirs.user_cache_path("onnxbuild-clients", appauthor=False))
    parser.add_argument("--work", type=Path, default=work, help="where the packages are built")
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--client", nargs="+", choices=WORDS, default=list(WORDS))
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--library", nargs="+", type=int, choices=(3, 4), default=[3, 4])
    parser.add_argument("--no-run", action="store_true", help="write the page from the kept results")
    return parser.parse_args()


def _built(work: Path, names: list[str]) -> Path:
    out = work / "out"
    command = [
        sys.executable, "-m", "onnxbuild", "run", str(FAMILIES), *names, "--store", str(work / "store"), "--out",
        str(out), "--allow-path", str(HERE.parent / "manifests"),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return out


def _cases(packages: Path, name: str, library: int, clients: list[str], dtypes: list[str]) -> dict[str, Any]:
    params = JavaScriptClientParams(
        task=MODELS[name][1],
        graphs=dict.fromkeys(dtypes, ""),
        clients=tuple(clients),
        library=library,
        halves="beside" if name in HALVED else UNSET,
    )
    cases, absent = run_cases(params, packages / name / "packages" / "transformers.js", lambda *_: None)
    if absent:
        sys.exit(f"this machine lacks a client: {', '.join(absent)}")
    for case, facts in cases.items():
        print(f"{name} {library}/{case}", facts["equal"], facts.get("far"), facts.get("because", ""), flush=True)
    return {f"{library}/{case}": facts for case, facts in cases.items()}


# -- the page ---------------------------------------------------------------------------------------------------------


def page(results: dict[str, dict[str, Any]]) -> str:
    """The text of docs/reference/clients.md."""
    parts = [INTRODUCTION.read_text(encoding="utf-8")]
    for library in (4, 3):
        for client, words in WORDS.items():
            if any(f"{library}/{client}/{dtype}" in cases for cases in results.values() for dtype in DTYPES):
                parts.append(f"## Transformers.js {version_of(library)}, {words}\n\n{_table(results, library, client)}")
    others = json.loads(other_clients.RESULTS.read_text(encoding="utf-8"))
    return "\n".join([*parts, other_clients.section(others)])


def _table(results: dict[str, dict[str, Any]], library: int, client: str) -> str:
    lines = ["| model | " + " | ".join(f"`{dtype}`" for dtype in DTYPES) + " |", "|---|" + "---|" * len(DTYPES)]
    for name, (words, _) in MODELS.items():
        cells = (_cell(results.get(name, {}).get(f"{library}/{client}/{dtype}")) for dtype in DTYPES)
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(facts: dict[str, Any] | None) -> str:
    if facts is None:
        return "not run"
    if not facts["loads"]:
        return f"no kernel: `{facts['no_kernel'][0]}`" if facts.get("no_kernel") else "does not load"
    word = "equal" if facts["equal"] else "**wrong**" if facts.get("no_kernel") else "**differs**"
    if "tokens" in facts:
        return f"{word}, {facts['same_tokens']} of {facts['tokens']} tokens"
    return f"{word}, {facts['far']:.0e}" if facts["far"] else f"{word}, 0"


if __name__ == "__main__":
    sys.exit(main())
