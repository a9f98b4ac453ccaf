"""What `validate` says of graded pairs is what mteb's own task says of the same rows, for the variant and for PyTorch.

mteb brings 376 MB (polars, pandas, datasets), so no environment of the tests has it: `pip install mteb`, with
`transformers<4.58` beside the extra `optimum`.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

onnxruntime = pytest.importorskip("onnxruntime")
mteb = pytest.importorskip("mteb")

from small_models import minilm  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

from onnxbuild.steps.dataset_rows import Rows  # noqa: E402
from onnxbuild.steps.validate import ValidateParams  # noqa: E402
from onnxbuild.workers.inputs.own_rows import own_rows  # noqa: E402
from onnxbuild.workers.validate.worker import run  # noqa: E402

pytestmark = pytest.mark.heavy

ROWS = [
    {"sentence1": row["text"], "sentence2": row["other"], "score": float(row["score"])} for row in own_rows("pairs")
]


def task_of_mteb():
    """STSBenchmark as mteb defines it, with our rows in place of those that it would download."""
    from datasets import Dataset, DatasetDict

    task = mteb.get_task("STSBenchmark")
    task.dataset = DatasetDict({"test": Dataset.from_list(ROWS)})
    task.data_loaded = True
    return task


class Graph:
    """A delivered graph as an encoder of mteb: the ids of its tokenizer in, its sentence embeddings out."""

    def __init__(self, folder):
        self._session = onnxruntime.InferenceSession(f"{folder}/model.onnx", providers=["CPUExecutionProvider"])
        self._takes = [one.name for one in self._session.get_inputs()]
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self.mteb_model_meta = mteb.models.ModelMeta.create_empty({"name": "onnxbuild/minilm", "revision": "1"})

    def encode(self, inputs, **_options):
        return np.stack([self._vector(text) for batch in inputs for text in batch["text"]])

    def _vector(self, text):
        ids = self._tokenizer(text, truncation=True)
        feeds = {name: np.array([ids[name]]) for name in self._takes}
        return self._session.run(["sentence_embedding"], feeds)[0][0]

    def similarity(self, one, other):
        unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in map(np.asarray, (one, other))]
        return unit[0] @ unit[1].T

    def similarity_pairwise(self, one, other):
        unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in map(np.asarray, (one, other))]
        return (unit[0] * unit[1]).sum(axis=1)


def test_graded_pairs_are_scored_as_mteb_scores_them(tmp_path):
    from sentence_transformers import SentenceTransformer

    model = minilm()
    (tmp_path / "rows").mkdir()
    (tmp_path / "report").mkdir()
    (tmp_path / "rows" / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    columns = {"text": "sentence1", "text_pair": "sentence2", "score": "score"}
    params = ValidateParams(
        task=model.task, dataset="sts", rows=Rows(columns=columns), shapes=((1, 8),), thresholds={"max_abs": 1e-3}
    )
    ports = {**model.inputs, "dataset": tmp_path / "rows"}
    facts = run(params, ports, {"report": tmp_path / "report"}, lambda *_: None)
    encoders = {"reference": SentenceTransformer(str(model.checkpoint), device="cpu"), "variant": Graph(model.onnx)}
    scores = {}
    for side, encoder in encoders.items():
        result = mteb.evaluate(encoder, task_of_mteb(), cache=None, show_progress_bar=False)
        scores[side] = result.task_results[0].scores["test"][0]["cosine_spearman"]
    print(scores, facts["metrics"]["pair_spearman"])
    assert facts["reference_metrics"]["pair_spearman"] == pytest.approx(scores["reference"], abs=1e-4)
    assert facts["metrics"]["pair_spearman"] == pytest.approx(scores["variant"], abs=1e-4)
