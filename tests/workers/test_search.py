"""`method: auto`: metrics and costs by hand, the fewest nodes that are taken back, and a search on a small model."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import msgspec
import numpy as np
import onnx
import pytest
from families import contents, exported, run_step, scratch, silent
from onnx import TensorProto, helper, numpy_helper

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.steps.quantizing.bounds_of_search import bounds
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.folders.journal import Journal
from onnxbuild.workers.inputs.sample_source import open_source
from onnxbuild.workers.inputs.samples import single_texts
from onnxbuild.workers.inputs.sentences import SENTENCES
from onnxbuild.workers.measuring import metrics
from onnxbuild.workers.measuring.output_scores import LOSSES, _losses, fewest, loss_of, scores
from onnxbuild.workers.quantize.search.mixed import cost_of, mixed, parts_of
from onnxbuild.workers.quantize.search.search import Rows, Trial, noted_loss, search
from onnxbuild.workers.quantize.worker import run

pytestmark = pytest.mark.heavy

AUTO = QuantizeParams(method="auto", preset="avx512_vnni", smooth="auto", subject_to={"cosine_mean": ">= 0.999"})


def three_layers():
    """A table of 7 rows with 5 channels, then products with weights of 5×7 and 7×3, and a deep one of 2×3×4."""
    weights = {"table": (7, 5), "up": (5, 7), "down": (7, 3), "deep": (2, 3, 4)}
    stored = [
        numpy_helper.from_array(np.random.default_rng(7).normal(size=shape).astype(np.float32), name)
        for name, shape in weights.items()
    ]
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"], name="table"),
        helper.make_node("MatMul", ["x", "up"], ["h"], name="up"),
        helper.make_node("Tanh", ["h"], ["t"], name="tanh"),
        helper.make_node("MatMul", ["t", "down"], ["d"], name="down"),
        helper.make_node("MatMul", ["d", "deep"], ["y"], name="deep"),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, "n", 4])
    graph = helper.make_graph(nodes, "g", [ids], [y], stored)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


FEEDS = [{"ids": np.array([1, 3, 5])}, {"ids": np.array([0, 2, 4, 6])}]


def test_scores_by_hand():
    exact = [{"y": np.float32([[3, 4], [1, 0]])}, {"y": np.float32([[0, 2]])}]
    found = [{"y": np.float32([[4, 3], [1, 0]])}, {"y": np.float32([[0, 1]])}]
    assert scores(exact, found) == pytest.approx({"cosine_mean": (0.96 + 1 + 1) / 3, "cosine_min": 0.96})
    assert loss_of(scores(exact, found)) == pytest.approx(0.04 / 3)


def test_the_worst_output_decides():
    exact = [{"y": np.float32([[1, 0]]), "z": np.float32([[1, 0]])}]
    found = [{"y": np.float32([[1, 0]]), "z": np.float32([[3, 4]])}]
    assert scores(exact, found) == pytest.approx({"cosine_mean": 0.6, "cosine_min": 0.6})


def test_a_vector_of_length_zero_is_judged_as_a_validation_judges_it():
    exact = [{"y": np.float32([[0, 0], [3, 4], [0, 0], [1, 0]])}]
    found = [{"y": np.float32([[0, 0], [0, 0], [1, 0], [1, 0]])}]
    # Two zero vectors are equal. One zero vector is a lost or an invented direction, and no agreement.
    assert metrics.cosines(exact[0]["y"], found[0]["y"]).tolist() == [1.0, 0.0, 0.0, 1.0]
    assert scores(exact, found) == {"cosine_mean": 0.5, "cosine_min": 0.0}


def test_a_single_logit_decides_by_its_sign():
    exact, found = [{"logits": np.float32([[2], [-1], [3]])}], [{"logits": np.float32([[1], [1], [4]])}]
    assert scores(exact, found)["top1"] == metrics.top1(exact[0]["logits"], found[0]["logits"]) == pytest.approx(2 / 3)


def test_logits_have_winners_and_a_divergence():
    exact = [{"logits": np.log(np.float32([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]))}]
    found = [{"logits": np.log(np.float32([[0.25, 0.5, 0.25], [0.1, 0.8, 0.1]])) + 3}]
    result = scores(exact, found)
    # The first row: 0.5·ln 2 + 0.25·ln ½ = 0.25·ln 2. A number added to all logits changes nothing.
    assert (result["top1"], result["kl_mean"]) == pytest.approx((0.5, 0.125 * np.log(2)), rel=1e-5)
    assert loss_of(result) == result["kl_mean"]


def test_the_bounds_of_a_block():
    cosine, divergence = bounds({"cosine_mean": ">= 0.999", "kl_mean": "<=1e-3"})
    assert [cosine.holds(value) for value in (0.9989, 0.999, 1)] == [False, True, True]
    assert [divergence.holds(value) for value in (0.0011, 0.001, 0)] == [False, True, True]


def test_a_mix_costs_its_multiplications_by_form():
    parts = parts_of(three_layers(), AUTO)
    assert [(part.name, part.size, part.forms) for part in parts] == [
        ("table", 35, ("int8", "fp32")),
        ("up", 35, ("int8", "q8", "fp32")),
        ("down", 21, ("int8", "q8", "fp32")),
        ("deep", 24, ("int8", "fp32")),
    ]
    least = 35 * 0.02 + 35 + 21 + 24
    assert cost_of(parts, {}, minimize="latency") == 1
    assert cost_of(parts, {"up": "fp32", "down": "q8"}, minimize="latency") == pytest.approx(
        (35 * 0.02 + 35 * 4 + 21 * 2.8 + 24) / least
    )
    assert cost_of(parts, {"table": "fp32"}, minimize="size") == pytest.approx((35 * 4 + 80) / 115)


def test_a_mix_has_each_node_in_its_form():
    model = three_layers()
    made = mixed(model, {"up": "q8", "deep": "fp32"}, AUTO)
    kinds = {kind: sum(node.op_type == kind for node in made.graph.node) for kind in ("MatMulNBits", "MatMulInteger")}
    assert kinds == {"MatMulNBits": 1, "MatMulInteger": 1}
    (product,) = (node for node in made.graph.node if node.op_type == "MatMul")
    assert product.name == "deep"
    attributes = {a.name: a.i for a in next(n for n in made.graph.node if n.op_type == "MatMulNBits").attribute}
    assert {"bits": 8, "block_size": 32, "accuracy_level": 4, "K": 5, "N": 7}.items() <= attributes.items()
    assert model == three_layers()


@pytest.mark.parametrize("needed", range(1, 12))
def test_no_more_nodes_are_taken_back_than_the_bound_needs(needed):
    counts = []

    def trial(count):
        counts.append(count)
        return Trial("r", {str(n): "fp32" for n in range(count)}, count, {}, count >= needed)

    found = fewest(trial, 11)
    assert len(found.plan) == needed
    assert len(counts) == len(set(counts)) <= 8


def test_where_not_even_all_nodes_suffice_there_is_none():
    assert fewest(lambda count: Trial("r", {}, count, {}, holds=False), 11) is None


def test_a_search_of_a_small_graph():
    """Every trial that holds costs at least as much as the one that is chosen, and its outputs keep the bound."""
    params = msgspec.structs.replace(AUTO, subject_to={"cosine_mean": ">= 0.99999"}, smooth=msgspec.UNSET)
    model, facts = search(three_layers(), params, Rows(FEEDS, FEEDS), scratch(), silent, Journal())
    holding = [trial for trial in facts["trials"] if trial["holds"]]
    assert facts["chosen"]["cost"] == min(trial["cost"] for trial in holding)
    assert facts["chosen"]["cosine_mean"] >= 0.99999
    assert not facts["trials"][0]["holds"]
    assert set(facts["losses"]) == {"table", "up", "down", "deep"}
    taken = [name for names in facts["taken_back"].values() for name in names]
    assert taken
    assert sum(facts["chosen"][form] for form in ("q8", "fp32")) == len(taken)
    assert not {node.name for node in model.graph.node if node.op_type == "MatMul"} - set(taken)


KILLED = """
import json, os, sys
from pathlib import Path

