"""The metrics over rows in a whole validation: of each kind of model, their bounds, and what is said of them."""

from __future__ import annotations

import json

import pytest

for module in ("torch", "optimum.onnxruntime", "sentence_transformers", "seqeval"):
    pytest.importorskip(module)

from small_models import classifier, minilm, text_model  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.steps.dataset_rows import Rows  # noqa: E402
from onnxbuild.steps.validate import ValidateParams  # noqa: E402
from onnxbuild.workers.inputs.own_rows import own_rows  # noqa: E402
from onnxbuild.workers.validate.by_task import measuring, row_evidence  # noqa: E402
from onnxbuild.workers.validate.worker import run  # noqa: E402

pytestmark = pytest.mark.heavy


@pytest.fixture
def validate(tmp_path):
    (tmp_path / "report").mkdir()

    def run_it(model, *, more=None, **params):
        ports = model.inputs | (more or {})
        settled = ValidateParams(**{"task": model.task, "thresholds": {"max_abs": 1e-3}, **params})
        return run(settled, ports, {"report": tmp_path / "report"}, lambda *_: None)

    return run_it


KINDS = {
    "scores": {"spearman", "ndcg"},
    "spans": {"span_agreement", "span_f1", "answer_f1"},
    "entities": {"entity_agreement", "entity_f1"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_model_has_its_metrics(validate, kind):
    facts = validate(text_model(kind))
    assert KINDS[kind] <= facts["metrics"].keys()
    assert facts["rows"]["kind"] == kind
    assert facts["rows"]["count"] == facts["rows"]["of"] >= 200
    assert set(facts["rows"]["languages"]) == {"de", "en", "es", "fr", "zh"}
    agreements = [name for name in KINDS[kind] if name not in facts["reference_metrics"]]
    assert [facts["metrics"][name] for name in agreements] == [pytest.approx(1.0)] * len(agreements)
    assert {name: facts["metrics"][name] for name in facts["reference_metrics"]} == facts["reference_metrics"]


def test_a_bound_may_be_relative_to_the_reference(validate):
    facts = validate(classifier(), thresholds={"accuracy": ">= fp32 - 0.01"})
    assert facts["passed"]
    assert facts["thresholds"]["accuracy"] == facts["reference_metrics"]["accuracy"] - 0.01
    assert facts["written_bounds"] == {"accuracy": ">= fp32 - 0.01"}


def test_a_relative_bound_that_is_broken_fails(validate):
    with pytest.raises(CheckFailed) as caught:
        validate(classifier(), thresholds={"accuracy": ">= fp32 + 0.05"})
    assert caught.value.failure.message == (
        "`accuracy` is 0.35, below 0.4 (60 rows, the rows of onnxbuild; the reference has 0.35)"
    )


def test_a_written_bound_on_what_is_not_measured_fails(validate):
    with pytest.raises(CheckFailed) as caught:
        validate(classifier(), thresholds={"ndcg": ">= fp32 - 0.01"})
    assert caught.value.failure.message == "`ndcg` is bounded, but this model has no output to measure it on"


def without_seqeval(monkeypatch):
    for module in (measuring, row_evidence):
        monkeypatch.setattr(module, "is_installed", lambda package: package != "seqeval")


def test_a_missing_package_leaves_its_metrics_out(validate, monkeypatch):
    without_seqeval(monkeypatch)
    facts = validate(text_model("entities"))
    assert not {"entity_agreement", "entity_f1"} & facts["metrics"].keys()
    (warning,) = facts["warnings"]
    assert warning == (
        "seqeval is not installed, so `entity_agreement`, `entity_f1` are not measured: "
        "`pip install 'onnxbuild[metrics]'`"
    )


@pytest.mark.parametrize("bound", [0.5, ">= 0.5"])
def test_a_bound_that_needs_a_missing_package_fails(validate, monkeypatch, bound):
    without_seqeval(monkeypatch)
    with pytest.raises(CheckFailed, match="OBE112 `entity_agreement` is bounded, and seqeval, which computes it"):
        validate(text_model("entities"), thresholds={"entity_agreement": bound})


def test_an_undecided_bound_is_a_warning_and_a_fact(validate):
    facts = validate(classifier(), thresholds={"accuracy": ">= 0.3"})
    assert facts["passed"]
    (found,) = facts["undecided"]
    low, high = facts["intervals"]["accuracy"]
    assert low < 0.3 < facts["metrics"]["accuracy"] < high
    assert (found["metric"], found["rows"], found["unit"]) == ("accuracy", 60, "rows")
    assert facts["warnings"] == [found["message"]]
    assert found["rows_needed"] > 60


def test_the_rows_of_a_dataset_are_measured_instead(validate, tmp_path):
    reviews = tmp_path / "reviews"
    reviews.mkdir()
    lines = [json.dumps({"text": row["text"], "label": row["label"]}) for row in own_rows("reviews")]
    (reviews / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    rows = Rows(columns={"label": "label"})
    facts = validate(classifier(), more={"dataset": reviews}, dataset="mine", rows=rows)
    assert facts["rows"] == {"name": "rows of `mine`", "kind": "labels", "count": 60, "of": 60}
    assert facts["metrics"]["accuracy"] == facts["dataset"]["accuracy"] == facts["reference_metrics"]["accuracy"]
    assert facts["metrics"]["label_agreement"] == 1.0
    assert facts["intervals"]["accuracy_drop"] == [0.0, 0.0]


def test_a_bound_over_the_single_row_of_a_dataset_names_that_as_its_cause(validate, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "rows.jsonl").write_text(json.dumps({"text": "a boat came in", "label": 0}))
    given = {"more": {"dataset": tmp_path / "one"}, "dataset": "one", "rows": Rows(columns={"label": "label"})}
    for name, bound in (("accuracy", ">= fp32 - 0.01"), ("label_agreement", 0.9)):
        with pytest.raises(CheckFailed) as caught:
            validate(classifier(), **given, thresholds={"max_abs": 1e-3, name: bound})
        assert (caught.value.failure.code, caught.value.failure.message) == (
            "OBE150",
            f"`{name}` is bounded, and rows of `one` are one row: metrics over rows need at least two",
        )
    assert validate(classifier(), **given)["passed"]


def test_a_large_model_reads_fewer_rows_or_none(monkeypatch, validate):
    from onnxbuild.workers.validate.by_task import reading

    monkeypatch.setattr(reading, "_MOST_WORK", 2.5e9)
    facts = validate(classifier())
    assert 20 <= facts["rows"]["count"] < facts["rows"]["of"] == 235
    monkeypatch.setattr(reading, "_MOST_WORK", 1e6)
    assert "rows" not in validate(classifier())


def graded_rows(folder, scores=None):
    folder.mkdir()
    pairs = own_rows("pairs")
    scores = scores or [row["score"] for row in pairs]
    lines = [
        json.dumps({"one": row["text"], "other": row["other"], "alike": score})
        for row, score in zip(pairs, scores, strict=False)
    ]
    (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


GRADED = Rows(columns={"text": "one", "text_pair": "other", "score": "alike"})


def test_graded_pairs_of_a_dataset_are_ranked_as_sentence_transformers_and_scipy_rank_them(validate, tmp_path):
    """The main score of the STS tasks of mteb: Spearman of the cosines and the grades, of both sides."""
    from scipy.stats import spearmanr
    from sentence_transformers import SentenceTransformer

    model = minilm()
    facts = validate(
        model,
        more={"dataset": graded_rows(tmp_path / "pairs")},
        dataset="sts",
        rows=GRADED,
        thresholds={"pair_spearman": ">= fp32 - 0.005"},
    )
    pairs = own_rows("pairs")
    encoder = SentenceTransformer(str(model.checkpoint), device="cpu")
    one, other = (encoder.encode([row[side] for row in pairs]) for side in ("text", "other"))
    cosines = (one * other).sum(axis=1)
    wanted = spearmanr([row["score"] for row in pairs], cosines).statistic
    assert facts["reference_metrics"]["pair_spearman"] == pytest.approx(wanted, abs=1e-6)
    assert facts["metrics"]["pair_spearman"] == pytest.approx(wanted, abs=1e-6)
    assert (facts["rows"]["kind"], facts["rows"]["count"]) == ("vectors", 2 * len(pairs))
    assert facts["metrics"]["spearman"] == pytest.approx(1.0)


def test_a_grade_that_is_no_number_fails_with_its_row(validate, tmp_path):
    rows = graded_rows(tmp_path / "pairs", ["very"])
    with pytest.raises(CheckFailed, match=r"OBE143 row 1 of rows\.jsonl has the score `very`, which is no number"):
        validate(minilm(), more={"dataset": rows}, dataset="sts", rows=GRADED)
