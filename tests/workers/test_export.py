from __future__ import annotations

import json
import os
import subprocess
import sys

import onnx
import pytest
from families import (
    FAMILIES,
    checkpoint,
    contents,
    exported,
    generated_by,
    generated_by_torch,
    hard_links,
    minilm_files,
    outputs_of,
    random_params,
    run_step,
    text_folder,
)
from toolchain5 import Workers

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.export import ExportParams
from onnxbuild.workers.export.exported import check_graph
from onnxbuild.workers.export.worker import run
from onnxbuild.workers.failures.exceptions import explain_exception

pytestmark = pytest.mark.heavy

PARTS = ["decoder_model.onnx", "decoder_model_merged.onnx", "decoder_with_past_model.onnx", "encoder_model.onnx"]


def failure_of(worker, *args, **inputs):
    try:
        run_step(worker, *args, **inputs)
    except CheckFailed as failed:
        return failed.failure
    except Exception as error:
        return explain_exception(error, "")
    raise AssertionError("it worked")


@pytest.mark.parametrize("architecture", list(FAMILIES))
def test_every_family_exports_with_what_its_loader_needs(architecture):
    facts, folder = exported(architecture)
    seq2seq = architecture in {"t5", "whisper"}
    assert sorted(facts["files"]) == (PARTS if seq2seq else ["model.onnx"])
    assert {file["opset"] for file in facts["files"].values()} == {18}
    assert all(file["nodes"] > 100 for file in facts["files"].values())
    assert facts["dtype"] == "fp32"
    companions = {name for name in contents(checkpoint(architecture)) if name != "model.safetensors"}
    assert companions <= set(contents(folder))
    assert facts["bytes"] == sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "t5"])
def test_the_exported_model_writes_what_pytorch_writes(architecture):
    assert generated_by(exported(architecture)[1], architecture) == generated_by_torch(
        checkpoint(architecture), architecture
    )


def test_a_classifier_without_a_padding_token_needs_one_in_the_manifest(tmp_path):
    from onnxbuild.steps.validate import ValidateParams
    from onnxbuild.workers.fetch.worker import run as fetch
    from onnxbuild.workers.validate.worker import run as validate

    task = "text-classification"
    _, found = run_step(fetch, random_params("gpt2", task=task), text=text_folder())
    source = hard_links(found)
    for name, taken in (("config.json", "pad_token_id"), ("tokenizer_config.json", "pad_token"),
                        ("special_tokens_map.json", "pad_token")):  # fmt: skip
        path = source / name
        content = json.loads(path.read_text()) if path.is_file() else {}
        content.pop(taken, None)
        path.unlink(missing_ok=True)
        path.write_text(json.dumps(content))
    failure = failure_of(run, ExportParams(task=task, exporter="optimum"), model=source)
    assert (failure.code, failure.message) == ("OBE13", "the model has no padding token")
    assert "`pad_token_id:` in `export:`" in dict(failure.notes)["hint"]
    _, folder = run_step(run, ExportParams(task=task, exporter="optimum", pad_token_id=7), model=source)
    assert json.loads((folder / "config.json").read_text())["pad_token_id"] == 7
    params = ValidateParams(task=task, shapes=((3, 20),), thresholds={"max_abs": 1e-4})
    facts, _ = run_step(validate, params, "report", model=folder, reference=source)
    assert facts["passed"]


def test_an_invalid_generation_config_is_carried_over_and_told(tmp_path):
    workers = Workers(tmp_path / "work", "current")
    source = hard_links(checkpoint("gpt2"))
    settings = json.dumps({"temperature": 0.5, "do_sample": False, "transformers_version": "4.57.6"})
    (source / "generation_config.json").unlink(missing_ok=True)
    (source / "generation_config.json").write_text(settings)
    params = ExportParams(task=FAMILIES["gpt2"][0], exporter="optimum")
    try:
        facts, folder = workers.run("onnxbuild.workers.export.worker:run", params, "model", model=source)
        assert [one.split()[0] for one in facts["warnings"]] == ["OBE19"]
        assert "generation config is invalid and will not be saved" in facts["warnings"][0]
        assert (folder / "generation_config.json").read_text() == settings
        facts, _ = workers.run("onnxbuild.workers.export.worker:run", params, "model", model=checkpoint("gpt2"))
        assert "warnings" not in facts
    finally:
        workers.close()


