"""What lint refuses of the backends of ONNX Runtime's providers, with its place: all that their compilers would."""

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
from onnxbuild.steps.compiling.provider_backends import DML
from onnxbuild.steps.kind import Context
from onnxbuild.tables.runtimes.runtime_limits import LIMITS

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=("avx2",), cores=2)
BERT = {"source": "random:bert", "task": "text-classification"}
SHORT = {**BERT, "source": {"random": "bert", "config": {"max_position_embeddings": 77}}}
VIT = {"source": "random:vit", "task": "image-classification", "export": {"exporter": "optimum"}}
PICTURES = {"random": "vit", "config": {"image_size": 30, "patch_size": 5}}
VECTORS = {**VIT, "source": PICTURES, "task": "feature-extraction"}
SPEECH = {"source": "random:wav2vec2", "task": "audio-classification", "export": {"exporter": "optimum"}}
GPT2 = {"source": "random:gpt2", "task": "text-generation-with-past"}
PROFILE = {f"trt_profile_{end}_shapes": "input_ids:3x5" for end in ("min", "opt", "max")}


@pytest.mark.parametrize(
    ("model", "target", "expected"),
    [
        (BERT, {"backend": "tensorrt", "samples": 7}, "OB805 `samples` has no effect without `precision: int8`"),
        (BERT, {"backend": "tensorrt", "seed": 3}, "OB805 `seed` has no effect without `precision: int8`"),
        (BERT, {"backend": "tensorrt", "shapes": {"max": [9, 512]}, "options": PROFILE},
         "OB805 `shapes` has no effect beside the profiles in `options`"),
        (BERT, {"backend": "tensorrt", "options": {**PROFILE, "trt_profile_opt_shapes": "input_ids:3x4"}},
         "OB824 `input_ids` of `trt_profile_min_shapes` is not within `trt_profile_opt_shapes`"),
        (BERT, {"backend": "tensorrt", "options": {**PROFILE, "trt_profile_max_shapes": "ids:3x5"}},
         "OB824 `ids` of `trt_profile_opt_shapes` is not within `trt_profile_max_shapes`"),
        (BERT, {"backend": "tensorrt", "options": {**PROFILE, "trt_profile_max_shapes": "input_ids:3x5x7"}},
         "OB824 `input_ids` of `trt_profile_opt_shapes` is not within"),
        (BERT, {"backend": "tensorrt", "shapes": {"max": [1000000, 512]}}, "OB616 1,000,000 × 512 are"),
        (SHORT, {"backend": "tensorrt", "shapes": {"max": [8, 128]}}, "OB620 128 tokens do not fit the model's 77"),
        (SHORT, {"backend": "tensorrt", "precision": "int8", "sequence": 99},
         "OB620 warning: rows of 99 tokens are cut"),
        (SHORT, {"backend": "coreml", "sequence": 99}, "OB620 99 tokens do not fit the model's 77 positions"),
        (VIT, {"backend": "tensorrt", "precision": "int8"}, "OB804 `precision: int8` calibrates with texts"),
        (VIT, {"backend": "qnn"}, "OB825 `qnn` compiles a graph for a number of rows and tokens"),
        (GPT2, {"backend": "tensorrt"}, "`tensorrt` compiles a graph for a number of rows and tokens, and graphs"),
        (SPEECH, {"backend": "tensorrt"}, "`audio-classification` also depend on the length of the audio"),
        (VECTORS, {"backend": "tensorrt"}, "and the model does not read text"),
        ({**BERT, "export": {"opset": 22}}, {"backend": "dml"}, "OB823 DirectML 1.15 reads opsets up to 20"),
    ],
)  # fmt: skip
def test_refused(model: dict[str, Any], target: dict[str, Any], expected: str, tmp_path: Path) -> None:
    found = linted(tmp_path, model, target)
    assert expected in found
    assert found.count("\n --> ") == len(re.findall("^OB", found, re.MULTILINE)), "every message has a place"


@pytest.mark.parametrize(
    ("model", "target"),
    [
        (VIT, {"backend": "cuda"}),
        (SPEECH, {"backend": "coreml", "sequence": 16000}),
        (VIT, {"backend": "tensorrt", "options": dict.fromkeys(PROFILE, "pixel_values:2x3x30x31")}),
        (BERT, {"backend": "tensorrt", "options": PROFILE}),
        ({**GPT2, "task": "text-generation"}, {"backend": "tensorrt"}),
        (BERT, {"backend": "webgpu"}),
    ],
)
def test_not_refused(model: dict[str, Any], target: dict[str, Any], tmp_path: Path) -> None:
    assert set(re.findall("^OB...", linted(tmp_path, model, target), re.MULTILINE)) <= {"OB802"}


def test_weights_in_blocks_are_refused_where_the_runtime_has_no_operator(tmp_path: Path) -> None:
    before = {"quantize": {"method": "weight-only", "bits": 4}, "precision": "fp16"}
    refused = {one for one in LIMITS if "OB822" in linted(tmp_path, BERT, {"backend": one}, **before)}
    assert refused == {"coreml", "tensorrt"}


@pytest.mark.parametrize(
    ("exporter", "opset", "hint"),
    [
        ("optimum", 21, "write `export: {opset: 20}`"),
        ("mobius", 24, "`mobius` writes no lower one: choose another exporter, with `opset: 20`"),
        (None, 21, "export the model again with opset 20, or choose another backend"),
        ("optimum", 20, None),
    ],
)
def test_the_way_to_a_lower_opset_depends_on_who_writes_the_graph(
    exporter: str | None, opset: int, hint: str | None
) -> None:
    context = Context(
        task=None, family="encoder", config=None, precision="fp32", previous=(), reference="checkpoint", device="cpu",
        machine=MACHINE, exporter=exporter, opset=opset,
    )  # fmt: skip
    assert [fault.hint for fault in DML.check(DML.params(), context)] == ([hint] if hint else [])


def linted(root: Path, model: dict[str, Any], block: dict[str, Any], **before: Any) -> str:
    path = root / "m.yaml"
    models = {"m": {**model, "targets": ["one"], "benchmark": False}}
    path.write_text(json.dumps({"onnxbuild": 1, "targets": {"one": {**before, "compile": block}}, "models": models}))
    return render(lint(str(path), MACHINE, selectors=[], kinds=KINDS), "text")
