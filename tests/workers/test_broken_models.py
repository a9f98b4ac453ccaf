"""Many ways to break a model, each of which fails its default validation; the intact models pass it."""

from __future__ import annotations

import json
import shutil

import pytest

for module in ("torch", "optimum.onnxruntime", "sentence_transformers"):
    pytest.importorskip(module)

from small_models import alter_weight, classifier, damaged, exported, minilm, text_model  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.steps.validate import ValidateParams  # noqa: E402
from onnxbuild.tables.thresholds import default_bounds  # noqa: E402
from onnxbuild.workers.validate.worker import run  # noqa: E402

pytestmark = pytest.mark.heavy

MODELS = {
    "minilm": minilm,
    "classifier": classifier,
    "gpt2": lambda: exported("gpt2"),
    "bert": lambda: exported("bert"),
}


def validated(model, folder, precision="fp32"):
    """The facts of a validation with the default bounds of the task and precision."""
    report = folder / "report"
    report.mkdir()
    config = json.loads((model.onnx / "config.json").read_text(encoding="utf-8"))
    bounds = default_bounds(model.task, config, precision, has_labels=False)
    params = ValidateParams(task=model.task, precision=precision, thresholds=bounds)
    return run(params, model.inputs, {"report": report}, lambda *_: None)


def node_of(graph, weight):
    """The node that takes a weight."""
    return next(node for node in graph.graph.node if weight in node.input)


def reroute(graph, old, new):
    """Let every node that reads `old` read `new`."""
    for node in graph.graph.node:
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = new


def one_weight_changed(graph):
    def change(scales):
        scales[5] += 40.0
        return scales

    alter_weight(graph, "0.model.encoder.layer.3.output.LayerNorm.weight", change)


def mask_dropped(graph):
    """Attention reads the padding too; pooling keeps its mask."""
    from onnx import helper

    every = [
        helper.make_node("Equal", ["attention_mask", "attention_mask"], ["equal_to_itself"]),
        helper.make_node("Cast", ["equal_to_itself"], ["all_real"], to=7),
    ]
    for node in graph.graph.node:
        if node.op_type == "Unsqueeze" and "/0/" in node.output[0] and node.input[0] == "attention_mask":
            node.input[0] = "all_real"
    for place, node in enumerate(every):
        graph.graph.node.insert(place, node)


def pooling_wrong(graph):
    """The first token's state stands for the sentence."""
    from onnx import helper

    first = helper.make_node("Constant", [], ["first"], value_int=0)
    taken = helper.make_node("Gather", ["token_embeddings", "first"], ["first_token"], axis=1)
    reroute(graph, "/1/Concat_output_0", "first_token")
    place = next(n for n, node in enumerate(graph.graph.node) if "first_token" in node.input)
    graph.graph.node.insert(place, first)
    graph.graph.node.insert(place + 1, taken)


def positions_cut(graph):
    """Positions from 100 on are those of an untrained row."""

    def change(table):
        table[100:] = 0.0
        return table

    alter_weight(graph, "0.model.embeddings.position_embeddings.weight", change)


def layer_dropped(graph):
    last = node_of(graph, "0.model.encoder.layer.3.output.LayerNorm.bias").output[0]
    before = node_of(graph, "0.model.encoder.layer.2.output.LayerNorm.bias").output[0]
    reroute(graph, last, before)


def normalization_dropped(graph):
    """The vectors of sentences keep their length."""
    node = next(node for node in graph.graph.node if node.output[0] == "sentence_embedding")
    del node.input[1]
    node.op_type = "Identity"


def wrong_epsilon(graph):
    """1e-2 in every normalization, 1e-12 in the model."""
    for node in graph.graph.node:
        for attribute in node.attribute:
            if node.op_type == "LayerNormalization" and attribute.name == "epsilon":
                attribute.f = 1e-2


def labels_permuted(graph):
    for name in ("classifier.weight", "classifier.bias"):
        alter_weight(graph, name, lambda rows: rows[[1, 2, 0]])


def head_transposed(graph):
    alter_weight(graph, "bert.pooler.dense.weight", lambda weights: weights.T.copy())


def past_swapped(graph):
    """Each layer reads the cache of the other one."""
    for kind in ("key", "value"):
        first, second = (f"past_key_values.{layer}.{kind}" for layer in (0, 1))
        for old, new in ((first, "kept"), (second, first), ("kept", second)):
            reroute(graph, old, new)


BROKEN = [
    ("minilm", one_weight_changed),
    ("minilm", mask_dropped),
    ("minilm", pooling_wrong),
    ("minilm", positions_cut),
    ("minilm", layer_dropped),
    ("minilm", normalization_dropped),
    ("minilm", wrong_epsilon),
    ("classifier", labels_permuted),
    ("bert", head_transposed),
    ("gpt2", past_swapped),
]


