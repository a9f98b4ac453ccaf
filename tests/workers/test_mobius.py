"""Graphs that mobius writes, of small random checkpoints with unequal sizes, each compared with PyTorch."""

from __future__ import annotations

import pytest
from toolchain5 import Workers, random_checkpoints

from onnxbuild.protocol import Failure
from onnxbuild.steps.benchmark import BenchmarkParams
from onnxbuild.steps.export import ExportParams
from onnxbuild.steps.generate import GenerateParams
from onnxbuild.steps.validate import ValidateParams

pytestmark = pytest.mark.heavy

# Below the size of the tokenizer, so that the vocabulary is as large as the tokenizer.
SMALL = {"vocab_size": 1}
SIZES = {"hidden_size": 48, "intermediate_size": 72, "num_hidden_layers": 4, "num_attention_heads": 6}
TEXT = {
    **SIZES,
    **SMALL,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 300,
    "initializer_range": 0.1,
}
LINEAR = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 12, "linear_value_head_dim": 20,
}  # fmt: skip
DECODER, ENCODER = "text-generation-with-past", "feature-extraction"
# Model type → task, config, size of the tokenizer.
MODELS = {
    "qwen3": (DECODER, TEXT, 600),
    "qwen3_5_text": (DECODER, {**TEXT, **LINEAR}, 600),
    "bert": (ENCODER, {**SIZES, **SMALL, "max_position_embeddings": 200, "initializer_range": 0.3}, 600),
    "vit": (ENCODER, {**SIZES, "image_size": 40, "patch_size": 8, "initializer_range": 0.1}, 0),
    # mobius registers these types and has other models under their names.
    "roberta": (ENCODER, {**SIZES, **SMALL, "max_position_embeddings": 200, "initializer_range": 0.3}, 600),
    "modernbert": (ENCODER, {**SIZES, **SMALL, "layer_types": ["full_attention"] * 4}, 600),
}


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    found = Workers(tmp_path_factory.mktemp("mobius"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def made(workers):
    return random_checkpoints(workers, MODELS)


def exported(workers, made, name, **params):
    asked = ExportParams(task=MODELS[name][0], exporter="mobius", opset=24, **params)
    return workers.run("onnxbuild.workers.export.worker:run", asked, "model", model=made(name))


def validated(workers, made, name, model):
    asked = ValidateParams(task=MODELS[name][0], thresholds={"max_abs": 2e-4})
    facts, _ = workers.run("onnxbuild.workers.validate.worker:run", asked, "report", model=model, reference=made(name))
    return facts


@pytest.mark.parametrize("name", ["qwen3", "qwen3_5_text", "bert", "vit"])
def test_what_mobius_writes_is_the_model(workers, made, name):
    facts, model = exported(workers, made, name)
    assert not isinstance(facts, Failure), facts
    assert list(facts["files"]) == ["model.onnx"]
    assert facts["files"]["model.onnx"]["opset"] == 24
    assert facts["because"].startswith(f"mobius knows {name} for {MODELS[name][0]}")
    assert facts.get("warnings", []) == []
    proven = validated(workers, made, name, model)
    assert not isinstance(proven, Failure), proven
    assert proven["passed"]
    assert proven["metrics"]["max_abs"] < 2e-4


def test_a_past_of_states_is_generated_from_and_timed(workers, made):
    """The loop over chunks of 64 tokens that tracing freezes is none here: a text of 150 tokens is read as one."""
    _, model = exported(workers, made, "qwen3_5_text")
    ports = {"model": model, "reference": made("qwen3_5_text")}
    asked = GenerateParams(task=DECODER, prompts=("The second run", "A manifest " * 75), max_new_tokens=6, rounds=1)
    said, _ = workers.run("onnxbuild.workers.generate.worker:run", asked, "samples", **ports)
    assert not isinstance(said, Failure), said
    assert said["agreement"] == {"tokens": 12, "of": 12}
    timing = BenchmarkParams(task=DECODER, sequence=(8,), iterations=4, rounds=2)
    timed, _ = workers.run("onnxbuild.workers.benchmark.worker:run", timing, "samples", **ports)
    assert not isinstance(timed, Failure), timed
    assert {result["stage"] for result in timed["results"]} == {"prefill", "decode"}


def test_a_model_that_mobius_registers_and_does_not_know_fails_with_a_code(workers, made):
    failure, _ = exported(workers, made, "modernbert")
    assert failure.code == "OBE100"
    assert failure.message.startswith("the graph that mobius writes has weights that the checkpoint lacks: ")


def test_a_graph_of_another_model_fails_its_validation(workers, made):
    """mobius writes RoBERTa as BERT, whose positions begin elsewhere."""
    facts, model = exported(workers, made, "roberta")
    assert not isinstance(facts, Failure), facts
    failure = validated(workers, made, "roberta", model)
    assert failure.code == "OBE04"


def test_pickled_weights_are_not_read(workers, made, tmp_path):
    (tmp_path / "config.json").write_bytes((made("bert") / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    asked = ExportParams(task=ENCODER, exporter="mobius", opset=24)
    failure, _ = workers.run("onnxbuild.workers.export.worker:run", asked, "model", model=tmp_path)
    assert failure.code == "OBE98"
