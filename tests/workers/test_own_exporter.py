"""The two exporters of the how-to, as written: an architecture that optimum does not know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from families import SIZES, SMALL, run_step, text_folder

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.export import ExportParams
from onnxbuild.steps.fetch import FetchParams
from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.steps.validate import ValidateParams
from onnxbuild.tables.thresholds import THRESHOLDS
from onnxbuild.workers.export.worker import run as export
from onnxbuild.workers.failures.exceptions import explain_exception
from onnxbuild.workers.fetch.worker import run as fetch
from onnxbuild.workers.quantize.worker import run as quantize
from onnxbuild.workers.validate.worker import run as validate

pytestmark = pytest.mark.heavy

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "own-exporter.md"
BLOCKS = re.findall(r"```python[^\n]*\n(.*?)```", PAGE.read_text(), re.DOTALL)
WAYS = dict(zip(("custom config", "torch"), BLOCKS, strict=True))
TASK = "text-classification"


@pytest.fixture(scope="module")
def ernie():
    config = {**SIZES, **SMALL, "max_position_embeddings": 64, "initializer_range": 0.6}
    params = FetchParams(origin="random", architecture="ernie", task=TASK, config=config, tokenizer_vocabulary=600)
    return run_step(fetch, params, text=text_folder())[1]


def validation(precision="fp32"):
    bounds = THRESHOLDS["classification"][precision]
    return ValidateParams(task=TASK, precision=precision, thresholds=bounds, shapes=((1, 8), (3, 20)))


def test_optimum_alone_does_not_know_the_architecture(ernie):
    with pytest.raises(ValueError, match="custom or unsupported architecture") as error:
        run_step(export, ExportParams(task=TASK, exporter="optimum"), model=ernie)
    failure = explain_exception(error.value, "")
    assert failure.code == "OBE02"
    assert "how-to/own-exporter in the documentation" in dict(failure.notes)["hint"]
    assert dict(failure.notes)["context"].startswith("exporter optimum, task text-classification, opset 18, torch 2.")


@pytest.mark.parametrize("way", list(WAYS))
def test_the_functions_of_the_how_to(ernie, way, tmp_path):
    (tmp_path / "mine.py").write_text(WAYS[way])
    params = ExportParams(task=TASK, exporter="mine.py:export", opset=17)
    facts, folder = run_step(export, params, model=ernie, exporter=tmp_path)
    assert facts["because"] == "a custom exporter of the manifest"
    assert facts["files"]["model.onnx"]["opset"] == 17
    assert (folder / "tokenizer.json").is_file()
    proven, _ = run_step(validate, validation(), "report", model=folder, reference=ernie)
    assert proven["metrics"]["max_abs"] < 1e-4
    _, small = run_step(quantize, QuantizeParams(method="dynamic", preset="avx2"), model=folder)
    run_step(validate, validation("int8"), "report", model=small, reference=ernie)


def test_a_function_that_forgets_the_mask_does_not_pass(ernie, tmp_path):
    forgetful = WAYS["torch"].replace("attention_mask=attention_mask, ", "")
    assert forgetful != WAYS["torch"]
    (tmp_path / "mine.py").write_text(forgetful)
    params = ExportParams(task=TASK, exporter="mine.py:export")
    _, folder = run_step(export, params, model=ernie, exporter=tmp_path)
    with pytest.raises(CheckFailed) as error:
        run_step(validate, validation(), "report", model=folder, reference=ernie)
    assert error.value.failure.code == "OBE04"


def test_what_a_function_raises_is_told_with_its_line(ernie, tmp_path):
    half = "def half(output):\n    raise ValueError('odd')\n"
    (tmp_path / "mine.py").write_text(f"{half}\ndef export(checkpoint, output, opset, task):\n    half(output)\n")
    with pytest.raises(ValueError, match="odd") as error:
        run_step(export, ExportParams(task=TASK, exporter="mine.py:export"), model=ernie, exporter=tmp_path)
    failure = explain_exception(error.value, "")
    assert (failure.code, failure.message) == ("OBE69", "your exporter failed at mine.py:2: ValueError: odd")
    assert ("context", "raised at mine.py:2") in failure.notes
