"""Worlds to build: the same graph of chains for onnxbuild, DVC, doit and ninja, and manifests to lint.

A chain is a source file and `STEPS` steps, each of which needs the previous one. For onnxbuild that is a model with a
fetch and three toy steps, whose last result goes to `out/`. The other tools copy files with `cp`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
from pathlib import Path

from measure import Command

STEPS = 4
TOY = Path(__file__).parent / "toy"
PACKAGE = Path(__file__).parents[1]


def environment() -> dict[str, str]:
    """The environment in which Python finds onnxbuild and the toy step kind, and keeps bytecode as an install does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONPATH": f"{PACKAGE}{os.pathsep}{TOY}", "HF_HUB_OFFLINE": "1"}


def onnxbuild(python: str, world: Path, *words: str, name: str = "run") -> Command:
    """An onnxbuild command on the manifest of a world."""
    return Command([python, "-m", "onnxbuild", name, "manifest.yaml", *words], world, environment())


def chains(actions: int) -> int:
    """How many chains have that many actions."""
    assert actions % STEPS == 0, f"{actions} actions are not a whole number of chains of {STEPS}"
    return actions // STEPS


def source_of(world: Path, chain: int) -> Path:
    """The source file of a chain, in every world."""
    return world / "sources" / f"m{chain:05d}" / "model.onnx"


def change_source(world: Path, chain: int) -> None:
    """Change the content and the size of a source, in place."""
    with open(source_of(world, chain), "a", encoding="utf-8") as file:
        file.write(f"change {random.randrange(10**9)}\n")


def make_sources(world: Path, actions: int) -> None:
    """Write the source files, each with different content."""
    for chain in range(chains(actions)):
        place = source_of(world, chain)
        place.parent.mkdir(parents=True)
        place.write_text(f"source {chain}\n", encoding="utf-8")


