"""What `explain` shows about an action: where its params come from, what it measured against which bounds, its key."""

import re

import pytest
from msgspec import structs

from onnxbuild.execute.events import Outcome
from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.expand import expand
from onnxbuild.planning.locked import Lock
from onnxbuild.protocol import Failure
from onnxbuild.report.result.explained import facts_lines, key_lines, params_lines
from onnxbuild.report.result.origins import broken_bound
from onnxbuild.steps import KINDS

MACHINE = Machine(cpu="Toy", architecture="x86_64", flags=("avx2",), cores=3)
MANIFEST = """\
onnxbuild: 1
defaults:
  validate:
    seed: 7
targets:
  fast: {optimize: O2}
  small:
    steps:
      - optimize: {level: O1}
      - quantize:
          method: dynamic
          per_channel: true
    validate:
      thresholds: {top1: 0.5}
models:
  tiny:
    source: {random: bert, seed: 0}
    task: text-classification
    targets: [fast, small]
"""


def cells(tmp_path, name, **options):
    """The cells of each param's line, by name: value, origin, meaning."""
    path = tmp_path / "m.yaml"
    path.write_text(MANIFEST)
    manifest = load_manifest(path, kinds=KINDS)
    action = expand(manifest, KINDS, Lock(), MACHINE).actions[name]
    lines = [line.replace(str(path), "m.yaml") for line in params_lines(action, KINDS, manifest, **options)]
    return {name: rest for name, *rest in (re.split(r" {2,}", line.strip()) for line in lines[1:])}


def shown(tmp_path, name, **options):
    return {param: row[:2] for param, row in cells(tmp_path, name, **options).items()}


def test_a_param_of_the_short_form_has_the_line_of_its_value(tmp_path):
    assert shown(tmp_path, "tiny/fast:optimize")["level"] == ["O2", "m.yaml:6"]


def test_params_of_a_step_in_a_list(tmp_path):
    rows = shown(tmp_path, "tiny/small:quantize")
    assert rows["method"] == ["dynamic", "m.yaml:11"]
    assert rows["per_channel"] == ["true", "m.yaml:12"]
    assert rows["preset"] == ["avx2", "derived"]
    assert rows["bits"][-1] == "default"
    assert shown(tmp_path, "tiny/small:optimize")["level"] == ["O1", "m.yaml:9"]


def test_a_check_has_the_lines_of_its_target_of_the_defaults_and_of_the_model(tmp_path):
    rows = shown(tmp_path, "tiny/small:validate")
    assert rows["thresholds"] == ['{"top1":0.5}', "m.yaml:14"]
    assert rows["seed"] == ["7", "m.yaml:4"]
    assert rows["task"] == ["text-classification", "m.yaml:18"]
    assert rows["precision"] == ["int8", "derived"]
    assert rows["samples"] == ["200", "default"]


def test_defaults_can_be_left_out(tmp_path):
    assert set(shown(tmp_path, "tiny/fast:optimize", in_full=False)) == {"level"}


def test_each_param_of_an_action_has_its_meaning(tmp_path):
    assert cells(tmp_path, "tiny/small:quantize")["bits"] == ["4", "default", "bits of a weight"]
    for action in ("tiny:export", "tiny/fast:optimize", "tiny/small:quantize", "tiny/small:validate"):
        assert [param for param, row in cells(tmp_path, action).items() if len(row) < 3] == []
    assert {len(row) for row in cells(tmp_path, "tiny/small:quantize", in_full=False).values()} == {2}


def test_a_long_meaning_wraps_below_itself(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(MANIFEST)
    manifest = load_manifest(path, kinds=KINDS)
    action = expand(manifest, KINDS, Lock(), MACHINE).actions["tiny/small:validate"]
    whole = list(params_lines(action, KINDS, manifest))
    start = next(line for line in whole if line.startswith("  shapes ")).index("pairs of batch")
    lines = list(params_lines(action, KINDS, manifest, width=start + 37))
    assert max(map(len, lines)) <= start + 37
    at = next(number for number, line in enumerate(lines) if line.startswith("  shapes "))
    assert lines[at][start:] == "pairs of batch (samples) and sequence"
    assert lines[at + 1] == " " * start + "(tokens); rows are padded to unequal"
    assert list(params_lines(action, KINDS, manifest, width=start + 7)) == whole


@pytest.mark.parametrize(
    ("metrics", "line"),
    [({"top1": 0.25, "kl_mean": 0.0}, 14), ({"top1": 0.75, "kl_mean": 37.5}, None), ({"kl_mean": 0.0}, 14), ({}, None)],
)
def test_a_broken_bound_is_found_where_the_manifest_states_it(tmp_path, metrics, line):
    path = tmp_path / "m.yaml"
    path.write_text(MANIFEST)
    manifest = load_manifest(path, kinds=KINDS)
    action = expand(manifest, KINDS, Lock(), MACHINE).actions["tiny/small:validate"]
    facts = {"metrics": metrics, "thresholds": {"top1": 0.5, "kl_mean": 0.3}}
    failed = Outcome(
        id=action.id, kind="validate", outcome="failed", failure=Failure(code="OBE04", message="", facts=facts)
    )
    action = structs.replace(action, params={**action.params, "thresholds": facts["thresholds"]})
    at = broken_bound(failed, action, manifest)
    assert (at.line if at else None) == line
    assert at is None or at.source.line(at.line)[at.column - 1 :].startswith("top1: 0.5")


def test_metrics_stand_beside_their_bounds():
    facts = {
        "metrics": {"cosine_mean": 0.98765, "max_abs": 0.5, "mean_abs": 0.031},
        "thresholds": {"cosine_mean": 0.9999993, "max_abs": 0.6},
        "headline": {"p50_ms": 12.3456, "engine": "onnxruntime"},
        "warnings": ["one layer\nwas kept"],
    }
    assert list(facts_lines(facts)) == [
        "metrics:",
        "  cosine_mean  0.9877  at least 0.9999993",
        "  max_abs      0.5     at most 0.6",
        "  mean_abs     0.031   no bound",
        "measured:",
        "  p50_ms  12.35",
        "  engine  onnxruntime",
        "warning: one layer was kept",
    ]
    assert list(facts_lines({})) == []


def test_a_metric_over_rows_has_its_interval_and_says_which_rows():
    facts = {
        "metrics": {"max_abs": 0.5, "accuracy": 0.8},
        "thresholds": {"accuracy": 0.75},
        "intervals": {"accuracy": [0.7, 0.9]},
        "rows": {"name": "the rows of onnxbuild", "count": 60, "of": 235, "languages": {"de": 20, "en": 40}},
    }
    assert list(facts_lines(facts)) == [
        "metrics:",
        "  max_abs   0.5  no bound",
        "  accuracy  0.8  at least 0.75, 0.7 to 0.9 with 95 %",
        "rows: 60 of 235, the rows of onnxbuild: de 20, en 40",
    ]
    named = {"rows": {"name": "rows of `mine`", "count": 9, "of": 9}}
    assert list(facts_lines(named)) == ["rows: 9 of 9, rows of `mine`"]


def test_the_parts_of_a_key():
    parts = {
        "version": 3, "inputs": {"model": "0123456789abcdef"}, "packages": {"onnx": "1.2"},
        "toolchain": {"python": "cpython-3.11"}, "machine": {"cores": 3},
    }  # fmt: skip
    assert list(key_lines(parts)) == [
        "key parts:",
        "  version of the step  3",
        "  input model          0123456789ab",
        "  onnx                 1.2",
        "  toolchain python     cpython-3.11",
        "  machine cores        3",
    ]
