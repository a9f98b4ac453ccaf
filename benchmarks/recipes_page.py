"""docs/reference/javascript-recipes.md, from what `transformers_js_recipes.py` has kept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from onnxbuild.commands.converting.convert_js import AS_Q8, TARGETS

HERE = Path(__file__).parent
RESULTS = HERE / "clients" / "recipes.json"
PAGE = HERE.parent / "docs" / "reference" / "javascript-recipes.md"
INTRODUCTION = HERE / "clients" / "recipes_introduction.md"
CLIENTS = {"node": "Node", "wasm": "WebAssembly"}
DTYPES = ("fp16", "q8", "int8", "uint8", "q4", "q4f16", "bnb4")


_ORDER = {"ours": 0, "theirs": 1}
REPEATED = {("int8", "ours"), ("uint8", "ours")}  # the graph of `q8`
_HEADS = {
    "error": "error",
    "cosine": "least cosine",
    "top1": "equal winners",
    "perplexity": "perplexity",
    "megabytes": "MB",
    "speed": "ONNX Runtime",
}
_FORMS = {
    "error": "{:.4f}",
    "cosine": "{:.4f}",
    "top1": "{:.3f}",
    "perplexity": "{:.4f}",
    "megabytes": "{:.1f}",
}


class Model(NamedTuple):
    """A model of the page."""

    words: str
    task: str


MODELS = {
    "minilm": Model("all-MiniLM-L6-v2, real weights", "feature-extraction"),
    "classifier": Model("MiniLM's real weights with a trained head, classifier", "text-classification"),
    "gpt2": Model("GPT-2, 4 layers of 256, trained", "text-generation-with-past"),
    "t5": Model("T5, 2 layers of 256, random weights", "text2text-generation-with-past"),
    "whisper": Model("Whisper, 2 layers of 384, random weights", "automatic-speech-recognition-with-past"),
}


def target_of(dtype: str) -> str:
    """The target of `convert-js` that a dtype is."""
    return "q8" if dtype in AS_Q8 else dtype


def own_targets() -> dict[str, str]:
    """The targets of `convert-js`."""
    return {dtype: text for dtype, text in TARGETS.items() if target_of(dtype) == dtype}


def recipes() -> dict[str, str]:
    """The recipe of each dtype, which a page has to name as long as it is that of the code."""
    return {dtype: TARGETS[target_of(dtype)] for dtype in DTYPES}


def page(results: Mapping[str, Any]) -> str:
    """The text of the page."""
    parts = [INTRODUCTION.read_text(encoding="utf-8")]
    parts += [_section(name, results[name]["rows"]) for name in MODELS if name in results]
    return "\n".join([*parts, _recipes()])


def _section(name: str, rows: Mapping[str, Any]) -> str:
    clients = [client for client in CLIENTS if any(client in one for of in rows.values() for one in of.values())]
    left_out = "top1" if MODELS[name].task == "feature-extraction" else ""  # vectors have no winner
    columns = [one for one in (*_HEADS, *clients) if one in rows["fp32"]["ours"] and one != left_out]
    head = ["dtype", "recipe", *(_HEADS.get(one) or CLIENTS[one] for one in columns)]
    lines = [f"## {MODELS[name].words}", "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for dtype in ("fp32", *DTYPES):
        for whose in sorted(rows.get(dtype, {}), key=lambda one: _ORDER.get(one, len(_ORDER))):
            if (dtype, whose) not in REPEATED:
                found = rows[dtype][whose]
                cells = [_cell(column, found) for column in columns]
                lines.append(f"| `{dtype}` | {_words(dtype, whose)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _words(dtype: str, whose: str) -> str:
    if whose == "ours":
        return "export" if dtype == "fp32" else "**onnxbuild**"
    return "the library's" if whose == "theirs" else whose


def _cell(column: str, found: Mapping[str, Any]) -> str:
    value = found.get(column)
    if value is None or math.isnan(value):
        return ""
    note = "" if found.get(f"{column}_equal", True) else ", **differs**"
    return _FORMS.get(column, "{:.2f} ×").format(value) + note


def _recipes() -> str:
    lines = ["## The recipes of `convert-js`", "", "| dtype | target |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{dtype}` | `{text}` |" for dtype, text in recipes().items()), ""])