import msgspec

from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.quantize.worker import run

def tell(text, done=None, total=None):
    print(text, flush=True)
    sys.stdin.readline()

params = msgspec.json.decode(sys.argv[1], type=QuantizeParams)
model, output, journal = map(Path, sys.argv[2:])
run(params, {"model": model}, {"model": output, "journal": journal}, tell)
"""


def searched(source, params, journal, *, until=""):
    """Quantize in a process that is killed when it tells that it begins something; returns what it told, its output."""
    output = scratch()
    arguments = [msgspec.json.encode(params).decode(), *map(str, (source, output, journal))]
    told = []
    command = [sys.executable, "-c", KILLED, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        for line in process.stdout:
            told.append(line.strip())
            if until and line.startswith(until):
                process.kill()  # SIGKILL
                break
            process.stdin.write("\n")
    assert process.returncode == (-signal.SIGKILL if until else 0)
    return [line for line in told if line.startswith(("trial", "sensitivity"))], output


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_search_continues_and_gives_the_same_bytes():
    params = msgspec.structs.replace(AUTO, subject_to={"cosine_mean": ">= 0.9998"}, smooth=msgspec.UNSET)
    source, journal = exported("bert")[1], scratch()
    whole, expected = searched(source, params, scratch())
    assert len(whole) == len(set(whole)) > 8
    first, _ = searched(source, params, journal, until="sensitivity")
    second, _ = searched(source, params, journal, until="trial 2")
    third, output = searched(source, params, journal)
    assert first == whole[: len(first)]
    # Each process begins with what the one before was killed in.
    assert [second[0], third[0]] == [first[-1], second[-1]]
    assert [*first, *second[1:], *third[1:]] == whole
    assert contents(output) == contents(expected)


def test_a_bound_that_nothing_keeps():
    params = msgspec.structs.replace(AUTO, subject_to={"cosine_mean": ">= 1.5"}, smooth=msgspec.UNSET)
    with pytest.raises(CheckFailed, match="OBE115 no mix of int8, 8-bit weights and fp32") as caught:
        search(three_layers(), params, Rows(FEEDS, FEEDS), scratch(), silent, Journal())
    assert "gives 1.000000 for `cosine_mean >= 1.5`" in str(caught.value)
    assert len(caught.value.failure.facts["trials"]) == 7  # one in int8, then 1, 2 and 4 nodes back in both recipes


def test_the_losses_of_tokens_are_those_of_the_next_real_token():
    logits = np.log(np.float32([[[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.4, 0.4, 0.2]]]))
    fed = {"input_ids": np.array([[2, 0, 1, 1]]), "attention_mask": np.array([[1, 1, 1, 0]])}
    # After the token 2 comes 0, after it 1; what follows is padding.
    assert _losses(logits, fed, "") == pytest.approx(-np.log([0.5, 0.8]))
    assert _losses(logits[:, 1], fed, "") is None  # one decision per row
    exact = [{"logits": logits[0], LOSSES: np.array([1.0, 2.0])}, {"logits": logits[0], LOSSES: np.array([0.5])}]
    found = [{"logits": logits[0], LOSSES: np.array([1.3, 2.0])}, {"logits": logits[0], LOSSES: np.array([0.5])}]
    assert scores(exact, found)["perplexity_ratio"] == pytest.approx(np.exp(0.1))
    assert "perplexity_ratio" not in scores([{"logits": logits[0]}], [{"logits": logits[0]}])


def test_a_decoder_with_a_past_keeps_a_ratio_of_perplexities():
    """The bound holds for the text of the model's own cache, too: its logits after a past are those of the search."""
    source = exported("gpt2")[1]
    params = msgspec.structs.replace(AUTO, subject_to={"perplexity_ratio": "<= 1.000005"}, smooth=msgspec.UNSET)
    facts, folder = run_step(run, params, model=source)
    found = facts["files"]["model.onnx"]["search"]
    assert found["trials"][0]["perplexity_ratio"] > 1.000005  # int8 alone does not keep it
    assert found["chosen"]["perplexity_ratio"] <= 1.000005
    assert "past_key_values.0.key" in {value.name for value in onnx.load(folder / "model.onnx").graph.input}
    losses = [perplexities(path) for path in (source, folder)]
    assert metrics.perplexity_ratio(*losses) == pytest.approx(found["chosen"]["perplexity_ratio"], abs=2e-6)


