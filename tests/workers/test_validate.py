from __future__ import annotations

import json
import shutil

import pytest

for module in ("torch", "optimum.onnxruntime", "sentence_transformers"):
    pytest.importorskip(module)

from small_models import alter_weight, damaged, exported, minilm, rename_output  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.steps.validate import ValidateParams  # noqa: E402
from onnxbuild.tables.bounds.row_metrics import ROW_METRICS  # noqa: E402
from onnxbuild.tables.thresholds import THRESHOLDS, table_of  # noqa: E402
from onnxbuild.workers.validate.worker import broken_bounds, run  # noqa: E402
from onnxbuild.workers.validate.worst import Worst  # noqa: E402

pytestmark = pytest.mark.heavy

WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"


def change_one_number(graph):
    """One weight of 23 million: the scale of one feature in the fourth layer."""

    def change(scales):
        scales[5] += 40.0
        return scales

    alter_weight(graph, "encoder.layer.3.output.LayerNorm.weight", change)


@pytest.fixture
def validate(tmp_path):
    """Runs a validation with the default bounds of the task; the report lies under `tmp_path/report`."""
    report = tmp_path / "report"
    report.mkdir()

    def run_it(model, *, thresholds=None, **params):
        bounds = THRESHOLDS[table_of(model.task)]["fp32"] if thresholds is None else thresholds
        settled = ValidateParams(task=model.task, thresholds=bounds, **params)
        return run(settled, model.inputs, {"report": report}, lambda *_: None)

    return run_it


@pytest.mark.parametrize("name", ["bert", "questions", "gpt2", "t5", "vit", "whisper"])
def test_an_export_of_every_family_agrees_with_pytorch(validate, tmp_path, name):
    facts = validate(exported(name))
    assert (facts["passed"], facts["failures"]) == (True, [])
    assert facts["reference"] == "torch"
    assert facts["metrics"]["max_abs"] < 1e-4
    assert facts["metrics"]["top1"] == 1.0
    assert set(facts["providers"]) == {"CPUExecutionProvider"}
    report = json.loads((tmp_path / "report" / "validation.json").read_text())
    assert report["metrics"] == facts["metrics"]
    assert {record["where"] for record in report["records"]}


def test_stages_and_metrics_follow_the_family(validate):
    found = {name: validate(exported(name)) for name in ("bert", "gpt2", "t5")}
    assert {name: sorted(facts["stages"]) for name, facts in found.items()} == {
        "bert": ["forward"],
        "gpt2": ["decode", "prefill"],
        "t5": ["decoder", "decoder_step", "encoder", "merged", "merged_step"],
    }
    of_outputs = {name: sorted(facts["metrics"].keys() - ROW_METRICS.keys()) for name, facts in found.items()}
    assert {name: [one for one in metrics if "_abs" not in one] for name, metrics in of_outputs.items()} == {
        "bert": ["cosine_mean", "cosine_min", "max_probability", "top1"],
        "gpt2": ["cosine_mean", "cosine_min", "kl_mean", "perplexity_ratio", "top1"],
        "t5": ["cosine_mean", "cosine_min", "kl_mean", "perplexity_ratio", "top1"],
    }
    assert {name: sorted(facts["metrics"].keys() & ROW_METRICS.keys()) for name, facts in found.items()} == {
        "bert": [],  # it has no tokenizer
        "gpt2": ["greedy_agreement", "next_token_agreement", "next_token_kl", "text_perplexity_ratio"],
        "t5": ["chrf", "chrf_agreement", "greedy_agreement", "rouge_agreement", "rouge_l"],
    }
    assert "decode/present.0.key" in found["gpt2"]["outputs"]
    assert found["gpt2"]["samples"]["text"] == "sentences"
    assert found["bert"]["samples"] == {"batches": 8, "rows": 46, "tokens": 760, "text": "seeded values"}
    (warning,) = found["bert"]["warnings"]
    assert warning.startswith("the model has no tokenizer, so it was compared on seeded token ids")


