"""One batch of types through onnxbuild as its users call it: a manifest, `lint`, and `run --json`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import worlds
from model_lists import Kind

from onnxbuild.tables.bounds.metric import Metric
from onnxbuild.tables.thresholds import METRICS, default_bounds

VARIANTS: Mapping[str, str] = {
    "fp32": "",
    "o2": "optimize: O2",
    "int8": "quantize: {method: dynamic}",
    "q4": "quantize: {method: weight-only, bits: 4}",
}
_QUANTIZED = ("int8", "q4")
_LARGE = 1e9  # a bound for metrics that have no largest value
_WITHOUT_LOGITS = ("pp_lcnet",)  # its class for pictures calls them `last_hidden_state`, so it is bounded as vectors

# The same as in tests/workers/toolchain5.py: both share one environment.
TRANSFORMERS_5 = ("transformers==5.23.0", "torch==2.13.0", "onnxscript==0.7.2", "onnx==1.23.2", "onnxruntime==1.31.1",
                  "onnxruntime-genai==0.18.0", "sentencepiece", "sentence-transformers==5.7.0")  # fmt: skip


class Places(NamedTuple):
    """The folder of checkpoints and manifests, the store of the builds, and whether what it has counts."""

    work: Path
    store: Path
    again: bool = False


class Outcome(NamedTuple):
    """What onnxbuild made of a variant: its folder, or the code and the message of the refusal."""

    folder: Path | None
    code: str = ""
    message: str = ""


class Batch:
    """Some types of one exporter, in the folder that keeps checkpoints and manifests."""

    def __init__(self, places: Places, kinds: list[Kind], variants: Iterable[str], jobs: int) -> None:
        """Write nothing yet."""
        self._work, self._store, self._jobs = places.work, places.store, jobs
        self._force = ["--force"] if places.again else []
        self._kinds, self._variants = kinds, tuple(variants)
        self._out = places.work / "out"

    def build(self) -> dict[tuple[str, str], Outcome]:
        """The outcome by type and variant."""
        wanted = {(kind.model_type, variant) for kind in self._kinds for variant in self._variants}
        refused: dict[tuple[str, str], Outcome] = {}
        # A fault can hide another one, so lint runs until it finds nothing.
        while (left := wanted - refused.keys()) and (faults := self._lint(left)):
            refused.update(faults)
        return {**refused, **(self._run(left) if left else {})}

    def _manifest(self, left: set[tuple[str, str]]) -> tuple[Path, list[tuple[str, str]]]:
        """The manifest, and for each of its lines the type and the variant that it belongs to."""
        lines: list[tuple[str, str, str]] = [("onnxbuild: 1", "", "")]
        if self._kinds[0].exporter == "transformers":
            lines.append((f"toolchains: {{tf5: {{requirements: {json.dumps(TRANSFORMERS_5)}}}}}", "", ""))
        lines.append(("models:", "", ""))
        for kind in self._kinds:
            variants = [variant for variant in self._variants if (kind.model_type, variant) in left]
            if variants:
                lines += [(line, kind.model_type, variant) for line, variant in _model(kind, variants)]
        path = self._work / f"{self._kinds[0].exporter}-{self._kinds[0].model_type}.yaml"
        path.write_text("".join(f"{line}\n" for line, *_ in lines), encoding="utf-8")
        return path, [(model, variant) for _, model, variant in lines]

    def _lint(self, left: set[tuple[str, str]]) -> dict[tuple[str, str], Outcome]:
        manifest, owners = self._manifest(left)
        faults = json.loads(self._command("lint", manifest, "--format", "json").stdout or "[]")
        found: dict[tuple[str, str], Outcome] = {}
        for fault in faults:
            if fault["severity"] == "error":
                found.update(dict.fromkeys(_owned(fault, owners, left), Outcome(None, fault["code"], fault["message"])))
        return found

    def _run(self, left: set[tuple[str, str]]) -> dict[tuple[str, str], Outcome]:
        manifest, _ = self._manifest(left)
        done = self._command(
            "run", manifest, "-k", "--json", "-j", str(self._jobs), "--timeout", "900", "--out", str(self._out),
            *self._force,
        )  # fmt: skip
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        ended = {event["id"]: event for event in events if event["event"] == "action"}
        if not ended:
            raise RuntimeError(f"onnxbuild run gave no events (exit code {done.returncode}): {done.stderr[-600:]}")
        return {key: self._outcome(*key, ended) for key in left}

    def _outcome(self, model: str, variant: str, ended: Mapping[str, Any]) -> Outcome:
        ours = [event for name, event in ended.items() if _belongs(name, model, variant)]
        failure = next((event["failure"] for event in ours if event.get("failure")), None)
        if failure:
            return Outcome(None, failure["code"], failure["message"])
        if any(event["outcome"] in {"blocked", "skipped"} for event in ours):
            blocked = next(event for event in ours if event["outcome"] in {"blocked", "skipped"})
            cause = ended.get(blocked.get("blocked_by") or "", {}).get("failure") or {}
            return Outcome(None, cause.get("code", "?"), cause.get("message", "blocked"))
        return Outcome(self._out / model / variant)

    def _command(self, name: str, manifest: Path, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "onnxbuild", name, manifest.name, "--store", str(self._store), *words]
        return subprocess.run(
            command, cwd=self._work, env=worlds.environment(), capture_output=True, text=True, check=False
        )


def _belongs(action: str, model: str, variant: str) -> bool:
    """Whether a variant needs this action to succeed: a quantized one needs the proof of its source, too."""
    proofs = action == f"{model}/fp32:validate" or (
        action.startswith(f"{model}/") and action.endswith(":validate-fp32")
    )
    return action.startswith((f"{model}/{variant}:", f"{model}:")) or (proofs and variant in _QUANTIZED)


def _model(kind: Kind, variants: list[str]) -> Iterable[tuple[str, str]]:
    """The lines of a model in the manifest, each with the variant that it belongs to."""
    yield f"  {kind.model_type}:", ""
    yield f"    source: local:checkpoints/{kind.exporter}/{kind.model_type}", ""
    yield f"    task: {kind.task}", ""
    yield f"    export: {{exporter: {kind.exporter}}}", ""
    if kind.exporter == "transformers":
        yield "    toolchain: tf5", ""
    yield "    targets:", ""
    for variant in variants:
        loose = f"validate: {{thresholds: {{{_loose(kind, variant)}}}}}" if variant in _QUANTIZED else ""
        fields = ", ".join(field for field in (f"name: {variant}", VARIANTS[variant], loose) if field)
        yield f"      - {{{fields}}}", variant


def _loose(kind: Kind, variant: str) -> str:
    """A bound that every value keeps, for each metric that has a default bound. `judging` decides on random weights.

    `max_probability` stands for the check of probabilities that holds where no bound on them is written (OBE145).
    """
    task = "feature-extraction" if kind.model_type in _WITHOUT_LOGITS else kind.task
    bounds = default_bounds(task, {"model_type": kind.model_type}, variant, has_labels=False)
    names = [*bounds, *(["max_probability"] if "top1" in bounds else [])]
    return ", ".join(f"{name}: {_loosest(METRICS[name])}" for name in names)


def _loosest(metric: Metric) -> float:
    return metric.least if metric.side == "min" else min(metric.most, _LARGE)


def _owned(fault: Mapping[str, Any], owners: list[tuple[str, str]], left: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The variants that a fault of lint concerns: those of its line, of its model, or of the whole manifest."""
    line = (fault.get("range") or fault.get("span") or {}).get("line") or fault.get("line")
    model, variant = owners[line - 1] if line else ("", "")
    chosen = {key for key in left if key[0] == model and variant in {"", key[1]}} if model else set()
    if not chosen:
        raise RuntimeError(f"a fault of the whole manifest: {fault}")
    return chosen