def make_onnxbuild(world: Path, actions: int) -> None:
    """Write a manifest of toy actions over sources."""
    make_sources(world, actions)
    lines = ["onnxbuild: 1", "targets:", "  chain: {steps: [{toy: {line: a}}, {toy: {line: b}}, {toy: {line: c}}]}"]
    lines.append("models:")
    for chain in range(chains(actions)):
        model = f"m{chain:05d}"
        lines.append(f"  {model}: {{source: 'onnx:sources/{model}', targets: [chain], validate: false, load: false}}")
    (world / "manifest.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_targets(world: Path, targets: int) -> None:
    """Write a manifest of one model with many targets of one toy action each."""
    (world / "sources" / "m00000").mkdir(parents=True)
    source_of(world, 0).write_text("source\n", encoding="utf-8")
    lines = ["onnxbuild: 1", "targets:"]
    lines += [f"  t{number}: {{steps: [{{toy: {{line: a{number}}}}}]}}" for number in range(targets)]
    names = ", ".join(f"t{number}" for number in range(targets))
    lines += ["models:", f"  m: {{source: 'onnx:sources/m00000', targets: [{names}], validate: false, load: false}}"]
    (world / "manifest.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _edges(actions: int) -> list[tuple[str, str, str]]:
    """(step, input, output) of every step in the worlds of the peers, in order. `step_names` maps actions to them."""
    edges = []
    for chain in range(chains(actions)):
        model = f"m{chain:05d}"
        at = f"sources/{model}/model.onnx"
        for number in range(STEPS):
            to = f"built/{model}-{number}.onnx"
            edges.append((f"{model}-{number}", at, to))
            at = to
    return edges


def step_names(actions: int) -> dict[str, str]:
    """From each onnxbuild action to the step of the peers that corresponds to it."""
    steps = {}
    for chain in range(chains(actions)):
        model = f"m{chain:05d}"
        names = [f"{model}:fetch", *(f"{model}/chain:toy{suffix}" for suffix in ("", "-2", "-3"))]
        steps.update({name: f"{model}-{number}" for number, name in enumerate(names)})
    return steps


def make_ninja(world: Path, actions: int) -> None:
    """A build.ninja of `cp` steps."""
    make_sources(world, actions)
    (world / "built").mkdir()
    lines = ["rule cp", "  command = cp $in $out", "  description = $out"]
    lines += [f"build {to}: cp {at}" for _, at, to in _edges(actions)]
    (world / "build.ninja").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_doit(world: Path, actions: int) -> None:
    """A dodo.py of `cp` tasks."""
    make_sources(world, actions)
    (world / "built").mkdir()
    tasks = [
        {"basename": name, "actions": [f"cp {at} {to}"], "file_dep": [at], "targets": [to], "verbosity": 0}
        for name, at, to in _edges(actions)
    ]
    text = f"TASKS = {json.dumps(tasks)}\n\n\ndef task_all():\n    yield from TASKS\n"
    (world / "dodo.py").write_text(text, encoding="utf-8")


def make_dvc(world: Path, actions: int, dvc: str) -> None:
    """A dvc.yaml of `cp` stages, with the state that `dvc repro` leaves: outputs, cache and dvc.lock.

    The first build of DVC is quadratic (24 minutes of CPU for 1,000 stages), so this function writes the state that it
    would leave. For copies that is the same hash for the source of a chain and all its outputs.
    """
    make_sources(world, actions)
    (world / "built").mkdir()
    subprocess.run([dvc, "init", "--no-scm", "-q"], cwd=world, check=True)
    stages, locked = [], []
    for name, at, to in _edges(actions):
        content = (world / at).read_bytes()
        digest = hashlib.md5(content).hexdigest()
        blob = world / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        (world / to).write_bytes(content)
        stages.append(f"  {name}:\n    cmd: cp {at} {to}\n    deps:\n    - {at}\n    outs:\n    - {to}\n")
        facts = f"hash: md5\n      md5: {digest}\n      size: {len(content)}\n"
        locked.append(
            f"  {name}:\n    cmd: cp {at} {to}\n    deps:\n    - path: {at}\n      {facts}"
            f"    outs:\n    - path: {to}\n      {facts}"
        )
    (world / "dvc.yaml").write_text("stages:\n" + "".join(stages), encoding="utf-8")
    (world / "dvc.lock").write_text("schema: '2.0'\nstages:\n" + "".join(locked), encoding="utf-8")


def make_large(world: Path, size_bytes: int) -> None:
    """A manifest with one model whose weights are a sparse file of the given size."""
    folder = world / "sources" / "large"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_text("graph\n", encoding="utf-8")
    with open(folder / "model.onnx_data", "wb") as file:
        file.truncate(size_bytes)
    model = "{source: 'onnx:sources/large', targets: [fp32], load: false}"
    text = f"onnxbuild: 1\ntargets: {{fp32: {{}}}}\nmodels:\n  large: {model}\n"
    (world / "manifest.yaml").write_text(text, encoding="utf-8")


def make_lint(world: Path, models: int) -> None:
    """A manifest of Hub models as people write them, each with its block, and its lock file."""
    lines = ["onnxbuild: 1", "targets:", "  fp32: {}", "  o2: {optimize: O2}"]
    lines += ["  int8: {optimize: O2, quantize: {method: dynamic, preset: avx512_vnni}}", "models:"]
    config = {"model_type": "bert", "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12}
    config |= {"architectures": ["BertModel"], "vocab_size": 30522, "intermediate_size": 1536}
    sources = {}
    for number in range(models):
        source = f"hub:team/encoder-{number:04d}"
        lines.append(f"  encoder-{number:04d}:")
        lines.append(f"    source: {source}")
        lines.append("    task: feature-extraction")
        lines.append("    export: {opset: 18}")
        lines.append("    targets: [fp32, o2, int8]")
        files = ["config.json", "model.safetensors", "tokenizer.json"]
        commit = hashlib.sha1(source.encode()).hexdigest()
        sources[f"{source}@main"] = {"commit": commit, "files": files, "config": config}
    (world / "manifest.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (world / "onnxbuild.lock").write_text(json.dumps({"version": 1, "sources": sources}, indent=1), encoding="utf-8")
