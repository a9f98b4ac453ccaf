"""`python benchmarks/other_clients.py`: packages that are not for Transformers.js, each checked with its own client.

It builds `clients/others.yaml`, keeps what the checks found in `clients/others.json`, and exits with 1 if one failed.
`python benchmarks/clients.py --no-run` then writes the page.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

HERE = Path(__file__).parent
RESULTS = HERE / "clients" / "others.json"
KINDS = ("plain", "sentence-transformers", "ort-model-package", "genai", "triton", "ovms", "server")
MODELS = {
    "minilm": "all-MiniLM-L6-v2 (real weights)",
    "classifier": "BERT, classifier",
    "gpt2": "GPT-2",
}
_INTRODUCTION = (
    "`python benchmarks/other_clients.py` builds these from `benchmarks/clients/others.yaml` and checks each with the"
    " client that the table names. `skipped` says what was not installed, so that nothing is known about the package."
)


def main() -> int:
    """Build the packages and keep what their checks found."""
    work = Path(platformdirs.user_cache_path("onnxbuild-clients", appauthor=False)) / "others"
    command = [
        sys.executable, "-m", "onnxbuild", "run", str(HERE / "clients" / "others.yaml"), "--store", str(work / "store"),
        "--out", str(work / "out"), "--allow-path", str(HERE.parent / "manifests"), "--json",
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    ended = [json.loads(line) for line in done.stdout.splitlines()]
    found = {one["id"]: one["facts"] for one in ended if ":client-" in one.get("id", "") and one.get("facts")}
    RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return done.returncode


def section(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The part of docs/reference/clients.md about these packages."""
    lines = [
        "## Other packages",
        "",
        _INTRODUCTION,
        "",
        "| package | model | client | check |",
        "|---|---|---|---|",
    ]
    for kind in KINDS:
        for name, words in MODELS.items():
            if (facts := results.get(f"{name}:client-{kind}")) is not None:
                lines.append(f"| `{kind}` | {words} | {facts.get('client', 'not installed')} | {_cell(facts)} |")
    return "\n".join(lines) + "\n"


def _cell(facts: Mapping[str, Any]) -> str:
    if "skipped" in facts:
        return f"skipped: {facts['skipped']}"
    if "equal_tokens" in facts:
        return f"equal, {facts['equal_tokens']} tokens"
    far = max(facts["max_difference"].values())
    return f"equal, {far:.0e}" if far else "equal, 0"


if __name__ == "__main__":
    sys.exit(main())
