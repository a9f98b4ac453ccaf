"""manifests/tuned.yaml: only the chosen variant is tuned, and the next run has nothing to do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from doc_pages import ROOT, Reader

pytestmark = pytest.mark.heavy


def test_only_the_best_variant_is_tuned(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests", ignore=shutil.ignore_patterns("out", ".onnxbuild"))
    path = tmp_path / "manifests" / "tuned.yaml"
    quick = path.read_text().replace("settings:", "rounds: 2, iterations: 3, settings:")
    assert quick != path.read_text()
    path.write_text(quick)
    reader = Reader(tmp_path)
    run = "onnxbuild run manifests/tuned.yaml"
    built = {one["id"] for one in reader.events(f"{run} --json") if one.get("outcome") == "built"}
    assert {name for name in built if name.endswith(":tune")} == {"harbour/int8:tune"}
    out = tmp_path / "manifests" / "out" / "harbour"
    assert {place.parent.name for place in out.glob("*/session.json")} == {"best", "int8"}
    described = json.loads((out / "best" / "onnxbuild.json").read_text())
    assert described["chosen"]["target"] == "int8"
    assert "harbour/int8:tune" in {step["id"] for step in described["steps"]}
    for command, words in (
        (run, "up to date: 6 actions, nothing to do"),
        ("onnxbuild status manifests/tuned.yaml", "tuned harbour/int8: "),
        ("onnxbuild plan manifests/tuned.yaml", "hit       harbour/int8:tune"),
        ("onnxbuild report manifests/tuned.yaml --format markdown", "<details><summary>Session settings</summary>"),
        ("onnxbuild explain harbour/int8:tune -m manifests/tuned.yaml", "harbour/int8:tune"),
    ):
        reader.output = ""
        reader._run(command, fails=False)
        assert words in reader.output, command
    # Another choice tunes another variant.
    path.write_text(quick.replace("minimize: size_mb", "maximize: label_agreement"))
    built = {one["id"] for one in reader.events(f"{run} --json") if one.get("outcome") == "built"}
    assert built == {"harbour/fp32:tune"}
