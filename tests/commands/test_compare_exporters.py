"""compare-exporters: who can export a model and where, what the table says, and that a second run does nothing."""

from __future__ import annotations

import pytest

from onnxbuild.commands.comparing.candidates import candidates, model_named
from onnxbuild.commands.comparing.checkpoint_manifest import manifest_for
from onnxbuild.commands.comparing.exporter_table import Compared, as_text, comparison
from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.workspace import loaded
from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.planning.locked import Lock
from onnxbuild.report.result.figures import NONE

MANIFEST = """\
onnxbuild: 1
toolchains:
  four: {requirements: ["transformers==4.57.6", "optimum==2.1.0", "torch==2.13.0"]}
  five: {requirements: ["transformers==5.23.0", "torch==2.13.0", "mobius-onnx==0.1.0"]}
targets: {fp32: {}, other: {optimize: O1}}
models:
  dense: {source: "random:qwen3", task: text-generation-with-past, toolchain: five, targets: [other]}
  chunks: {source: "random:minimax", task: text-generation-with-past, toolchain: five, targets: [fp32]}
"""


@pytest.fixture
def manifest(tmp_path, monkeypatch):
    monkeypatch.setattr("onnxbuild.planning.known_versions._installed", lambda _path: {"transformers": "5.10.0"})
    (tmp_path / "m.yaml").write_text(MANIFEST)
    return loaded(Asked(manifest=str(tmp_path / "m.yaml")))


def found(manifest, name):
    return {one.exporter: one for one in candidates(manifest, Lock(), model_named(manifest, name))}


def test_each_exporter_gets_the_first_toolchain_that_can_run_it(manifest):
    able = found(manifest, "dense")
    assert {name: (one.toolchain, one.version, one.variant) for name, one in able.items() if one.because is None} == {
        "optimum": ("four", "2.1.0", "dense-optimum/fp32"),
        "transformers": ("five", "5.23.0", "dense-transformers/fp32"),
        "mobius": ("five", "0.1.0", "dense-mobius/fp32"),
    }
    assert able["genai"].because == "the toolchain does not have `genai`"


def test_an_exporter_that_cannot_says_why_about_the_model_and_not_about_a_toolchain(manifest):
    chunks = found(manifest, "chunks")
    assert [name for name, one in chunks.items() if one.because is None] == []
    assert chunks["transformers"].because.endswith("its loop over the text is frozen at the length of the sample")
    assert chunks["optimum"].because == "`optimum` does not know the model type `minimax`"


def test_a_model_that_the_manifest_does_not_have(manifest):
    with pytest.raises(DiagnosticError) as caught:
        model_named(manifest, "dens")
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, diagnostic.message) == ("OB639", "the manifest has no model `dens`")


ROWS = (
    Compared(exporter="optimum", version="2.1.0", size_bytes=470_888, max_abs=1e-6, latency_ms=0.26, verdict="passed"),
    Compared(exporter="transformers", version="5.23.0", max_abs=3.1, latency_ms=0.01, verdict="failed", because="no"),
    Compared(exporter="mobius", version="0.1.0", size_bytes=391_460, max_abs=1.6e-6, latency_ms=0.12, verdict="passed"),
    Compared(exporter="genai", verdict="cannot", because="the toolchain does not have `genai`"),
)  # fmt: skip


def test_only_what_is_right_takes_part_in_the_comparison():
    none = NONE.ljust
    assert as_text(comparison("dense", ROWS)).splitlines() == [
        "exporter      version  size    worst difference  latency  verdict",
        "optimum       2.1.0    0.5 MB  1.0e-06           0.26 ms  passed",
        f"transformers  5.23.0   {none(6)}  3.1000            0.01 ms  failed",
        "mobius        0.1.0    0.4 MB  1.6e-06           0.12 ms  passed",
        f"genai         {none(7)}  {none(6)}  {none(16)}  {none(7)}  cannot",
        "",
        "transformers: no",
        "genai: the toolchain does not have `genai`",
        "validates best: optimum",
        "runs fastest: mobius",
    ]


def test_one_that_is_right_and_none():
    assert as_text(comparison("m", ROWS[1:3])).endswith("only mobius gave a model that passed its validation")
    assert as_text(comparison("m", ROWS[1:2])).endswith("no exporter gave a model that passed its validation")


def test_a_checkpoint_folder_gets_a_manifest_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "My Model"
    folder.mkdir()
    with pytest.raises(DiagnosticError) as caught:
        manifest_for(Asked(manifest=str(folder)))
    assert [one.code for one in caught.value.diagnostics] == ["OB639"]
    (folder / "config.json").write_text('{"model_type": "bert"}')
    asked = manifest_for(Asked(manifest=str(folder)))
    manifest = loaded(asked)
    assert [(one.name, one.source) for one in manifest.models] == [("my-model", f"local:{folder}")]
    assert sorted(manifest.toolchains) == ["transformers-4", "transformers-5"]
    assert manifest_for(asked) == asked
