"""manifests/go-emotions.yaml from a Hub on loopback, and its offline twin: a small RoBERTa with 28 labels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_pages import ROOT, Reader
from hub_server import HubServer

pytestmark = pytest.mark.heavy


def measured(reader: Reader, command: str) -> dict[str, dict[str, Any]]:
    """The facts of what a run measured, by action."""
    ended = [one for one in reader.events(command) if one.get("kind") in {"validate", "benchmark"}]
    return {one["id"]: one["facts"] for one in ended if one.get("outcome") == "built"}


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests", ignore=shutil.ignore_patterns("out", ".onnxbuild"))
    return tmp_path / "manifests"


def test_the_twin_measures_what_the_walk_through_shows(tmp_path: Path, manifests: Path) -> None:
    reader = Reader(tmp_path)
    name = "manifests/go-emotions-offline.yaml"
    facts = measured(reader, f"onnxbuild run {name} go-emotions:publish -D comments=16 --json")
    checked, timed = (facts[f"go-emotions/fp16:{kind}"] for kind in ("validate", "benchmark"))
    assert checked["dataset"]["name"] == "comments"
    assert "max_probability" in checked["metrics"]
    throughput = timed["throughput"]
    assert [(one["workers"], one["order"], one["batch"]) for one in throughput["results"]] == [
        (workers, order, batch) for workers in (1, 2) for order in ("sorted", "as-is") for batch in (1, 8)
    ]
    assert {one["engine"] for one in throughput["best"]} == {"onnxruntime", "torch"}
    reader.output = ""
    reader._run(f"onnxbuild report {name} --plots pictures -D comments=16", fails=False)
    assert (tmp_path / "pictures" / "throughput-go-emotions.svg").is_file()
    site, package = manifests / "site/go-emotions", manifests / "out/go-emotions/packages/plain"
    assert weights(site / "model.onnx") == "float16"
    assert (site / "model.onnx").read_bytes() == (package / "model.onnx").read_bytes()
    card, text = (site / "README.md").read_text().split("\n---\n", 1)
    assert yaml.safe_load(card)["license"] == "mit"
    assert "row\\_probability\\_max" in text, "the card has the differences of the label probabilities"


def weights(path: Path) -> str:
    """The type of the largest weights of a graph."""
    import onnx

    largest = max(onnx.load(path).graph.initializer, key=lambda one: len(one.raw_data))
    return str(onnx.helper.tensor_dtype_to_np_dtype(largest.data_type))


def test_the_walk_through_from_a_hub_and_back_to_it(tmp_path: Path, manifests: Path) -> None:
    """Download, fp16, compare, measure, write the card, upload."""
    with HubServer() as hub:
        hub.users["hush-hush-token"] = {"name": "my-name", "role": "write"}
        hub.add("SamLowe/roberta-base-go_emotions", checkpoint(tmp_path / "source"))
        small = (manifests / "go-emotions.yaml").read_text()
        for long, short in (
            ("baselines: [torch, torch.compile]", "baselines: [torch]"),
            ("batch: [1, 8, 32]", "batch: [4]"),
            ("longer_than: [0, 200]", "longer_than: [200]"),
            ("sequence: [128]", "sequence: [16]"),
            ("workers: [1, 2]", "workers: [1]"),  # the twin has both, and both orders
            ("order: [sorted, as-is]", "order: [as-is]"),
        ):
            assert long in small
            small = small.replace(long, short)
        (manifests / "go-emotions.yaml").write_text(small)
        online = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        reader = Reader(tmp_path, **online, HF_HOME=str(tmp_path / "hf"), HF_TOKEN="hush-hush-token")
        facts = measured(reader, "onnxbuild run manifests/go-emotions.yaml go-emotions:publish -D comments=80 --json")
    throughput = facts["go-emotions/fp16:benchmark"]["throughput"]
    assert [one["longer_than"] for one in throughput["texts"]] == [200]
    assert {one["tokenized"] for one in throughput["results"]} == {"before", "within"}
    uploaded = hub.repos["my-name/roberta-base-go_emotions-onnx-fp16"]
    files = uploaded["commits"][uploaded["refs"]["main"]]
    assert files["model.onnx"] == (manifests / "out/go-emotions/packages/plain/model.onnx").read_bytes()
    card = yaml.safe_load(files["README.md"].decode().split("\n---\n")[0])
    assert (card["base_model"], card["license"]) == ("SamLowe/roberta-base-go_emotions", "mit")
    assert card["model-index"][0]["results"], "what the validation measured"


def checkpoint(folder: Path) -> dict[str, bytes]:
    """The files of a small RoBERTa of several labels, with a tokenizer."""
    from onnxbuild.steps.fetch import FetchParams
    from onnxbuild.workers.fetch.worker import run

    config = {
        "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96, "num_labels": 28,
        "max_position_embeddings": 514, "problem_type": "multi_label_classification", "vocab_size": 600,
    }  # fmt: skip
    params = FetchParams(
        origin="random", architecture="roberta", task="text-classification", config=config, tokenizer_vocabulary=500
    )
    folder.mkdir()
    run(params, {"text": ROOT / "manifests" / "data"}, {"model": folder}, lambda *_: None)
    return {path.name: path.read_bytes() for path in folder.iterdir()}
