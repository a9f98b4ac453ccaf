"""The how-tos and the tutorial as written: a test writes their files, runs their commands and compares the output.

Whatever a page takes from elsewhere is replaced by something small on this machine: models by small ones with random
weights, the Hub and S3 by servers on loopback, downloads of packages by installed ones.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from doc_pages import DOCS, ROOT, Reader
from hub_server import HubServer
from servers import PASSWORD, USER, Server, free_port

pytestmark = pytest.mark.heavy

SIZES = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
TEXT = ROOT / "manifests" / "data" / "harbour.txt"


def checkpoint(folder: Path, architecture: str, task: str, **config: object) -> Path:
    """A small model with random weights and a tokenizer."""
    from onnxbuild.steps.fetch import FetchParams
    from onnxbuild.workers.fetch.worker import run

    params = FetchParams(origin="random", architecture=architecture, task=task, config=config, tokenizer_vocabulary=500)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as text:  # beside it are texts for other purposes
        shutil.copy(TEXT, text)
        run(params, {"text": Path(text)}, {"model": folder}, lambda *_: None)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


def through(hub: HubServer, folder: Path) -> dict[str, str]:
    """The variables that make a command use this server as the Hub."""
    return {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(folder / "hf"),
    }


def test_the_tutorial(tmp_path: Path) -> None:
    instead = {"make venv": "true", 'export PATH="$PWD/.venv/bin:$PATH"': "true"}
    reader = Reader(tmp_path, instead)
    reader.follow("tutorial.md")
    assert sorted(path.name for path in (reader.folder / "out" / "minilm").iterdir()) == ["fp32", "int8"]


def test_write_a_step_kind(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    install = f"pip install --quiet --no-deps --target '{packages}' ."
    reader = Reader(tmp_path, {"pip install --editable .": install}, PYTHONPATH=f"{packages}:{ROOT}")
    reader.follow("how-to/step-kind.md")
    account = json.loads((tmp_path / "out" / "minilm" / "rounded" / "onnxbuild.json").read_text())
    step = next(step for step in account["steps"] if step["kind"] == "round")
    assert step["params"] == {"bits": 12}
    assert step["facts"]["weights"] > 60

    import numpy as np
    import onnx
    from onnx import numpy_helper

    model = onnx.load(tmp_path / "out" / "minilm" / "rounded" / "model.onnx")
    values = [numpy_helper.to_array(one) for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT]
    assert not any((one.view(np.uint32) & 0x7FF).any() for one in values)


def test_write_a_custom_exporter(tmp_path: Path) -> None:
    """With two layers of random weights instead of twelve, whose labels int8 flips by chance."""
    shutil.copy(TEXT, tmp_path)
    config = {**SIZES, "vocab_size": 600, "max_position_embeddings": 64, "initializer_range": 0.6}
    block = {"random": "ernie", "config": config, "tokenizer": {"text": f"file:{TEXT.name}", "vocabulary": 600}}
    task = "task: text-classification"
    bound = f"{task}\n    validate: {{thresholds: {{top1: 0.8}}}}"
    reader = Reader(tmp_path, small={"random:ernie": json.dumps(block), task: bound})
    reader.follow("how-to/own-exporter.md")
    assert sorted(path.name for path in (tmp_path / "out" / "ernie").iterdir()) == ["fp32", "int8"]


def test_two_toolchains(tmp_path: Path) -> None:
    """The requirements are replaced by an interpreter; `test_two_generations` has pip resolve and install them."""
    # An environment of its own, with the packages of this one.
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", tmp_path / "tf5"], check=True)
    (packages,) = tmp_path.glob("tf5/lib/python3*/site-packages")
    (packages / "these.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for positions, name in ((64, "minilm"), (65, "new")):
        folder = tmp_path / "project" / name
        checkpoint(folder, "bert", "feature-extraction", **SIZES, max_position_embeddings=positions)

    requirements, *_others = re.findall(r"requirements: \[.*\]", (DOCS / "how-to" / "toolchains.md").read_text())
    # The command that makes the lock of the example smaller belongs to a clone, and resolves what `requirements` name.
    elsewhere = {"onnxbuild lock manifests/two-generations.yaml --upgrade": "true"}
    reader = Reader(tmp_path, instead=elsewhere, small={requirements: "python: ../tf5/bin/python"})
    reader.follow("how-to/toolchains.md")
    delivered = {path.relative_to(tmp_path / "project" / "out").as_posix() for path in tmp_path.glob("project/out/*/*")}
    assert delivered == {"minilm/fp32", "minilm/int8", "new/fp32"}


def test_validate_on_your_data(tmp_path: Path) -> None:
    checkpoint(tmp_path / "stars", "bert", "text-classification", **SIZES, num_labels=5, initializer_range=0.3)
    rows = [{"review": line, "stars": number % 5} for number, line in enumerate(TEXT.read_text().splitlines()[:61])]
    data = tmp_path / "data" / "reviews.jsonl"
    data.parent.mkdir()
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reader = Reader(tmp_path)
    reader.follow("how-to/validate-on-your-data.md")
    for outcome in reader.events("onnxbuild run stars.yaml --json"):
        if outcome.get("kind") == "validate":
            assert outcome["facts"]["dataset"]["name"] == "reviews"
            assert {"agreement", "accuracy", "accuracy_reference"} <= outcome["facts"]["dataset"].keys()


def test_add_a_model(tmp_path: Path, hub: HubServer) -> None:
    source = checkpoint(
        tmp_path / "source", "distilbert", "text-classification", dim=48, n_layers=2, n_heads=4, hidden_dim=96,
        initializer_range=0.3,
    )  # fmt: skip
    hub.add("distilbert/distilbert-base-uncased-finetuned-sst-2-english", contents(source))
    reader = Reader(tmp_path, **through(hub, tmp_path))
    reader.follow("how-to/new-model.md")


def test_gpt2(tmp_path: Path, hub: HubServer) -> None:
    sizes = {"n_layer": 2, "n_head": 4, "n_embd": 64, "vocab_size": 600, "n_positions": 256}
    source = checkpoint(tmp_path / "source", "gpt2", "text-generation-with-past", **sizes)
    hub.add("openai-community/gpt2", contents(source))
    shutil.copytree(ROOT / "manifests" / "data", tmp_path / "manifests" / "data")
    shutil.copytree(ROOT / "manifests" / "parts", tmp_path / "manifests" / "parts")
    shutil.copy(ROOT / "manifests" / "gpt2-sizes-offline.yaml", tmp_path / "manifests")
    for name in ("gpt2.yaml", "gpt2-offline.yaml"):
        text = (ROOT / "manifests" / name).read_text()
        small = text.replace("random: gpt2\n", f"random: gpt2\n      config: {json.dumps(sizes)}\n")
        (tmp_path / "manifests" / name).write_text(small.replace("sequence: [128]", "sequence: [16]"))
    sizes_run = "onnxbuild run manifests/gpt2-sizes-offline.yaml"
    reader = Reader(tmp_path, {sizes_run: f"{sizes_run} gpt2-3/fp32"}, **through(hub, tmp_path))
    reader.follow("how-to/gpt2.md")


def test_cloud_ai_100(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "manifests" / "data", tmp_path / "manifests" / "data")
    shutil.copy(ROOT / "manifests" / "gpt2-cloud-ai-100-offline.yaml", tmp_path / "manifests")
    reader = Reader(tmp_path)
    reader.follow("how-to/cloud-ai-100.md")
    events = reader.events("onnxbuild run manifests/gpt2-cloud-ai-100-offline.yaml --json 2>warnings")
    facts = {one["kind"]: one["facts"] for one in events if "facts" in one}
    assert facts["compile-qaic"]["state"] == "prepared"
    assert facts["compile-qaic"]["command"][0] == "qaic-compile"
    assert facts["validate"]["executed_on"] == {"place": "host double", "name": "Cloud AI 100"}
    assert facts["validate"]["passed"] is True
    assert facts["generate"]["agreement"]["tokens"] == facts["generate"]["agreement"]["of"]
    assert facts["generate"]["latency"]["measured_on"] == "host double"
    assert facts["generate"]["latency"]["new_tokens"] == 16


QUICKSTART = """\
onnxbuild: 1
targets:
  fp32: {}
  int8: {quantize: {method: dynamic}}
