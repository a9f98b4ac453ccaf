"""Whatever text is given, what comes back is a manifest or located faults: no traceback, no hang."""

import random

import pytest

from onnxbuild.commands.lint import lint
from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.manifest.spec import Manifest
from onnxbuild.permissions import Permissions
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.planning.expand import expand
from onnxbuild.planning.locked import Lock
from onnxbuild.report.render_diagnostics import FORMATS, render
from onnxbuild.steps import KINDS

ALLOWED = Permissions(environment=("KEY",))
MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=(), cores=2)
VALID = """\
onnxbuild: 1
vars: {prompt: "Once upon", n: 1, sizes: &sizes [1, 8]}
datasets: {rows: {source: [{text: hello}]}}
targets:
  fp32: {}
  o2: {optimize: O2}
  q4: {quantize: {method: weight-only, bits: 4, block_size: 32}}
  any:
    device: cpu
    steps:
      - optimize: {level: O1}
      - quantize: {method: dynamic, per_channel: true}
defaults: {export: {opset: 18}}
models:
  m:
    source: {random: gpt2, config: {n_layer: 2}, seed: 0}
    task: text-generation-with-past
    targets: [o2, fp32, any, {name: own, optimize: O1}]
    validate: {thresholds: {max_abs: 1e-3}, shapes: [[1, 8]]}
    benchmark: {batch: *sizes, sequence: [8]}
    generate: {prompts: ["${vars.prompt}"], max_new_tokens: 3}
  "n-${matrix.x}":
    matrix: {x: [1, 2], exclude: [{x: 2}]}
    source: "hub:a/b-${matrix.x}"
    task: fill-mask
    targets: [q4]
store: {path: x, remote: "s3://${env.KEY}@bucket"}
"""
PIECES = [
    *(
        "\t",
        "\n",
        "  ",
        ":",
        ": ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "&a ",
        "*a",
        "*sizes",
        "!!int ",
        "!x ",
        "'",
        '"',
        "|",
    ),
    *(">", "#", "${", "${vars.n}", "${matrix.x}", "${env.X}", "$${", "<<: *sizes", "---\n", "...\n", "%YAML 1.2\n"),
    *("? ", "null", "~", "true", "1e999", ".nan", "0x1f", "99999999999999999999", "\x00", "\ud7ff", "\U0001f600"),
    *("\u2028", "\x85", "é", "include: [m.yaml]\n", "models", "targets", "source", "local:", "hub:", "onnx:."),
    *("local:.", "package:os", "package:a.b", "random:", "O2", "optimize"),
]


def changed(text, chance):
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        at = chance.randrange(len(text) + 1)
        what = chance.random()
        if what < 0.35:
            text = text[:at] + chance.choice(PIECES) + text[at:]
        elif what < 0.6:
            text = text[:at] + text[at + chance.randint(1, 12) :]
        elif what < 0.75:
            lines = text.split("\n")
            one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
            lines[one], lines[other] = lines[other], lines[one]
            text = "\n".join(lines)
        elif what < 0.9:
            words = text.split(" ")
            words[chance.randrange(len(words))] = chance.choice(words)
            text = " ".join(words)
        else:
            text = text[:at]
    return text


def test_the_text_to_begin_with_is_valid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yaml").write_text(VALID)
    manifest = load_manifest("m.yaml", kinds=KINDS, environment={"KEY": "k"}, permissions=ALLOWED)
    assert [model.name for model in manifest.models] == ["m", "n-1"]
    assert isinstance(expand(manifest, KINDS, Lock(), MACHINE), ActionGraph)


@pytest.mark.parametrize("block", range(4))
def test_manifest_or_faults(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcomes = set()
    for seed in range(block * 150, block * 150 + 150):
        chance = random.Random(seed)
        data = changed(VALID, chance).encode()
        if chance.random() < 0.05:
            data = data.replace(b"e", b"\xe9", 3)
        (tmp_path / "m.yaml").write_bytes(data)
        try:
            manifest = load_manifest("m.yaml", kinds=KINDS, environment={"KEY": "k"}, permissions=ALLOWED)
            assert isinstance(manifest, Manifest)
            assert isinstance(expand(manifest, KINDS, Lock(), MACHINE), ActionGraph)
            outcomes.add("sound")
        except DiagnosticError as error:
            outcomes.add("faults" if error.diagnostics else "nothing")
        found = lint("m.yaml", MACHINE, kinds=KINDS, permissions=ALLOWED)
        for one in FORMATS:
            render(found, one)
    assert outcomes == {"sound", "faults"}
