"""Pictures in a whole validation: files of a dataset through the model's own processor, with labels and without."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

for module in ("torch", "optimum.onnxruntime", "PIL", "sklearn"):
    pytest.importorskip(module)

from small_models import alter_weight, damaged, looker  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.steps.dataset_rows import Rows  # noqa: E402
from onnxbuild.steps.validate import ValidateParams  # noqa: E402
from onnxbuild.workers.validate.worker import run  # noqa: E402

pytestmark = pytest.mark.heavy

COUNT = 24


@pytest.fixture
def pictures(tmp_path):
    """A folder with pictures of random squares in several sizes, modes and formats."""
    from PIL import Image

    generator = np.random.default_rng(4)
    (tmp_path / "photos").mkdir()
    for number in range(COUNT):
        squares = generator.integers(0, 256, (4, 4, 3), np.uint8)
        picture = Image.fromarray(squares).resize((40 + number, 50), Image.Resampling.NEAREST)
        (picture.convert("L") if number % 5 == 4 else picture).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path


def decided_by_transformers(model, folder):
    """The logits of PyTorch after transformers' own processor, without any of our code."""
    import torch
    from PIL import Image
    from transformers import AutoModelForImageClassification, ViTImageProcessor

    processor = ViTImageProcessor.from_pretrained(model.checkpoint)
    network = AutoModelForImageClassification.from_pretrained(model.checkpoint).eval()
    opened = [Image.open(folder / "photos" / f"{number}.png").convert("RGB") for number in range(COUNT)]
    with torch.inference_mode():
        return network(**processor(opened, return_tensors="pt")).logits.numpy()


@pytest.fixture
def validate(pictures):
    (pictures / "report").mkdir()

    def run_it(model, labels=None, **params):
        rows = [{"file": f"photos/{number}.png"} for number in range(COUNT)]
        for row, label in zip(rows, labels if labels is not None else [], strict=False):
            row["is"] = label
        (pictures / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        columns = {"image": "file"} | ({"label": "is"} if labels is not None else {})
        named = {"dataset": "photos", "rows": Rows(columns=columns)}
        settled = ValidateParams(task=model.task, **{"thresholds": {"max_abs": 1e-3}, **params}, **named)
        ports = {**model.inputs, "dataset": pictures}
        return run(settled, ports, {"report": pictures / "report"}, lambda *_: None)

    return run_it


def test_accuracies_are_those_of_scikit_learn(validate, pictures):
    from sklearn.metrics import accuracy_score, top_k_accuracy_score

    model = looker()
    logits = decided_by_transformers(model, pictures)
    assert len(set(logits.argmax(axis=1))) > 3
    order = np.argsort(-logits, axis=1)
    labels = [int(order[number, (0, 3, 7)[number % 3]]) for number in range(COUNT)]
    names = [f"Colour {label}" if number % 2 else label for number, label in enumerate(labels)]  # by name or by id
    facts = validate(model, names, thresholds={"accuracy": ">= fp32 - 0.01", "top5_accuracy": ">= fp32 - 0.01"})
    found = facts["metrics"]
    assert found["accuracy"] == accuracy_score(labels, logits.argmax(axis=1)) == 1 / 3
    wanted = top_k_accuracy_score(labels, logits, k=5, labels=range(10))
    assert found["top5_accuracy"] == facts["reference_metrics"]["top5_accuracy"] == pytest.approx(wanted) == 2 / 3
    assert (found["label_agreement"], found["top5_agreement"], found["accuracy_drop"]) == (1.0, 1.0, 0.0)
    assert found["mean_probability"] < 1e-5
    assert facts["rows"] == {"name": "pictures of `photos`", "kind": "pictures", "count": COUNT, "of": COUNT}
    low, high = facts["intervals"]["top5_agreement"]
    assert (low, high) == (pytest.approx(0.025 ** (1 / COUNT)), 1.0)


def test_without_labels_both_sides_are_compared(validate):
    facts = validate(looker())
    assert {"label_agreement", "top5_agreement"} <= facts["metrics"].keys()
    assert not {"accuracy", "top5_accuracy", "accuracy_drop"} & facts["metrics"].keys()


def test_a_broken_variant_breaks_the_default_bounds(validate, tmp_path):
    from onnxbuild.tables.thresholds import default_bounds

    model = looker()
    bounds = default_bounds(model.task, {}, "fp32", has_labels=False, has_rows=True)
    assert bounds["label_agreement"] == 0.98
    of_rows = {name: bound for name, bound in bounds.items() if name in {"label_agreement", "mean_probability"}}
    assert validate(model, thresholds=bounds)["passed"]
    broken = damaged(model, tmp_path / "shuffled", lambda graph: alter_weight(graph, "classifier.bias", roll))
    with pytest.raises(CheckFailed, match=r"`label_agreement` is .*24 rows, pictures of `photos`"):
        validate(broken, thresholds=of_rows)


def roll(bias):
    return bias + np.linspace(0, 9, len(bias), dtype=bias.dtype)


def test_a_label_that_the_model_lacks_fails_with_its_row(validate):
    with pytest.raises(CheckFailed, match=r"OBE68 row 1 of rows\.jsonl has the label `cat`"):
        validate(looker(), ["cat"] * COUNT)


def test_what_is_no_picture_is_refused(validate, pictures):
    (pictures / "photos" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n but not really")
    with pytest.raises(CheckFailed, match=r"OBE141 the picture of row 4 of rows\.jsonl cannot be read"):
        validate(looker())


def test_pictures_without_a_processor_fail(validate, tmp_path):
    model = looker()
    shutil.copytree(model.onnx, tmp_path / "bare")
    (tmp_path / "bare" / "preprocessor_config.json").unlink()
    with pytest.raises(CheckFailed, match="OBE142 the model's processor of pictures cannot be loaded"):
        validate(model._replace(onnx=tmp_path / "bare"))