@pytest.mark.parametrize("library", ["sentence_transformers", "transformers"])
def test_minilm_is_what_pytorch_gives(validate, library):
    facts = validate(minilm(library))
    outputs = {"sentence_transformers": {"forward/token_embeddings", "forward/sentence_embedding"}}
    assert set(facts["outputs"]) == outputs.get(library, {"forward/last_hidden_state"})
    assert facts["metrics"]["cosine_min"] > 0.99999
    assert facts["samples"]["rows"] == 46


def test_one_changed_weight_fails(validate, tmp_path):
    broken = damaged(minilm("transformers"), tmp_path / "damaged", change_one_number)
    with pytest.raises(CheckFailed) as caught:
        validate(broken, thresholds={"cosine_mean": 0.98, "cosine_min": 0.97, "max_abs": 100.0})
    failure = caught.value.failure
    assert failure.code == "OBE04"
    worst = failure.facts["metrics"]["cosine_mean"]
    place = failure.facts["worst_at"]["cosine_mean"]
    assert worst < 0.98
    assert failure.message == f"`cosine_mean` is {worst:.3g}, below 0.98 ({place})"
    assert place.startswith("output `last_hidden_state`, ")
    assert [label for label, _ in failure.notes] == ["also"]
    assert failure.notes[0][1].startswith("`cosine_min` is ")
    assert failure.facts["passed"] is False


def test_a_single_element_is_seen_by_the_fp32_bounds(validate, tmp_path):
    def spoil(graph):
        def change(weights):
            weights[1996, 7] += 0.5  # of the word "the"
            return weights

        alter_weight(graph, WORD_EMBEDDINGS, change)

    broken = damaged(minilm("transformers"), tmp_path / "damaged", spoil)
    with pytest.raises(CheckFailed, match="OBE04 `max_abs` is"):
        validate(broken)


def test_warn_records_the_failure_and_goes_on(validate, tmp_path):
    broken = damaged(minilm("transformers"), tmp_path / "damaged", change_one_number)
    facts = validate(broken, thresholds={"cosine_min": 0.99}, on_failure="warn")
    assert facts["passed"] is False
    assert facts["failures"][0].startswith("`cosine_min` is ")


@pytest.mark.parametrize("on_failure", ["fail", "warn"])
def test_nan_passes_nothing(validate, tmp_path, on_failure):
    import numpy as np

    def spoil(graph):
        def change(bias):
            bias[0] = np.nan
            return bias

        alter_weight(graph, "encoder.layer.3.output.dense.bias", change)

    broken = damaged(minilm("transformers"), tmp_path / "damaged", spoil)
    with pytest.raises(CheckFailed) as caught:
        validate(broken, thresholds={}, on_failure=on_failure)
    assert caught.value.failure.code == "OBE06"
    assert caught.value.failure.message == (
        "3072 of 3072 values are NaN or infinite where the reference has numbers "
        "(output `last_hidden_state`, shape 1×8)"
    )


def test_a_renamed_output_fails(validate, tmp_path):
    broken = damaged(
        minilm("transformers"),
        tmp_path / "damaged",
        lambda graph: rename_output(graph, "last_hidden_state", "embeddings"),
    )
    with pytest.raises(CheckFailed) as caught:
        validate(broken)
    assert caught.value.failure.code == "OBE04"
    assert caught.value.failure.message == (
        "output `last_hidden_state` is missing, output `embeddings` is not one of the reference's (shape 1×8)"
    )