SCRIPT = """
import os, socket, sys
from pathlib import Path
socket.getaddrinfo = socket.socket.connect = lambda *_: os._exit(9)  # libraries swallow what is merely raised
from onnxbuild.steps.export import ExportParams
from onnxbuild.workers.export.worker import run
run(ExportParams(task=sys.argv[1]), {"model": Path(sys.argv[2])}, {"model": Path(sys.argv[3])}, lambda *words: None)
"""


@pytest.mark.parametrize("architecture", ["gpt2", "t5"])
def test_another_process_exports_the_same_bytes_and_asks_no_network(architecture, tmp_path):
    environment = {**os.environ, "PYTHONHASHSEED": "7", "HF_HUB_OFFLINE": "0", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SCRIPT, FAMILIES[architecture][0], str(checkpoint(architecture)), str(tmp_path)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert contents(tmp_path) == contents(exported(architecture)[1])


def test_opset_and_attention_are_as_asked_for():
    params = ExportParams(task="text-classification", opset=21, attention="eager")
    facts, folder = run_step(run, params, model=checkpoint("bert"))
    assert facts["files"]["model.onnx"]["opset"] == 21
    assert "attn_implementation" not in (folder / "config.json").read_text()
    plain = outputs_of(exported("bert")[1] / "model.onnx")
    assert abs(outputs_of(folder / "model.onnx")[0] - plain[0]).max() < 1e-5


def test_half_precision_is_converted_and_loads():
    params = ExportParams(task="text-generation-with-past", dtype="fp16")
    facts, folder = run_step(run, params, model=checkpoint("gpt2"))
    plain = exported("gpt2")[1] / "model.onnx"
    types = {tensor.data_type for tensor in onnx.load(folder / "model.onnx").graph.initializer if len(tensor.dims) > 1}
    assert types == {onnx.TensorProto.FLOAT16}
    assert facts["dtype"] == "fp16"
    assert facts["files"]["model.onnx"]["bytes"] < plain.stat().st_size
    difference = abs(outputs_of(folder / "model.onnx")[0] - outputs_of(plain)[0]).max()
    assert 0 < difference < 0.01


def test_a_sentence_transformer_keeps_its_modules():
    facts, folder = run_step(run, ExportParams(task="feature-extraction"), model=minilm_files())
    graph = onnx.load(folder / "model.onnx").graph
    assert [output.name for output in graph.output] == ["token_embeddings", "sentence_embedding"]
    assert {"modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "vocab.txt"} <= set(contents(folder))
    assert "README.md" not in contents(folder)
    assert facts["files"]["model.onnx"]["bytes"] == pytest.approx(90.4e6, rel=0.01)


def test_a_sentence_transformer_as_a_bare_encoder():
    params = ExportParams(task="feature-extraction", library="transformers")
    _, folder = run_step(run, params, model=minilm_files())
    assert [output.name for output in onnx.load(folder / "model.onnx").graph.output] == ["last_hidden_state"]


def test_external_data_goes_through_every_step(monkeypatch):
    """What optimum does above 2 GB; the inputs of later steps are hard links, which onnx itself refuses to read."""
    from onnxbuild.steps.optimize import OptimizeParams
    from onnxbuild.steps.quantize import QuantizeParams
    from onnxbuild.workers.optimize.worker import run as optimize
    from onnxbuild.workers.quantize.worker import run as quantize

    plain = outputs_of(exported("gpt2")[1] / "model.onnx")[0]  # an export that other tests share
    monkeypatch.setenv("FORCE_ONNX_EXTERNAL_DATA", "1")
    _, folder = run_step(run, ExportParams(task=FAMILIES["gpt2"][0]), model=checkpoint("gpt2"))
    assert "model.onnx_data" in contents(folder)
    for worker, params in [
        (optimize, OptimizeParams(level="O1")),
        (optimize, OptimizeParams(level="O2")),
        (quantize, QuantizeParams(method="dynamic", preset="avx512_vnni")),
        (quantize, QuantizeParams(method="weight-only", bits=8)),
    ]:
        _, output = run_step(worker, params, model=folder)
        assert "model.onnx_data" in contents(output)
        assert abs(outputs_of(output / "model.onnx")[0] - plain).max() < 0.1


def damaged(tmp_path, **files):
    folder = hard_links(checkpoint("bert"))
    for name, content in files.items():
        path = folder / name.replace("_json", ".json").replace("_safetensors", ".safetensors")
        path.unlink()
        if content is not None:
            path.write_bytes(content)
    return folder


def config_with(**changes):
    return json.dumps({**json.loads((checkpoint("bert") / "config.json").read_text()), **changes}).encode()


@pytest.mark.parametrize(
    ("files", "code", "message"),
    [
        ({"config_json": None}, "OBE16", "the checkpoint has no config.json"),
        ({"config_json": b"{"}, "OBE16", "config.json is not JSON: "),
        ({"config_json": b"[]"}, "OBE16", "config.json is not a JSON object"),
        ({"model_safetensors": None}, "OBE16", "the checkpoint has no weights that can be used"),
        ({"model_safetensors": b"version https://git-lfs"}, "OBE16", "the weights file is damaged"),
        ({"model_safetensors": b""}, "OBE16", "the weights file is damaged"),
    ],
)
def test_a_damaged_checkpoint(tmp_path, files, code, message):
    failure = failure_of(run, ExportParams(task="text-classification"), model=damaged(tmp_path, **files))
    assert failure.code == code
    assert failure.message == message or (message.endswith(": ") and failure.message.startswith(message))


def test_weights_of_another_model(tmp_path):
    folder = damaged(tmp_path, config_json=config_with(hidden_size=64))
    failure = failure_of(run, ExportParams(task="text-classification"), model=folder)
    assert (failure.code, failure.message) == ("OBE16", "the shapes of the weights differ from config.json")


def test_an_architecture_that_nobody_knows(tmp_path):
    folder = damaged(tmp_path, config_json=config_with(model_type="brt"))
    failure = failure_of(run, ExportParams(task="text-classification"), model=folder)
    assert failure.code == "OBE02"
    assert failure.message == "this version of transformers does not know the architecture"


def test_a_task_that_the_type_does_not_have():
    failure = failure_of(run, ExportParams(task="text2text-generation"), model=checkpoint("bert"))
    assert (failure.code, failure.message) == ("OBE02", "bert cannot be exported for this task")
    assert failure.notes[-1][1].startswith("set `task:` to one of feature-extraction, fill-mask")


def test_an_opset_below_what_attention_needs():
    failure = failure_of(run, ExportParams(task="text-classification", opset=13), model=checkpoint("bert"))
    assert (failure.code, failure.message) == ("OBE08", "opset 13 has no aten::scaled_dot_product_attention")
    assert failure.notes[-1] == ("hint", "set `export: {opset: 14}` or higher; 18 is the default")


def test_a_frozen_axis_is_found(tmp_path):
    path = exported("bert")[1] / "model.onnx"
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(CheckFailed) as caught:
        check_graph(tmp_path / "model.onnx", 18)
    assert str(caught.value) == "OBE39 model.onnx: the first axis of input `input_ids` is fixed at 2"
    with pytest.raises(CheckFailed) as caught:
        check_graph(path, 17)
    assert str(caught.value) == "OBE03 model.onnx has opset 18, but opset 17 was requested"