def perplexities(folder):
    """The losses of all tokens of the sentences of validation, read without the search."""
    model = OnnxModel(folder, threads=1)
    samples = single_texts(open_source(folder, model, "", seed=0, light=True), SENTENCES, 128)
    pairs = ((one.feeds["input_ids"][0], model.run("prefill", one.feeds)["logits"][0]) for one in samples)
    return np.concatenate([metrics.negative_log_likelihoods(logits[:-1], ids[1:]) for ids, logits in pairs])


def test_a_bound_on_logits_where_there_are_none():
    params = msgspec.structs.replace(AUTO, subject_to={"top1": ">= 0.9"})
    with pytest.raises(CheckFailed) as caught:
        search(three_layers(), params, Rows(FEEDS, FEEDS), scratch(), silent, Journal())
    assert str(caught.value) == "OBE116 the model has no `top1`: it gives no logits"
    assert caught.value.failure.notes == (("hint", "bound one of `cosine_mean`, `cosine_min`"),)
    with pytest.raises(CheckFailed, match="OBE116 a search needs at least two rows"):
        search(three_layers(), params, Rows(FEEDS, []), scratch(), silent, Journal())


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_model_keeps_the_bound_on_text_that_it_was_not_calibrated_with(family):
    source = exported(family)[1]
    params = msgspec.structs.replace(AUTO, subject_to={"cosine_mean": ">= 0.9998", "kl_mean": "<= 0.001"})
    (facts, folder), (_, again) = (run_step(run, params, model=source) for _ in range(2))
    assert contents(folder) == contents(again)
    found = facts["files"]["model.onnx"]["search"]
    assert found["chosen"]["holds"]
    exact, quantized = OnnxModel(source, threads=1), OnnxModel(folder, threads=1)
    stage = exact.first
    samples = list(single_texts(open_source(source, exact, "", seed=0, light=True), SENTENCES, 128))
    pairs = [[m.run(stage, one.feeds)["logits"].reshape(-1) for m in (exact, quantized)] for one in samples]
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]
    assert np.mean(cosines) > 0.9997
    model = onnx.load(folder / "model.onnx")
    assert any(node.op_type == "MatMulInteger" for node in model.graph.node)


