"""manifests/gpt2.yaml from a Hub: a small GPT-2 behind a server on loopback that speaks the Hub's protocol."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import HubServer

from onnxbuild.steps.fetch import FetchParams

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    from onnxbuild.workers.fetch.worker import run

    folder = tmp_path_factory.mktemp("gpt2")
    params = FetchParams(
        origin="random",
        architecture="gpt2",
        task="text-generation-with-past",
        config={"n_layer": 2, "n_head": 4, "n_embd": 64, "vocab_size": 600, "n_positions": 256},
        tokenizer_vocabulary=500,
    )
    run(params, {"text": ROOT / "manifests" / "data"}, {"model": folder}, lambda *_: None)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def onnxbuild(folder: Path, *arguments: str, endpoint: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
                   "HF_HOME": str(folder / "hf"), "PYTHONPATH": str(ROOT)}  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "onnxbuild", *arguments], cwd=folder, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_gpt2_from_a_hub(checkpoint: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "gpt2.yaml").write_text((ROOT / "manifests" / "gpt2.yaml").read_text())
    with HubServer() as hub:
        commit = hub.add("openai-community/gpt2", {**checkpoint, "README.md": b"# GPT-2", "tf_model.h5": b"other"})
        first = onnxbuild(tmp_path, "run", "gpt2.yaml", endpoint=hub.endpoint)
        assert first.returncode == 0, first.stdout + first.stderr
        assert "gpt2/int8" in first.stdout
        lock = json.loads((tmp_path / "onnxbuild.lock").read_text())
        assert lock["sources"]["hub:openai-community/gpt2@main"]["commit"] == commit
        assert not [line for line in hub.requests if "tf_model.h5" in line and line.startswith("GET")]

        # The branch moves on: nothing is requested, and nothing runs, until somebody upgrades the lock.
        hub.add("openai-community/gpt2", {**checkpoint, "README.md": b"# changed"})
        asked = len(hub.requests)
        again = onnxbuild(tmp_path, "run", "gpt2.yaml", endpoint=hub.endpoint)
        assert again.stdout.endswith("up to date: 13 actions, nothing to do\n")
        assert len(hub.requests) == asked

        upgraded = onnxbuild(tmp_path, "lock", "gpt2.yaml", "--upgrade", endpoint=hub.endpoint)
        assert f"moved: {commit} → " in upgraded.stdout
        after = onnxbuild(tmp_path, "run", "gpt2.yaml", endpoint=hub.endpoint)
        # Another commit with the same weights: the fetch runs, finds the same content, and cuts everything else off.
        assert "unchanged gpt2:fetch" in after.stderr
        assert "built 0, unchanged 1, hit 12, failed 0" in after.stdout
    offline = onnxbuild(tmp_path, "run", "gpt2.yaml", "--offline", endpoint=hub.endpoint)
    assert offline.returncode == 0, offline.stderr


def test_a_hub_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gpt2.yaml").write_text((ROOT / "manifests" / "gpt2.yaml").read_text())
    with HubServer() as hub:
        endpoint = hub.endpoint
    done = onnxbuild(tmp_path, "run", "gpt2.yaml", endpoint=endpoint)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith(
        f"OB110 `hub:openai-community/gpt2@main` cannot be resolved: {endpoint} cannot be reached"
    )
    assert lines[1].startswith("  --> gpt2.yaml:")


ROWS = """\
onnxbuild: 1
datasets: {reviews: {source: hub:org/reviews, files: "data/validation-*.parquet", columns: {text: sentence}}}
targets: {int8: {quantize: {method: static, dataset: reviews, samples: 8}}}
models:
  bert:
    source: {random: bert, config: {hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2,
             intermediate_size: 64, vocab_size: 600}, tokenizer: {text: "file:text.txt", vocabulary: 500}}
    task: text-classification
    validate: {dataset: reviews, samples: 12, thresholds: {top1: 0.5}}
    targets: [int8]
"""


def parquet(*texts: str) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet as format_

    sink = pa.BufferOutputStream()
    format_.write_table(pa.table({"sentence": list(texts)}), sink)
    return sink.getvalue().to_pybytes()


def outcomes(done: subprocess.CompletedProcess[str]) -> dict[str, dict]:
    assert done.returncode == 0, done.stdout + done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return {event["id"]: event for event in events if event["event"] == "action"}


def test_a_dataset_from_a_hub_calibrates_and_validates(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text((ROOT / "manifests" / "data" / "harbour.txt").read_text())
    (tmp_path / "m.yaml").write_text(ROWS)
    shards = {
        f"data/validation-{n}.parquet": parquet(*(f"The harbour was quiet on day {n}{i}." for i in range(6)))
        for n in (0, 1)
    }
    with HubServer() as hub:
        everything = {**shards, "data/train-0.parquet": parquet("never read"), "README.md": b"# reviews"}
        commit = hub.add("datasets/org/reviews", everything)
        first = outcomes(onnxbuild(tmp_path, "run", "m.yaml", "--json", endpoint=hub.endpoint))
        lock = json.loads((tmp_path / "onnxbuild.lock").read_text())
        assert lock["sources"]["hub:datasets/org/reviews@main"]["commit"] == commit
        assert first["datasets/reviews:fetch"]["facts"]["files"] == 2
        calibration = first["bert/int8:quantize"]["facts"]["files"]["model.onnx"]["calibration"]
        assert calibration["samples"] == 8
        assert first["bert/int8:validate"]["facts"]["dataset"]["name"] == "reviews"
        assert not [line for line in hub.requests if "train-0" in line]

        # The branch moves on: nothing is requested until somebody upgrades, and then only what changed counts.
        hub.add("datasets/org/reviews", {**everything, "README.md": b"# changed"})
        asked = len(hub.requests)
        again = outcomes(onnxbuild(tmp_path, "run", "m.yaml", "--json", endpoint=hub.endpoint))
        assert {event["outcome"] for event in again.values()} == {"hit"}
        assert len(hub.requests) == asked
        assert onnxbuild(tmp_path, "lock", "m.yaml", "--upgrade", "reviews", endpoint=hub.endpoint).returncode == 0
        upgraded = outcomes(onnxbuild(tmp_path, "run", "m.yaml", "--json", endpoint=hub.endpoint))
        assert upgraded["datasets/reviews:fetch"]["outcome"] == "unchanged"
        assert upgraded["bert/int8:quantize"]["outcome"] == "hit"

        hub.add("datasets/org/reviews", {**everything, "data/validation-1.parquet": parquet(*(["Other rows."] * 6))})
        onnxbuild(tmp_path, "lock", "m.yaml", "--upgrade", "reviews", endpoint=hub.endpoint)
        changed = outcomes(onnxbuild(tmp_path, "run", "m.yaml", "--json", endpoint=hub.endpoint))
        assert changed["bert/int8:quantize"]["outcome"] in {"built", "unchanged"}
        assert changed["bert:export"]["outcome"] == "hit"
