"""The walk-throughs of the field without a download: the manifests of convert-by-manifest.md, built small."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_pages import ROOT, Reader

from onnxbuild.manifest.load import load_manifest
from onnxbuild.steps import KINDS

pytestmark = pytest.mark.heavy


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    ignored = shutil.ignore_patterns("out", "models", "site", ".onnxbuild")
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests", ignore=ignored)
    return Reader(tmp_path)


def delivered(reader: Reader) -> set[str]:
    out = reader.folder / "manifests" / "out"
    return {path.relative_to(out).as_posix() for path in out.glob("*/*")}


def write(script: str, folder: Path) -> None:
    """Call `main` of a script that writes models."""
    runpy.run_path(str(ROOT / "manifests" / "data" / script))["main"](folder)


def shorter(reader: Reader, name: str, **texts: str) -> None:
    """Replace texts of a manifest in the reader's folder: `iterations="20 → 6"` makes `iterations: 20` shorter."""
    path = reader.folder / "manifests" / name
    text = path.read_text()
    for key, change in texts.items():
        long, short = (f"{key}: {part}" for part in change.split(" → "))
        assert long in text
        text = text.replace(long, short)
    path.write_text(text)


def shape(name: str) -> dict[str, dict[str, Any]]:
    """What each model of a manifest is built as: targets and what is done with them, without the source."""
    manifest = load_manifest(str(ROOT / "manifests" / name), kinds=KINDS)
    kept = ("targets", "task", "export", "package", "generate", "publish")
    shapes = {model.name: {key: model.block[key] for key in kept if key in model.block} for model in manifest.models}
    for block in shapes.values():
        if isinstance(place := block.pop("publish", None), dict):
            block["published"] = (place["license"], place.get("package"))
    return shapes


def figures(events: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """What each benchmark measured, by variant."""
    timed = [one for one in events if one.get("kind") == "benchmark" and one.get("outcome") == "built"]
    return {one["id"].removesuffix(":benchmark"): one["facts"]["results"] for one in timed}


def test_the_conversion_guide(reader: Reader) -> None:
    """The twin builds every variant of the guide, and publishes the package for Transformers.js to a folder."""
    reader.events("onnxbuild run manifests/conversion-offline.yaml --publish --json")
    variants = {f"{name}/{target}" for name, block in shape("conversion.yaml").items() for target in block["targets"]}
    assert delivered(reader) == variants | {"sst2-js/packages"}
    manifests = reader.folder / "manifests"
    for opset in (14, 17):
        account = json.loads((manifests / f"out/sst2-opset-{opset}/fp32/onnxbuild.json").read_text())
        export = next(step for step in account["steps"] if step["kind"] == "export")
        assert (export["params"]["opset"], export["params"]["task"]) == (opset, "text-classification")
    site = manifests / "site/distilbert-sst2-onnx"
    endings = ("", "_bnb4", "_fp16", "_int8", "_q4", "_q4f16", "_quantized", "_uint8")
    assert sorted(path.name for path in (site / "onnx").iterdir()) == [f"model{ending}.onnx" for ending in endings]
    recipes = json.loads((site / "quantize_config.json").read_text())
    assert (recipes["modes"][:3], recipes["block_size"]) == (["fp32", "fp16", "q8"], 32)
    card = yaml.safe_load((site / "README.md").read_text().split("\n---\n")[0])
    assert (card["library_name"], card["license"]) == ("transformers.js", "apache-2.0")
    assert (manifests / "out/sst2-js/packages/transformers.js/README.md").read_bytes() == (
        site / "README.md"
    ).read_bytes()


@pytest.mark.parametrize("name", ["conversion", "go-emotions", "gpt2", "gpt2-cloud-ai-100"])
def test_a_twin_builds_what_its_walk_through_builds(name: str) -> None:
    assert shape(f"{name}-offline.yaml").keys() == shape(f"{name}.yaml").keys()
    for model, block in shape(f"{name}.yaml").items():
        twin = shape(f"{name}-offline.yaml")[model]
        assert twin.keys() == block.keys()
        assert {key: twin[key] for key in twin if key != "generate"} == {
            key: block[key] for key in block if key != "generate"
        }


def test_gpt2_in_two_sizes(reader: Reader) -> None:
    """Both sizes in fp32 and int8, timed as often as the manifest says, and texts beside PyTorch's."""
    shorter(reader, "parts/gpt2-sizes.yaml", iterations="20 → 7", max_new_tokens="64 → 9")
    events = reader.events("onnxbuild run manifests/gpt2-sizes-offline.yaml --json")
    variants = {f"gpt2-{layers}/{target}" for layers in (2, 3) for target in ("fp32", "int8")}
    assert delivered(reader) == variants
    measured = figures(events)
    assert measured.keys() == variants
    for results in measured.values():
        assert {one["stage"] for one in results} == {"prefill", "decode"}
        assert {name: times["n"] for one in results for name, times in one["engines"].items()} == {
            "onnxruntime": 7, "torch": 7
        }  # fmt: skip
    texts = {one["id"]: one["facts"] for one in events if one.get("kind") == "generate" and "facts" in one}
    assert texts.keys() == {f"{variant}:generate" for variant in variants}
    assert all(facts["agreement"]["of"] == 9 for facts in texts.values())


def test_code_of_the_checkpoint_and_two_exporters(reader: Reader) -> None:
    write("make_custom_code.py", reader.folder / "manifests" / "models" / "custom-code")
    reader.events("onnxbuild run manifests/custom-code.yaml --json")
    assert delivered(reader) == {"by-config/fp32", "by-torch/fp32"}


def test_an_embedder_and_sentiment_from_folders_with_bin_weights(reader: Reader) -> None:
    """Each is timed beside PyTorch with the same inputs."""
    write("make_local_models.py", reader.folder / "manifests" / "models")
    assert (reader.folder / "manifests/models/minilm/pytorch_model.bin").stat().st_size > 90_000_000
    shorter(reader, "local-models.yaml", iterations="20 → 5", sequence="[128] → [19]")
    measured = figures(reader.events("onnxbuild run manifests/local-models.yaml --json"))
    variants = {f"{model}/{target}" for model in ("embedder", "sentiment") for target in ("fp32", "int8")}
    assert delivered(reader) == measured.keys() == variants
    for results in measured.values():
        (one,) = results
        assert (one["batch"], one["sequence"], one["threads"]) == (1, 19, 1)
        assert all(one["engines"][name]["p50_ms"] > 0 for name in ("onnxruntime", "torch"))


def test_one_model_for_four_clients_and_a_folder(reader: Reader) -> None:
    events = reader.events("onnxbuild run manifests/ship-offline.yaml --publish --json")
    checks = {one["id"]: one["facts"] for one in events if "facts" in one and one["kind"].startswith("client-")}
    names = ("plain", "sentence-transformers", "server", "transformers.js")
    assert sorted(checks) == [f"harbour:client-{name}" for name in names]
    javascript = checks.pop("harbour:client-transformers.js")
    assert javascript.get("skipped", "needs ").startswith("needs ")  # Node or npm may be missing
    assert not [facts for facts in checks.values() if "skipped" in facts]
    place = reader.folder / "manifests"
    package, site = place / "out/harbour/packages/sentence-transformers", place / "site/harbour"
    graphs = ("onnx/model.onnx", "onnx/model_quint8_avx2.onnx")
    for name in graphs:
        assert (site / name).read_bytes() == (package / name).read_bytes()
    assert len({(site / name).read_bytes() for name in graphs}) == len(graphs)
