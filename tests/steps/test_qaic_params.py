"""What lint refuses of `compile: qaic`, with its place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from onnxbuild.commands.lint import lint
from onnxbuild.machine import Machine
from onnxbuild.report.render_diagnostics import render
from onnxbuild.steps import KINDS

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=("avx2",), cores=2)
GPT2 = {"source": "random:gpt2", "task": "text-generation-with-past"}
KNOWN = {**GPT2, "source": {"random": "gpt2", "config": {"n_positions": 1024}}}
BERT = {"source": "random:bert", "task": "feature-extraction"}
KNOWN_BERT = {**BERT, "source": {"random": "bert", "config": {"max_position_embeddings": 64}}}


@pytest.mark.parametrize(
    ("model", "block", "expected"),
    [
        (GPT2, {"prompt_len": 128}, "OB812 a prompt of 128 tokens fills a cache of 128"),
        (KNOWN, {"ctx_len": 2000}, "OB812 a cache of 2000 tokens is longer than the model's 1024 positions"),
        (GPT2, {"num_cores": 17}, "OB812 `num_cores: 17` is more than the 16 cores of a device"),
        (GPT2, {"num_devices": 0}, "OB812 `num_devices` expects a number from 1"),
        (BERT, {"seq_len": [32, 32]}, "OB812 `seq_len` expects different numbers from 1"),
        (GPT2, {"batch_size": 2, "full_batch_size": 2}, "OB813 `batch_size` has no effect with `full_batch_size`"),
        (GPT2, {"prompt_len": 8, "prefill_seq_len": 9}, "OB813 `prompt_len` and `prefill_seq_len` are two names"),
        (GPT2, {"hw_version": "ai200", "sdk": "1.20"}, "OB813 the SDK 1.20 compiles for ai100 only"),
        (GPT2, {"pooling": "mean"}, "OB813 `pooling` has no effect on a decoder"),
        (BERT, {"ctx_len": 64}, "OB813 `ctx_len` has no effect on an encoder"),
        (KNOWN_BERT, {"seq_len": [32, 65]}, "OB812 `seq_len` has 65 tokens, and that is longer than the model's 64"),
        (GPT2, {"ctx_len": 16}, "OB812 a prompt of 32 tokens fills a cache of 16"),
        (GPT2, {"options": {"mdp-dump-partition-config": "x"}}, "OB813 `mdp-dump-partition-config` spreads a program"),
        (GPT2, {"options": {"aic_num_cores": 8}}, "OB814 onnxbuild writes the option `aic_num_cores`"),
        (GPT2, {"options": {"aic-num-cores": 8}}, "= hint: write `num_cores:` in `compile:` instead"),
        (GPT2, {"options": {"mxfp6_matmul": True}}, "= hint: write `mxfp6:` in `compile:` instead"),
        (GPT2, {"options": {"full_batch_size": 4}}, "= hint: write `full_batch_size:` in `compile:` instead"),
        (GPT2, {"options": {"retained_state": True}}, "= hint: remove it: no param changes it"),
        ({**GPT2, "source": "random:opt"}, {}, "OB810 onnxbuild cannot write a graph of `opt` for Cloud AI 100"),
        ({**BERT, "task": "text-classification"}, {}, "OB810 task `text-classification` has a head"),
        ({**BERT, "source": "random:t5", "task": "text2text-generation"}, {}, "OB810 task `text2text-generation` has"),
    ],
)  # fmt: skip
def test_refused(model: dict[str, Any], block: dict[str, Any], expected: str, tmp_path: Path) -> None:
    found = linted(tmp_path, model, {"compile": {"backend": "qaic", **block}})
    assert expected in found
    assert found.count("\n --> ") == len(re.findall("^OB", found, re.MULTILINE)), "every message has a place"


def test_the_sdk_1_21_compiles_for_both(tmp_path: Path) -> None:
    assert "OB813" not in linted(tmp_path, GPT2, {"compile": {"backend": "qaic", "hw_version": "ai200", "sdk": "1.21"}})


@pytest.mark.parametrize("backend", ["ort", "qnn", "qaic", "webgpu", "coreml", "dml", "migraphx"])
def test_a_backend_that_does_not_compile_for_the_device_is_refused(backend: str, tmp_path: Path) -> None:
    found = linted(tmp_path, BERT, {"device": "cuda", "compile": backend})
    assert f"OB803 `{backend}` does not compile for the target's device, `cuda`" in found


@pytest.mark.parametrize("backend", ["tensorrt", "cuda"])
def test_a_backend_of_nvidia_compiles_for_cuda(backend: str, tmp_path: Path) -> None:
    assert "OB803" not in linted(tmp_path, BERT, {"device": "cuda", "compile": backend})


def test_a_step_before_has_no_effect(tmp_path: Path) -> None:
    found = linted(tmp_path, GPT2, {"quantize": "int8", "compile": "qaic"})
    assert "OB811 `quantize` has no effect: the graph for Cloud AI 100 is written from the checkpoint" in found


@pytest.mark.parametrize("model", [GPT2, BERT])
def test_the_defaults_are_accepted_and_the_compiler_is_missing(
    model: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = linted(tmp_path, model, {"compile": "qaic"})
    assert len(re.findall("^OB", found, re.MULTILINE)) == 1
    assert "OB802 warning: `qaic-compile` is not on this machine" in found


@pytest.mark.parametrize(
    ("checks", "expected", "line"),
    [
        (
            {"generate": {"prompts": ["a b"], "max_new_tokens": 41}},
            "OB620 41 new tokens and a prompt do not fit the target's `ctx_len: 41`",
            "write `max_new_tokens: 20`, which leaves room for a prompt, or raise `ctx_len` in the target",
        ),
        (
            {"generate": {"prompts": ["one", "a prompt of five words"], "max_new_tokens": 38}},
            "OB620 warning: a prompt of 5 words and 38 new tokens may not fit the target's `ctx_len: 41`",
            "shorten the prompt, lower `max_new_tokens`, or raise `ctx_len` in the target",
        ),
        (
            {"validate": {"shapes": [[1, 41]]}},
            "OB620 41 tokens and the token after them do not fit the target's `ctx_len: 41`",
            "use at most 40 tokens in `shapes`",
        ),
        ({"benchmark": {"sequence": [64]}}, "OB620 64 tokens and the token after them", "at most 40 tokens"),
    ],
)  # fmt: skip
def test_a_check_that_the_program_has_no_room_for(
    checks: dict[str, Any], expected: str, line: str, tmp_path: Path
) -> None:
    found = linted(tmp_path, {**GPT2, **checks}, {"compile": {"backend": "qaic", "prompt_len": 8, "ctx_len": 41}})
    assert expected in found
    assert line in found


def test_a_check_that_just_fits_is_accepted(tmp_path: Path) -> None:
    checks = {"generate": {"prompts": ["a b c d e"], "max_new_tokens": 37}, "validate": {"shapes": [[3, 40]]}}
    target = {"compile": {"backend": "qaic", "prompt_len": 8, "ctx_len": 41}}
    assert "OB620" not in linted(tmp_path, {**GPT2, **checks}, target)


def test_the_shapes_of_an_encoder_are_those_of_its_program(tmp_path: Path) -> None:
    target = {"compile": {"backend": "qaic", "seq_len": [17, 33]}}
    found = linted(tmp_path, {**BERT, "validate": {"shapes": [[1, 34]]}}, target)
    assert "OB620 34 tokens do not fit the target's `seq_len: 33`" in found
    assert "OB620" not in linted(tmp_path, {**BERT, "validate": {"shapes": [[1, 33]]}}, target)


def test_a_toolchain_without_qefficient(tmp_path: Path) -> None:
    model = {**GPT2, "toolchain": "other"}
    target = {"compile": {"backend": "qaic", "producer": "qefficient"}}
    (tmp_path / "env/bin").mkdir(parents=True)
    (tmp_path / "env/bin/python").write_text("")
    site = tmp_path / "env/lib/python3.12/site-packages"
    site.mkdir(parents=True)
    (tmp_path / "env/pyvenv.cfg").write_text("version = 3.12.1\n")
    toolchains = {"toolchains": {"other": {"python": "env/bin/python"}}}
    found = linted(tmp_path, model, target, **toolchains)
    assert "OB815 the model's toolchain does not have `QEfficient`, which `producer: qefficient` runs" in found
    assert '"producer": "qefficient"' in found, "the place of the param"
    (site / "qefficient-1.23.dist-info").mkdir()
    (site / "qefficient-1.23.dist-info/METADATA").write_text("Name: QEfficient\nVersion: 1.23\n")
    assert "OB815" not in linted(tmp_path, model, target, **toolchains)
    listed = {"toolchains": {"other": {"requirements": ["transformers==5.5.4"]}}}
    assert "OB815" in linted(tmp_path, model, target, **listed)


@pytest.mark.parametrize("field", ["opset", "exporter", "dtype", "library", "attention", "pad_token_id"])
def test_what_an_export_says_that_is_not_made_has_no_effect(field: str, tmp_path: Path) -> None:
    values = {"opset": 17, "exporter": "optimum", "dtype": "fp16", "pad_token_id": 3}
    block = {field: values.get(field, "auto"), "max_length": 60, "trust_remote_code": False}
    model = {**BERT, "export": block}
    found = linted(tmp_path, model, {"compile": {"backend": "qaic", "seq_len": [32]}})
    assert f"OB325 warning: `{field}` has no effect: the backends of all targets start from the checkpoint" in found
    assert found.count("OB325") == 1
    assert "OB325" not in linted(tmp_path, model, {}).replace("OB325 `", "")


def linted(folder: Path, model: dict[str, Any], target: dict[str, Any], **more: Any) -> str:
    path = folder / "manifest.yaml"
    models = {"m": {"benchmark": False, **model, "targets": ["a"]}}
    path.write_text(json.dumps({"onnxbuild": 1, "targets": {"a": target}, "models": models, **more}, indent=1))
    return render(lint(str(path), MACHINE, selectors=[], kinds=KINDS), "text")
