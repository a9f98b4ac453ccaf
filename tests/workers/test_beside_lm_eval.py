"""A delivered language model in lm-eval, on a local task: the wrapper that docs/how-to/mteb-and-lm-eval.md shows.

lm-eval brings 205 MB (pandas, datasets, evaluate), so no environment of the tests has it: `pip install lm-eval`, with
`transformers<4.58` beside the extra `optimum`.
"""

from __future__ import annotations

import json

import pytest

lm_eval = pytest.importorskip("lm_eval")

from lm_eval.models.huggingface import HFLM  # noqa: E402
from small_models import exported  # noqa: E402

pytestmark = pytest.mark.heavy

TASK = """
task: local_choice
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/rows.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{prompt}}"
doc_to_choice: "{{choices}}"
doc_to_target: gold
metric_list: [{metric: acc}]
"""
WORDS = ["the", "sun", "rain", "wind", "stone", "river", "bread", "boat", "light", "winter", "garden", "letter"]


class Graph(HFLM):
    """A graph takes a mask, which lm-eval leaves out: it pads on the right, where no token reads it."""

    def _model_call(self, inps, attn_mask=None, labels=None):
        import torch

        return self.model(input_ids=inps, attention_mask=torch.ones_like(inps)).logits


def test_a_graph_and_pytorch_choose_alike_on_a_local_task(tmp_path):
    from lm_eval.tasks import TaskManager
    from optimum.onnxruntime import ORTModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    count = len(WORDS)
    rows = [
        {
            "prompt": f"The {WORDS[n % count]} and the {WORDS[(5 * n + 1) % count]}",
            "choices": [WORDS[(n + step * step) % count] for step in range(1, 5)],
            "gold": n % 4,
        }
        for n in range(16)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "local.yaml").write_text(TASK.replace("FOLDER", tmp_path.as_posix()), encoding="utf-8")
    model = exported("gpt2")
    sides = (AutoModelForCausalLM.from_pretrained(model.checkpoint), ORTModelForCausalLM.from_pretrained(model.onnx))
    tokenizer = AutoTokenizer.from_pretrained(model.checkpoint)
    chosen = []
    for side in sides:
        found = lm_eval.simple_evaluate(
            model=Graph(pretrained=side, tokenizer=tokenizer, device="cpu", batch_size=4, max_length=64),
            tasks=["local_choice"],
            task_manager=TaskManager(include_path=str(tmp_path)),
            bootstrap_iters=0,
        )
        likelihoods = [[one[0][0] for one in sample["resps"]] for sample in found["samples"]["local_choice"]]
        chosen.append((found["results"]["local_choice"]["acc,none"], likelihoods))
    print([accuracy for accuracy, _ in chosen])
    assert chosen[0][0] == chosen[1][0]
    for one, other in zip(chosen[0][1], chosen[1][1], strict=True):
        assert one == pytest.approx(other, abs=1e-3)
