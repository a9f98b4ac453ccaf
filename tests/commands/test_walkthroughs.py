"""The walk-throughs of the field without a download: the manifests of convert-by-manifest.md, built small."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import pytest
from doc_pages import ROOT, Reader

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


def test_the_conversion_guide(reader: Reader) -> None:
    names = ("sst2/static", "sst2-opset-14", "t5-with-past/per-file")
    reader.events(f"onnxbuild run manifests/conversion-offline.yaml {' '.join(names)} --json")
    compared_with = {"sst2/fp32", "t5-with-past/fp32"}
    assert delivered(reader) == {"sst2/static", "sst2-opset-14/fp32", "t5-with-past/per-file"} | compared_with
    account = json.loads((reader.folder / "manifests/out/sst2-opset-14/fp32/onnxbuild.json").read_text())
    export = next(step for step in account["steps"] if step["kind"] == "export")
    assert (export["params"]["opset"], export["params"]["task"]) == (14, "text-classification")


def test_the_twin_of_the_guide_has_the_variants_of_the_guide() -> None:
    from onnxbuild.manifest.load import load_manifest
    from onnxbuild.steps import KINDS

    real, twin = (load_manifest(str(ROOT / "manifests" / name), kinds=KINDS) for name in (
        "conversion.yaml", "conversion-offline.yaml",
    ))  # fmt: skip
    assert [model.name for model in real.models] == [model.name for model in twin.models]


def test_code_of_the_checkpoint_and_two_exporters(reader: Reader) -> None:
    write("make_custom_code.py", reader.folder / "manifests" / "models" / "custom-code")
    reader.events("onnxbuild run manifests/custom-code.yaml --json")
    assert delivered(reader) == {"by-config/fp32", "by-torch/fp32"}


def test_sentiment_from_a_folder_with_bin_weights(reader: Reader) -> None:
    write("make_local_models.py", reader.folder / "manifests" / "models")
    assert (reader.folder / "manifests/models/minilm/pytorch_model.bin").stat().st_size > 90_000_000
    events = reader.events("onnxbuild run manifests/local-models.yaml sentiment/fp32 --json")
    timed = [one["facts"] for one in events if one.get("kind") == "benchmark" and one.get("outcome") == "built"]
    assert len(timed) == 1
    assert delivered(reader) == {"sentiment/fp32"}


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