@pytest.mark.parametrize("name", MODELS)
def test_an_intact_model_passes(tmp_path, name):
    facts = validated(MODELS[name](), tmp_path)
    assert (facts["passed"], facts["failures"]) == (True, [])


@pytest.mark.parametrize(("name", "change"), BROKEN, ids=[change.__name__ for _, change in BROKEN])
def test_a_broken_graph_fails(tmp_path, name, change):
    with pytest.raises(CheckFailed) as caught:
        validated(damaged(MODELS[name](), tmp_path / "broken", change), tmp_path)
    assert caught.value.failure.code == ("OBE86" if change is positions_cut else "OBE04")


def copied(model, folder):
    shutil.copytree(model.onnx, folder)
    return model._replace(onnx=folder)


def scaled(output, *, factor=1.0, shift=0.0):
    """Multiply an output by a number and add one."""

    def change(graph):
        import numpy as np
        from onnx import helper, numpy_helper

        for node in graph.graph.node:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    if name == output:
                        names[place] = "before_scaling"
        for name, number in (("factor", factor), ("shift", shift)):
            graph.graph.initializer.append(numpy_helper.from_array(np.float32(number), name))
        graph.graph.node.append(helper.make_node("Mul", ["before_scaling", "factor"], ["scaled"]))
        graph.graph.node.append(helper.make_node("Add", ["scaled", "shift"], [output]))

    return change


def several_labels():
    return text_model("several")


SIZES = [
    # A cosine does not see a length, the largest logit neither a factor nor a shift.
    ("fp16", minilm, normalization_dropped, "the vectors of `sentence_embedding` are 4.67 times as long"),
    ("int8", minilm, normalization_dropped, "the vectors of `sentence_embedding` are 4.67 times as long"),
    ("q4f16", minilm, scaled("sentence_embedding", factor=0.5), "the vectors of `sentence_embedding` are 0.5 times as"),
    ("int8", classifier, scaled("logits", factor=0.05), "the probability of a label of `logits` differs by 0.35"),
    ("q4", classifier, scaled("logits", factor=20), "the probability of a label of `logits` differs by 0.28"),
    ("int8", several_labels, scaled("logits", shift=-5), "the probability of a label of `logits` differs by 0.8"),
    ("int8", lambda: text_model("scores"), scaled("logits", factor=0.05), "the scores explain 0% of the differences"),
]


@pytest.mark.parametrize(("precision", "model", "change", "message"), SIZES)
def test_outputs_of_another_size_fail(tmp_path, precision, model, change, message):
    """Bounds of quantized variants are on directions and decisions, which these changes leave as they are."""
    with pytest.raises(CheckFailed, match="OBE145") as caught:
        validated(damaged(model(), tmp_path / "broken", change), tmp_path, precision)
    assert caught.value.failure.message.startswith(message)


@pytest.mark.parametrize("precision", ["int8", "q4"])
def test_the_intact_models_have_the_size_that_they_should(tmp_path, precision):
    for number, model in enumerate((minilm(), classifier(), several_labels(), text_model("scores"))):
        (tmp_path / str(number)).mkdir()
        assert validated(model, tmp_path / str(number), precision)["failures"] == []


def test_a_bound_on_the_size_replaces_the_check(tmp_path):
    model = damaged(minilm(), tmp_path / "broken", normalization_dropped)
    (tmp_path / "report").mkdir()
    params = ValidateParams(task=model.task, precision="int8", thresholds={"cosine_mean": 0.98, "max_abs": 2.0})
    assert run(params, model.inputs, {"report": tmp_path / "report"}, lambda *_: None)["passed"]


def _words(change):
    return lambda graph: alter_weight(graph, "0.model.embeddings.word_embeddings.weight", change)


def one_row_cleared(table):
    table[20000] = 0.0
    return table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (one_row_cleared, "the embedding of 1 of 30522 tokens is another than the reference's: that of id 20000"),
        (lambda table: table[:29700], "the graph has embeddings of 29700 tokens, the reference of 30522"),
    ],
    ids=["a row", "the end"],
)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_wrong_embedding_of_a_word_that_no_sample_has_fails(tmp_path, change, message, precision):
    with pytest.raises(CheckFailed, match="OBE146") as caught:
        validated(damaged(minilm(), tmp_path / "broken", _words(change)), tmp_path, precision)
    assert caught.value.failure.message.startswith(message)


