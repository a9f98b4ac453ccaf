"""Every family from a config to the library that its users load it with, as `family_table` lists them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache

import pytest

for module in ("torch", "optimum.onnxruntime", "sentence_transformers"):
    pytest.importorskip(module)

import msgspec  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from families import contents, run_step, text_folder  # noqa: E402
from family_loaders import LOADERS  # noqa: E402
from family_table import FAMILIES, FAMILIES_5, TOKENS, Family, again_in  # noqa: E402
from transformers import AutoModelForTokenClassification  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.steps.export import ExportParams  # noqa: E402
from onnxbuild.steps.fetch import FetchParams  # noqa: E402
from onnxbuild.steps.optimize import OptimizeParams  # noqa: E402
from onnxbuild.steps.quantize import QuantizeParams  # noqa: E402
from onnxbuild.steps.validate import ValidateParams  # noqa: E402
from onnxbuild.tables.tasks import is_ctc  # noqa: E402
from onnxbuild.tables.thresholds import THRESHOLDS, table_of  # noqa: E402
from onnxbuild.workers.export import worker as export  # noqa: E402
from onnxbuild.workers.fetch import worker as fetch  # noqa: E402
from onnxbuild.workers.libraries.quiet import quiet  # noqa: E402
from onnxbuild.workers.optimize import worker as optimize  # noqa: E402
from onnxbuild.workers.quantize import worker as quantize  # noqa: E402
from onnxbuild.workers.validate import worker as validate  # noqa: E402

# transformers' pipelines hand tensors to numpy the old way, and warn of defaults that nobody here relies on.
pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("ignore")]

BY_NAME = {family.name: family for family in FAMILIES}

# Two layers of random weights decide almost nothing, so bounds on a quantized one apply to numbers, not to choices.
LOOSE = {"int8": {"cosine_mean": 0.97}, "q4": {"cosine_mean": 0.8}}


def loose(family: Family, precision: str) -> dict[str, float]:
    """The scores of two choices are close to each other, so the bound applies to the scores."""
    return {"max_probability": 0.05} if family.loader == "choose" else LOOSE[precision]


def table_for(family: Family) -> str:
    """The row of bounds that a family's head is judged by."""
    return "classification" if is_ctc(family.task, {"model_type": family.architecture}) else table_of(family.task)


def fetch_params(family: Family) -> FetchParams:
    """A checkpoint with random weights, and a tokenizer where it has words."""
    return FetchParams(
        origin="random",
        architecture=family.architecture,
        task=family.made_for or family.task,
        config=dict(family.config),
        tokenizer_vocabulary=TOKENS if family.words else 0,
    )


def checked(model, reference, family: Family, precision="fp32"):
    bounds = loose(family, precision) if precision in LOOSE else THRESHOLDS[table_for(family)]["fp32"]
    params = ValidateParams(task=family.task, precision=precision, thresholds=bounds)
    return run_step(validate.run, params, ports="report", model=model, reference=reference)[0]


def loads(folder, checkpoint, family: Family, *, exact):
    found, wanted = LOADERS[family.loader](folder, checkpoint)
    assert np.shape(found) == np.shape(wanted) or not exact
    if exact and np.asarray(wanted[0]).dtype.kind != "i":
        np.testing.assert_allclose(np.asarray(found, np.float32), np.asarray(wanted, np.float32), atol=1e-3)
    elif exact:
        assert found == wanted
    else:
        assert np.isfinite(np.concatenate([np.ravel(one) for one in found]).astype(np.float32)).all()


def export_params(family: Family) -> ExportParams:
    return ExportParams(task=family.task, library=family.library)


@cache
def checkpoint_of(name: str):
    return run_step(fetch.run, fetch_params(BY_NAME[name]), text=text_folder())[1]


@cache
def exported(name: str):
    return run_step(export.run, export_params(BY_NAME[name]), model=checkpoint_of(name))[1]


@pytest.mark.parametrize("name", BY_NAME)
def test_a_family_from_its_config_to_its_loader(name):
    family, checkpoint, model = BY_NAME[name], checkpoint_of(name), exported(name)
    facts = checked(model, checkpoint, family)
    assert facts["metrics"]["max_abs"] < 1e-4
    assert facts["samples"]["rows"] >= 6
    loads(model, checkpoint, family, exact=True)
    if family.optimize:
        _, optimized = run_step(optimize.run, OptimizeParams(level=family.optimize), model=model)
        checked(optimized, checkpoint, family)
        loads(optimized, checkpoint, family, exact=True)
    for method in family.quantize:
        params = QuantizeParams(method=method, preset="avx512_vnni")
        quantized_facts, quantized = run_step(quantize.run, params, model=model)
        assert quantized_facts["quantized"] > 0
        checked(quantized, checkpoint, family, {"dynamic": "int8", "weight-only": "q4"}[method])
        loads(quantized, checkpoint, family, exact=False)


