"""The names of classes, which config.json leaves out if there are two of them without a name."""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from onnxbuild.serve.folder_server.server_answers import addresses_of
from onnxbuild.serve.inference.encoder_model import EncoderModel
from onnxbuild.serve.inference.generating.sampling import Sampler
from onnxbuild.serve.inference.model_folder import ModelFolder, UnusableModelError
from onnxbuild.serve.wire import Sampling

WORDS = {"[UNK]": 0, "ship": 1, "quay": 2, "tide": 3}
THREE = {"0": "O", "1": "B-PER", "2": "I-PER"}


def folder_of(place, config, *, classes, per_token=False, shown=True):
    """A folder whose graph has a row of scores per word, or their sum. `shown`: whether its shape has the classes."""
    table = np.arange(len(WORDS) * classes, dtype=np.float32).reshape(len(WORDS), classes) % 5
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["logits" if per_token else "words"])]
    if not per_token:
        nodes.append(helper.make_node("ReduceSum", ["words", "axes"], ["logits"], keepdims=0))
    shape = ["b", "s", classes if shown else "c"] if per_token else ["b", classes if shown else "c"]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["b", "s"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor("table", TensorProto.FLOAT, table.shape, table.ravel()),
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (place / "model.onnx").write_bytes(model.SerializeToString())
    (place / "config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer(WordLevel(WORDS, "[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(place / "tokenizer.json"))
    return ModelFolder(place, "token-classification" if per_token else "text-classification")


@pytest.mark.parametrize(("config", "classes", "labels"), [
    ({}, 2, ["LABEL_0", "LABEL_1"]),
    ({"num_labels": 3}, 3, ["LABEL_0", "LABEL_1", "LABEL_2"]),
    ({"id2label": THREE}, 3, ["O", "B-PER", "I-PER"]),
])  # fmt: skip
@pytest.mark.parametrize("shown", [True, False])
def test_each_class_has_a_name(tmp_path, config, classes, labels, shown):
    model = EncoderModel(folder_of(tmp_path, config, classes=classes, shown=shown), 1)
    answers = addresses_of(model)
    (row,) = answers["/classify"](model, {"input": "ship tide"})["data"]
    assert [*row["scores"]] == labels == [*model.about.labels]
    assert sum(row["scores"].values()) == pytest.approx(1)


def test_each_token_has_the_name_of_a_class(tmp_path):
    model = EncoderModel(folder_of(tmp_path, {}, classes=2, per_token=True), 1)
    (row,) = addresses_of(model)["/token-classify"](model, {"input": "ship quay tide"})["data"]
    assert [(one["text"], one["label"]) for one in row["tokens"]] == [
        ("ship", "LABEL_1"), ("quay", "LABEL_0"), ("tide", "LABEL_1"),
    ]  # fmt: skip


def test_a_number_of_names_that_is_not_that_of_the_classes_is_refused(tmp_path):
    with pytest.raises(UnusableModelError, match=r"has 2 classes, and `config\.json` names 3"):
        EncoderModel(folder_of(tmp_path, {"id2label": THREE}, classes=2), 1)


def test_texts_of_other_lengths_run_apart_and_are_answered_in_their_order(tmp_path):
    model = EncoderModel(folder_of(tmp_path, {}, classes=2), 1)
    shapes, run = [], model._session.run
    model._session.run = lambda outputs, feeds: shapes.append(feeds["input_ids"].shape) or run(outputs, feeds)
    texts = ["ship", "quay " * 210, "tide", "tide " * 200]
    rows = addresses_of(model)["/classify"](model, {"input": texts})["data"]
    assert sorted(shapes) == [(2, 1), (2, 210)]
    alone = [
        addresses_of(model)["/classify"](model, {"input": text})["data"][0]["scores"] for text in (texts[0], texts[2])
    ]
    assert [rows[0]["scores"], rows[2]["scores"]] == alone


def test_a_higher_temperature_chooses_less_likely_tokens():
    logits = np.array([0.0, 1.0, 2.0, 0.5], np.float32)

    def chosen(temperature):
        sampler = Sampler(Sampling(max_tokens=9, whole=False, temperature=temperature, seed=7), {})
        return [int(sampler.choose(logits, [])) for _ in range(300)].count(2)

    assert chosen(0.05) == 300
    assert 220 > chosen(1.0) > chosen(2.0) > 75