@pytest.mark.parametrize("precision", ["fp32", "q4"])
def test_a_wrong_type_of_the_second_text_fails(tmp_path, precision):
    """The samples of a classifier of single texts have one type; its users may give it pairs."""

    def change(table):
        table[1] = 9.0
        return table

    broken = damaged(
        classifier(),
        tmp_path / "broken",
        lambda graph: alter_weight(graph, "bert.embeddings.token_type_embeddings.weight", change),
    )
    with pytest.raises(CheckFailed, match=r"OBE146 the embedding of . of 2 token types is another than"):
        validated(broken, tmp_path, precision)


def test_a_swapped_tokenizer_fails(tmp_path):
    """The graph is right, and two words have changed places in the vocabulary beside it."""
    model = copied(minilm(), tmp_path / "broken")
    path = model.onnx / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    words = content["model"]["vocab"]
    words["the"], words["water"] = words["water"], words["the"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckFailed) as caught:
        validated(model, tmp_path)
    failure = caught.value.failure
    assert failure.code == "OBE110"
    assert failure.message.startswith("the tokenizer beside the graph gives id 2300 where the reference's gives 1996: ")


def test_permuted_names_of_labels_fail(tmp_path):
    model = copied(classifier(), tmp_path / "broken")
    path = model.onnx / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["id2label"]["0"], config["id2label"]["2"] = config["id2label"]["2"], config["id2label"]["0"]
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckFailed) as caught:
        validated(model, tmp_path)
    assert caught.value.failure.code == "OBE111"
    assert caught.value.failure.message == "`id2label` beside the graph calls class 0 `POSITIVE`, not `NEGATIVE`"


def edited(model, folder, file, **entries):
    """A copy of an export with other entries in a file of JSON; None removes one."""
    model = copied(model, folder)
    path = model.onnx / file
    content = json.loads(path.read_text(encoding="utf-8")) | entries
    content = {name: value for name, value in content.items() if value is not None}
    path.write_text(json.dumps(content), encoding="utf-8")
    return model


BESIDE = [
    (minilm, "tokenizer_config.json", {"model_max_length": 16}, "OBE110", "cuts texts at 16 tokens, not 512"),
    (minilm, "tokenizer_config.json", {"truncation_side": "left"}, "OBE110", "cuts long texts otherwise"),
    (minilm, "tokenizer_config.json", {"padding_side": "left"}, "OBE110", "has its padding on another side: left, not"),
    (minilm, "tokenizer_config.json", {"pad_token": "[UNK]"}, "OBE110", "has another token for padding: 100, not 0"),
    (lambda: exported("gpt2"), "tokenizer.json", {"decoder": {"type": "Fuse"}}, "OBE110", "makes another text of the"),
    (classifier, "config.json", {"id2label": None}, "OBE111", "`id2label` beside the graph is missing"),
    (several_labels, "config.json", {"problem_type": None}, "OBE147", "`problem_type` in config.json beside the graph"),
    (
        lambda: exported("gpt2"),
        "generation_config.json",
        {"eos_token_id": 7},
        "OBE147",
        "`eos_token_id` in generation_",
    ),
]


@pytest.mark.parametrize(("model", "file", "entries", "code", "message"), BESIDE)
def test_another_setting_beside_the_graph_fails(tmp_path, model, file, entries, code, message):
    with pytest.raises(CheckFailed, match=code) as caught:
        validated(edited(model(), tmp_path / "broken", file, **entries), tmp_path)
    assert message in caught.value.failure.message


def test_pairs_without_their_types_fail(tmp_path):
    model = copied(minilm(), tmp_path / "broken")
    path = model.onnx / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for part in content["post_processor"]["pair"]:
        next(iter(part.values()))["type_id"] = 0
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckFailed, match="OBE110 the tokenizer beside the graph encodes pairs of texts otherwise"):
        validated(model, tmp_path)


def test_ranges_of_random_ids_fail(tmp_path):
    """int8 with activations calibrated on random values, which a tool may use in silence where its data are missing."""
    import numpy as np
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Random(CalibrationDataReader):
        def __init__(self):
            generator = np.random.default_rng(0)
            shape = (2, 16)
            ids = [generator.integers(0, 30522, shape) for _ in range(4)]
            self._left = iter([{"input_ids": one, "attention_mask": np.ones(shape, np.int64)} for one in ids])

        def get_next(self):
            return next(self._left, None)

    model = copied(minilm(), tmp_path / "broken")
    path = model.onnx / "model.onnx"
    quantize_static(
        path, path, Random(), quant_format=QuantFormat.QDQ, weight_type=QuantType.QInt8, activation_type=QuantType.QInt8
    )
    with pytest.raises(CheckFailed, match="OBE04 `cosine_mean` is "):
        validated(model, tmp_path, "int8")