def test_with_every_node_in_fp32_nothing_is_quantized_and_so_nothing_keeps_the_bound():
    params = msgspec.structs.replace(AUTO, subject_to={"cosine_mean": ">= 0.99999999999999"}, smooth=msgspec.UNSET)
    with pytest.raises(CheckFailed, match="OBE115 no mix of int8, 8-bit weights and fp32 keeps") as caught:
        search(three_layers(), params, Rows(FEEDS, FEEDS), scratch(), silent, Journal())
    assert re.search(r"nearest of 7 gives 0\.999\d+ for `cosine_mean >= 0\.99999999999999`", str(caught.value))
    assert [trial["fp32"] for trial in caught.value.failure.facts["trials"] if trial["holds"]] == [4]


def test_an_output_that_is_no_number_is_the_worst_wherever_it_stands():
    exact = [{"a": np.ones((2, 3)), "b": np.ones((2, 3))}]
    found = [{"a": np.ones((2, 3)), "b": np.full((2, 3), np.nan)}]
    assert np.isnan(scores(exact, found)["cosine_mean"])
    assert np.isnan(scores(found, exact)["cosine_min"])
    assert noted_loss(np.nan) == noted_loss(np.inf) > noted_loss(2.0) == 2.0
    assert noted_loss(-1e-9) == 0.0