AGAIN = """
import json, sys
from pathlib import Path
import msgspec
from onnxbuild.steps.export import ExportParams
from onnxbuild.workers.export.worker import run
for params, source, output in json.load(sys.stdin):
    run(msgspec.convert(params, ExportParams), {"model": Path(source)}, {"model": Path(output)}, lambda *words: None)
"""


def test_another_process_exports_the_same_bytes_of_every_family(tmp_path, amount):
    jobs, chosen = [], {family.name: family for family in amount(again_in(FAMILIES), FAMILIES)}
    for name, family in chosen.items():
        (tmp_path / name).mkdir()
        jobs.append([msgspec.to_builtins(export_params(family)), str(checkpoint_of(name)), str(tmp_path / name)])
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", AGAIN]
    subprocess.run(command, input=json.dumps(jobs), text=True, env=environment, check=True, capture_output=True)
    for name, family in chosen.items():
        first, again = contents(exported(name)), contents(tmp_path / name)
        assert {file for file in first if first[file] != again.get(file)} == set(family.varies), name


def test_an_export_that_lost_the_mask_fails_though_its_own_sample_agrees(tmp_path):
    """A graph traced without padding is right without padding; on padded rows it is silently wrong."""
    name = "bert-token-classification"
    checkpoint = checkpoint_of(name)
    model = AutoModelForTokenClassification.from_pretrained(checkpoint).eval()
    shutil.copy(checkpoint / "config.json", tmp_path)
    axes = {0: "batch_size", 1: "sequence_length"}
    with quiet():
        torch.onnx.export(
            model,
            (torch.ones((2, 16), dtype=torch.long),),
            str(tmp_path / "model.onnx"),
            input_names=["input_ids"],
            output_names=["logits"],
            dynamic_axes={"input_ids": axes, "logits": axes},
            opset_version=18,
            dynamo=False,
        )
    with pytest.raises(CheckFailed, match="OBE04"):
        checked(tmp_path, checkpoint, BY_NAME[name])
    alone = ValidateParams(task="token-classification", shapes=((1, 16),), thresholds={"max_abs": 1e-3})
    with pytest.raises(CheckFailed) as caught:
        run_step(validate.run, alone, ports="report", model=tmp_path, reference=checkpoint)
    assert "(output `logits`, seeded 8×" in str(caught.value)


def test_audio_of_a_model_trained_with_a_mask_fails_if_the_graph_takes_none():
    """optimum writes no mask for audio: right for a single recording, wrong for the shorter ones of a batch."""
    family = next(family for family in FAMILIES_5 if family.loader == "spell_masked")
    params = FetchParams(origin="random", architecture=family.architecture, task=family.task,
                         config={**family.config, "initializer_range": 0.2})  # fmt: skip
    checkpoint = run_step(fetch.run, params, text=text_folder())[1]
    model = run_step(export.run, export_params(family), model=checkpoint)[1]
    with pytest.raises(CheckFailed, match="OBE04 `max_abs` is"):
        checked(model, checkpoint, family)


@pytest.mark.parametrize("name", ["gpt2-text-generation", "llama-text-generation", "gemma3_text-text-generation"])
def test_a_language_model_in_the_layout_of_browsers(name, tmp_path):
    """Transformers.js wants `decoder_model_merged.onnx`; every step treats it as the decoder that it is."""
    family = BY_NAME[name]
    for path in exported(name).iterdir():
        shutil.copy(path, tmp_path / path.name.replace("model.onnx", "decoder_model_merged.onnx"))
    facts = checked(tmp_path, checkpoint_of(name), family)
    assert facts["stages"] == ["prefill", "decode"]
    optimized_facts, optimized = run_step(optimize.run, OptimizeParams(level=family.optimize), model=tmp_path)
    assert set(optimized_facts["files"]) == {"decoder_model_merged.onnx"}
    checked(optimized, checkpoint_of(name), family)
    _, quantized = run_step(quantize.run, QuantizeParams(method="weight-only"), model=tmp_path)
    assert checked(quantized, checkpoint_of(name), family, "q4")["stages"] == ["prefill", "decode"]
