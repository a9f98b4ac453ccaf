"""validate on a user's rows: which rows, what their labels mean, what is reported about them."""

from __future__ import annotations

import json

import pytest

for module in ("torch", "optimum.onnxruntime"):
    pytest.importorskip(module)

from small_models import Exported, alter_weight, classifier, damaged, exported  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.steps.dataset_rows import Rows  # noqa: E402
from onnxbuild.steps.validate import ValidateParams  # noqa: E402
from onnxbuild.workers.inputs.sentences import SENTENCES  # noqa: E402
from onnxbuild.workers.validate.by_task.given_labels import class_of_label  # noqa: E402
from onnxbuild.workers.validate.worker import run  # noqa: E402

CONFIG = {"id2label": {"0": "NEGATIVE", "1": "NEUTRAL", "2": "POSITIVE"}}
COLUMNS = {"text": "review", "label": "stars"}


def decided(model: Exported, texts) -> list[int]:
    """What PyTorch decides for each text alone."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model.checkpoint)
    network = AutoModelForSequenceClassification.from_pretrained(model.checkpoint).eval()
    with torch.inference_mode():
        return [int(network(**tokenizer(text, return_tensors="pt")).logits.argmax()) for text in texts]


def all_say_one(graph):
    """A classifier that puts every text into class 1."""

    def change(bias):
        bias[1] += 100.0
        return bias

    alter_weight(graph, "classifier.bias", change)


@pytest.fixture
def validate(tmp_path):
    """Runs a validation on rows that it writes to a file of this name."""
    report, folder = tmp_path / "report", tmp_path / "rows"
    report.mkdir()
    folder.mkdir()

    def run_it(model, text, *, name="rows.jsonl", columns=COLUMNS, told=None, **params):
        (folder / name).write_text(text)
        settled = ValidateParams(
            task=model.task, dataset="reviews", rows=Rows(columns=columns), shapes=((1, 8), (2, 8)), **params
        )
        inputs = {**model.inputs, "dataset": folder}
        return run(settled, inputs, {"report": report}, lambda *said: told.append(said) if told is not None else None)

    return run_it


def jsonl(rows) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.heavy
def test_labels_are_counted_on_both_sides(validate, tmp_path):
    """Every third label is wrong, so the reference is right on two thirds; the variant only where class 1 is right."""
    model = classifier()
    texts = SENTENCES[:30]
    right = decided(model, texts)
    assert len(set(right)) == 3
    labels = [(one + 1) % 3 if number % 3 == 0 else one for number, one in enumerate(right)]
    rows = jsonl({"review": text, "stars": label} for text, label in zip(texts, labels, strict=True))
    told = []
    facts = validate(model, rows, thresholds={"accuracy_drop": 0.0, "top1": 1.0}, told=told)
    assert facts["passed"] is True
    assert facts["dataset"] == {
        "name": "reviews", "rows": 30, "agreement": 1.0, "accuracy": 20 / 30, "accuracy_reference": 20 / 30,
    }  # fmt: skip
    assert facts["metrics"]["accuracy_drop"] == 0.0
    assert facts["samples"]["text"] == "rows of `reviews`"
    assert facts["samples"]["rows"] == 33
    assert any(said[0].startswith("comparing rows of `reviews`, batch 1 (") for said in told)

    broken = damaged(model, tmp_path / "damaged", all_say_one)
    with pytest.raises(CheckFailed) as caught:
        validate(broken, rows, thresholds={"accuracy_drop": 0.01})
    ones = labels.count(1)
    failure = caught.value.failure
    assert failure.code == "OBE04"
    assert failure.facts["dataset"]["accuracy"] == ones / 30
    assert failure.facts["dataset"]["agreement"] == right.count(1) / 30
    assert failure.message == (
        f"`accuracy_drop` is {(20 - ones) / 30:.3g}, above 0.01 (0.6667 to {ones / 30:.4f} on 30 rows of `reviews`)"
    )


@pytest.mark.heavy
def test_a_csv_names_its_labels_by_words_and_samples_are_chosen(validate):
    model = classifier()
    words = ["negative", "neutral", "POSITIVE"]
    lines = ["review,stars", *(f'"{text}",{words[n % 3]}' for n, text in enumerate(SENTENCES[:30]))]
    facts = validate(model, "\n".join(lines), name="rows.csv", samples=7)
    assert facts["dataset"]["rows"] == 7
    assert {"accuracy", "accuracy_reference"} <= facts["dataset"].keys()


@pytest.mark.heavy
def test_a_pair_goes_in_with_its_type_ids(validate):
    """The second text changes the result of both sides equally."""
    model = classifier()
    columns = {"text": "review", "text_pair": "answer"}
    rows = jsonl({"review": text, "answer": text[::-1]} for text in SENTENCES[:6])
    facts = validate(model, rows, columns=columns, thresholds={"max_abs": 1e-4})
    alone = validate(model, rows, columns={"text": "review"}, thresholds={"max_abs": 1e-4})
    assert facts["dataset"] == {"name": "reviews", "rows": 6, "agreement": 1.0}
    assert facts["samples"]["tokens"] > alone["samples"]["tokens"]


@pytest.mark.heavy
def test_perplexity_is_taken_on_the_rows(validate):
    rows = jsonl({"text": text} for text in SENTENCES[:5])
    facts = validate(exported("gpt2"), rows, columns={}, thresholds={"perplexity_ratio": 1.001, "kl_mean": 1e-4})
    assert facts["dataset"] == {"name": "reviews", "rows": 5}
    tokens = facts["samples"]["tokens"] - (8 + 8 + 6)  # of the shapes
    assert f"{tokens - 5} tokens" in facts["worst_at"]["perplexity_ratio"]  # the first of a row is predicted by nothing


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("rows", "columns", "expected"),
    [
        (
            [{"text": "a"}],
            COLUMNS,
            "OBE58 rows.jsonl has no column `review` | hint: it has text; set it with `columns: {text: …}`",
        ),
        (
            [{"review": "a", "star": 1}],
            COLUMNS,
            "OBE58 rows.jsonl has no column `stars` | hint: did you mean `star`?; set it with `columns: {label: …}`",
        ),
        ([], COLUMNS, "OBE58 rows.jsonl has no rows"),
        (
            [{"review": "a", "stars": 0}, {"review": "b", "stars": "maybe"}],
            COLUMNS,
            (
                "OBE68 row 2 of rows.jsonl has the label `maybe`, which the model does not know | "
                "hint: its labels are `NEGATIVE` (0), `NEUTRAL` (1), `POSITIVE` (2)"
            ),
        ),
    ],
)
def test_rows_that_cannot_be_read(validate, rows, columns, expected):
    with pytest.raises(CheckFailed) as caught:
        validate(classifier(), jsonl(rows), columns=columns)
    failure = caught.value.failure
    notes = [f"{label}: {text}" for label, text in failure.notes]
    assert " | ".join([f"{failure.code} {failure.message}", *notes]) == expected


@pytest.mark.heavy
def test_a_model_without_a_tokenizer_reads_no_rows(validate):
    with pytest.raises(CheckFailed) as caught:
        validate(exported("bert"), jsonl([{"review": "a", "stars": 0}]))
    assert str(caught.value) == "OBE59 the model reads no text: it has no tokenizer, or takes no `input_ids`"


@pytest.mark.parametrize(
    ("value", "number"),
    [(2, 2), ("2", 2), (2.0, 2), ("POSITIVE", 2), ("positive ", 2), (True, 1), ("NEGATIVE", 0)],
)
def test_what_a_label_means(value, number):
    assert class_of_label(value, CONFIG, "row 1 of a.csv") == number


def test_names_that_are_numbers_are_names_first():
    assert class_of_label("1", {"id2label": {"0": "1", "1": "2"}}, "row 1 of a.csv") == 0


def test_models_whose_config_leaves_the_names_out():
    assert class_of_label("LABEL_1", {}, "row 1 of a.csv") == 1
    assert class_of_label(1, {"id2label": {"0": "LABEL_0"}}, "row 1 of a.csv") == 1  # one logit: its sign


@pytest.mark.parametrize("value", [3, -1, 0.5, None, [0, 1], "", "nan"])
def test_labels_that_the_model_does_not_know(value):
    with pytest.raises(CheckFailed) as caught:
        class_of_label(value, CONFIG, "row 1 of a.csv")
    assert str(caught.value) == f"OBE68 row 1 of a.csv has the label `{value}`, which the model does not know"


def test_a_label_that_one_logit_cannot_decide():
    with pytest.raises(CheckFailed) as caught:
        class_of_label(4.5, {"id2label": {"0": "LABEL_0"}}, "row 7 of a.csv")
    assert caught.value.failure.message == "row 7 of a.csv has the label `4.5`, which the model does not know"
    assert caught.value.failure.notes == (("hint", "its labels are `0`, `1`"),)


def test_of_many_labels_a_few_are_named():
    with pytest.raises(CheckFailed) as caught:
        class_of_label("x", {"id2label": {str(n): f"L{n}" for n in range(20)}}, "row 1 of a.csv")
    assert caught.value.failure.notes[0][1].endswith("`L7` (7) and 12 more")