def test_a_fault_in_the_cache_shows_in_the_step_that_reads_it(validate, tmp_path):
    """The prefill of a decoder whose keys come out wrong is right; only the next token's logits are not."""

    def spoil(graph):
        from onnx import helper

        rename_output(graph, "present.0.value", "good_value")
        output = next(o for o in graph.graph.output if o.name == "good_value")
        output.name = "present.0.value"
        graph.graph.node.append(helper.make_node("Neg", ["good_value"], ["present.0.value"]))

    broken = damaged(exported("gpt2"), tmp_path / "damaged", spoil)
    facts = validate(broken, on_failure="warn")
    assert facts["passed"] is False
    assert facts["outputs"]["prefill/logits"]["max_abs"] < 1e-4
    assert facts["outputs"]["decode/logits"]["max_abs"] > 1e-3


@pytest.mark.parametrize("file", ["encoder_model", "decoder_model", "decoder_with_past_model", "decoder_model_merged"])
def test_every_file_of_an_encoder_decoder_is_checked(validate, tmp_path, file):
    def spoil(graph):
        matrices = [t for t in graph.graph.initializer if len(t.dims) == 2 and t.data_type == 1]
        alter_weight(graph, max(matrices, key=lambda t: t.dims[0]).name, lambda weights: weights[::-1].copy())

    with pytest.raises(CheckFailed) as caught:
        validate(damaged(exported("t5"), tmp_path / "damaged", spoil, file=f"{file}.onnx"))
    assert caught.value.failure.code == "OBE04"


def test_a_reference_may_be_onnx(validate, tmp_path):
    model = minilm("transformers")
    original = tmp_path / "original"
    shutil.copytree(model.onnx, original)
    facts = validate(model._replace(checkpoint=original))
    assert facts["reference"] == "onnxruntime"
    assert facts["metrics"]["max_abs"] == 0.0


def test_weights_that_a_checkpoint_lacks_are_named(validate, tmp_path):
    """A fill-mask checkpoint exported as a classifier has a head of random numbers, a different one at each load."""
    from safetensors.torch import load_file, save_file

    model = exported("bert")
    headless = tmp_path / "headless"
    shutil.copytree(model.checkpoint, headless)
    weights = {k: v for k, v in load_file(headless / "model.safetensors").items() if not k.startswith("classifier")}
    save_file(weights, headless / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckFailed) as caught:
        validate(model._replace(checkpoint=headless))
    assert caught.value.failure.notes[-1] == (
        "cause",
        "the checkpoint has no `classifier.bias`, `classifier.weight`, so PyTorch and the export used random values",
    )


def test_a_sequence_past_the_positions_is_refused(validate):
    with pytest.raises(CheckFailed) as caught:
        validate(exported("gpt2"), shapes=((1, 256),))
    failure = caught.value.failure
    assert failure.code == "OBE38"
    assert failure.message == "256 tokens and the step after them do not fit the model's 256 positions"
    assert failure.notes == (("hint", "use sequences of at most 255 tokens"),)


@pytest.mark.parametrize(
    ("metric", "value", "bound", "told"),
    [
        ("cosine_mean", 0.5712, 0.98, "`cosine_mean` is 0.571, below 0.98 (output `x`)"),
        ("cosine_min", 0.99989, 0.9999, "`cosine_min` is 0.99989, below 0.9999 (output `x`)"),
        ("max_abs", 0.0123456, 1e-3, "`max_abs` is 0.0123, above 0.001 (output `x`)"),
        ("top1", float("nan"), 0.9, "`top1` is nan, below 0.9 (output `x`)"),
        ("kl_mean", float("nan"), 0.9, "`kl_mean` is nan, above 0.9 (output `x`)"),
    ],
)
def test_what_is_told_of_a_broken_bound(metric, value, bound, told):
    assert broken_bounds({metric: Worst(value=value, where="output `x`")}, {metric: bound}) == [told]


def test_a_bound_on_what_was_not_measured_is_broken():
    assert broken_bounds({}, {"kl_mean": 0.01}) == [
        "`kl_mean` is bounded by 0.01, but this model has no output to measure it on"
    ]


def test_equal_to_the_bound_is_inside():
    assert broken_bounds({"top1": Worst(value=0.97, where="")}, {"top1": 0.97}) == []