models:
  mine: {source: "onnx:model/model.onnx", task: feature-extraction, targets: [fp32, int8],
         validate: {thresholds: {cosine_mean: 0.9}}}
"""


@pytest.fixture
def quickstart(tmp_path: Path) -> Path:
    """A folder with a manifest at the quickstart's place whose model is one ONNX file, so that no step needs torch."""
    (tmp_path / "manifests" / "model").mkdir(parents=True)
    write_graph(tmp_path / "manifests" / "model" / "model.onnx")
    (tmp_path / "manifests" / "quickstart.yaml").write_text(QUICKSTART)
    return tmp_path


def write_graph(path: Path) -> None:
    """An embedding, a product with a weight, and its tanh."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(3)
    table, weight = (random.normal(size=size).astype(np.float32) for size in ((1000, 48), (48, 33)))
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("MatMul", ["embedded", "weight"], ["product"]),
        helper.make_node("Tanh", ["product"], ["last_hidden_state"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "sequence", 33])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(weight, "weight")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """The variables that make a command use a server on loopback as S3; it has the bucket `my-bucket`."""
    (tmp_path / "s3" / "my-bucket").mkdir(parents=True)
    server = Server("s3", tmp_path / "s3").start()
    yield {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{server.port}",
        "AWS_ACCESS_KEY_ID": USER,
        "AWS_SECRET_ACCESS_KEY": PASSWORD,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    server.kill()


def test_in_ci(quickstart: Path, bucket: Mapping[str, str]) -> None:
    Reader(quickstart, **bucket).follow("how-to/ci.md")
    last = (quickstart / "events.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["event"] == "summary"
    assert not any((quickstart / "s3" / "my-bucket").iterdir())


def test_share_a_store(quickstart: Path, bucket: Mapping[str, str]) -> None:
    place = quickstart / "shared"
    instead = {
        "onnxbuild run manifests/quickstart.yaml --store /data/onnxbuild": (
            f"onnxbuild run manifests/quickstart.yaml --store '{place}'"
        ),
        "ONNXBUILD_STORE=/data/onnxbuild onnxbuild run manifests/quickstart.yaml": (
            f"ONNXBUILD_STORE='{place}' onnxbuild run manifests/quickstart.yaml"
        ),
    }
    reader = Reader(quickstart, instead, **bucket)
    reader.follow("how-to/share-a-store.md")
    assert (place / "blobs").is_dir()
    assert any((quickstart / "s3" / "my-bucket" / "onnxbuild" / "traces").rglob("*.json"))


def test_prove_a_delivery(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    write_graph(tmp_path / "model" / "model.onnx")
    Reader(tmp_path).follow("how-to/prove-a-delivery.md")
    (source,) = json.loads((tmp_path / "copy" / "onnxbuild.json").read_text())["sources"]
    assert (source["kind"], source["license"], source["license_from"]) == ("onnx", "apache-2.0", "manifest")
    bill = json.loads((tmp_path / "copy" / "bom.cdx.json").read_text())
    assert bill["metadata"]["component"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    statement = json.loads((tmp_path / "copy" / "slsa.intoto.json").read_text())
    assert statement["predicate"]["runDetails"]["builder"]["id"] == "https://ci.example.org/builders/1"


def test_publish(tmp_path: Path, hub: HubServer) -> None:
    checkpoint(tmp_path / "sentiment", "bert", "text-classification", **SIZES, num_labels=3, initializer_range=0.3)
    hub.users["hush-hush-token"] = {"name": "me", "role": "write"}
    Reader(tmp_path, HF_TOKEN="hush-hush-token", **through(hub, tmp_path)).follow("how-to/publish.md")
    entry = hub.repos["me/sentiment-onnx"]
    published = entry["commits"][entry["refs"]["main"]]
    card = yaml.safe_load(published["README.md"].decode().split("\n---\n")[0])
    assert (card["license"], card["pipeline_tag"]) == ("apache-2.0", "text-classification")
    (results,) = card["model-index"]
    assert all(metric["value"] >= 0 for one in results["results"] for metric in one["metrics"])
    assert published["model.onnx"] == (tmp_path / "out/sentiment/packages/plain/model.onnx").read_bytes()
    assert sum("/commit/" in one for one in hub.requests) == 1


def test_messages_per_second(tmp_path: Path) -> None:
    # With random weights and more labels, the two likeliest are often so near that fp16 swaps them.
    checkpoint(tmp_path / "labels", "bert", "text-classification", **SIZES, num_labels=5, initializer_range=0.3)
    data = tmp_path / "data" / "comments.jsonl"
    data.parent.mkdir()
    shutil.copy(ROOT / "manifests" / "data" / "comments.jsonl", data)
    # Each process of each engine and variant loads its libraries anew.
    reader = Reader(tmp_path, small={"workers: [1, 2]": "workers: [1]", "order: [sorted, as-is]": "order: [as-is]"})
    reader.follow("how-to/throughput.md")
    assert "<summary>Throughput</summary>" in reader.output
    assert "| labels/fp16 | torch | as-is |" in reader.output


def test_serve(tmp_path: Path) -> None:
    """The server of the page runs beside the rest of it."""
    port = free_port()
    command = f"onnxbuild serve embedder.yaml minilm --port {port} > log 2>&1 & echo $! > pid"
    ready = "for _ in $(seq 900); do grep -q ready log && break; sleep 0.1; done; cat log"
    reader = Reader(
        tmp_path,
        instead={"onnxbuild serve embedder.yaml minilm": f"{command}; {ready}"},
        small={"127.0.0.1:8000/v1": f"127.0.0.1:{port}/v1"},
        NO_PROXY="127.0.0.1",
    )
    try:
        reader.follow("how-to/serve.md")
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    assert "cosine 0.60, 15 tokens" in reader.output


def test_package_a_model(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    shutil.copy(TEXT, tmp_path)
    reader.follow("how-to/package.md")
    assert (tmp_path / "out/writer/packages/genai/genai_config.json").is_file()
    packages = tmp_path / "out" / "minilm" / "packages"
    assert sorted(path.name for path in packages.iterdir()) == ["plain", "sentence-transformers"]
    assert sorted(path.name for path in packages.glob("plain/*.onnx")) == ["model.onnx", "model_int8.onnx"]
