"""Packages in Transformers.js itself: Node runs some families in CI, and all in every client with `--thorough`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from functools import cache

import numpy as np
import onnx
import pytest
from families import exported, minilm_files, random_params, run_step, text_folder
from onnx import numpy_helper

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.export import ExportParams
from onnxbuild.steps.packaging.transformers_js import JavaScriptClientParams, JavaScriptParams
from onnxbuild.workers.package.javascript.javascript_client import run as run_client
from onnxbuild.workers.package.javascript.javascript_client import run_cases
from onnxbuild.workers.package.javascript.javascript_package import run as write_package
from onnxbuild.workers.package.javascript.node_project import ClientAbsent, browser, node, project_folder
from onnxbuild.workers.package.javascript.same_file_runs import SameFiles

TASKS = {
    "bert": "text-classification",
    "gpt2": "text-generation-with-past",
    "distilbert": "token-classification",
    "llama": "text-generation-with-past",
    "t5": "text2text-generation-with-past",
    "whisper": "automatic-speech-recognition-with-past",
    "vit": "image-classification",
}
IN_CI = ("bert", "gpt2")


@pytest.fixture(scope="module")
def client():
    """Skips where Node or the library is missing."""
    try:
        node()
        project_folder(4, lambda *_: None)
    except (ClientAbsent, CheckFailed) as absent:
        pytest.skip(str(absent))


@cache
def package(family):
    from onnxbuild.workers.fetch.worker import run as fetch

    checkpoint = run_step(fetch, random_params(family), text=text_folder())[1]
    params = JavaScriptParams(task=TASKS[family], graphs={"fp32": "plain"}, default_dtype="fp32")
    inputs = {"model": checkpoint, "graph-plain": exported(family)[1]}
    return run_step(write_package, params, "package", **inputs)[1]


def of_client(family, **fields):
    return JavaScriptClientParams(task=TASKS[family], graphs={"fp32": "plain"}, **fields)


def test_library_computes_the_same(client, amount):
    for family in amount(IN_CI, tuple(TASKS)):
        facts, report = run_step(run_client, of_client(family), "report", model=package(family))
        case = facts["cases"]["node/fp32"]
        assert case["equal"], (family, case)
        assert case.get("same_tokens", 0) == case.get("tokens", 0)
        assert json.loads((report / "client.json").read_text())["client"] == "Transformers.js 4.3.1"


def test_the_example_of_the_readme_runs_as_it_is_written(client, tmp_path):
    """With a model of fewer positions than the library generates tokens by default."""
    (example,) = re.findall(r"\n```js\n(.*?)\n```\n", (package("gpt2") / "README.md").read_text(), re.DOTALL)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "PACKAGE").symlink_to(package("gpt2"))
    (tmp_path / "node_modules").symlink_to(project_folder(4, lambda *_: None) / "node_modules")
    (tmp_path / "example.mjs").write_text(example)
    done = subprocess.run(["node", "example.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "generated_text: " in done.stdout


OF_CLIP = {"task": "zero-shot-image-classification", "graphs": {"fp32": "plain", "q8": "q8"}, "halves": "only"}


def halved_clip():
    """A random CLIP, and a package of its halves in fp32 and with integers."""
    from family_table import FAMILIES

    from onnxbuild.steps.fetch import FetchParams
    from onnxbuild.steps.quantize import QuantizeParams
    from onnxbuild.workers.export.worker import run as export
    from onnxbuild.workers.fetch.worker import run as fetch
    from onnxbuild.workers.quantize.worker import run as quantize

    (row,) = (family for family in FAMILIES if family.architecture == "clip")
    random = FetchParams(
        origin="random", architecture="clip", task=row.task, config=row.config, tokenizer_vocabulary=600
    )
    checkpoint = run_step(fetch, random, text=text_folder())[1]
    plain = run_step(export, ExportParams(task=row.task), model=checkpoint)[1]
    q8 = run_step(quantize, QuantizeParams(method="dynamic", preset="avx2"), model=plain)[1]
    inputs = {"model": checkpoint, "graph-plain": plain, "graph-q8": q8}
    return checkpoint, run_step(write_package, JavaScriptParams(**OF_CLIP), "package", **inputs)[1]


def test_halves_of_clip_compute_what_its_classes_promise(client):
    """In the library what they compute in Python, and there what PyTorch's classes of the same names compute."""
    import onnxruntime
    import torch
    from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection

    checkpoint, written = halved_clip()
    cases, _ = run_cases(JavaScriptClientParams(**OF_CLIP), written, lambda *_: None)
    assert {name: (case["equal"], set(case.get("halves", ()))) for name, case in cases.items()} == {
        "node/fp32": (True, {"text_model", "vision_model"}),
        "node/q8": (True, {"text_model", "vision_model"}),
    }, cases
    rng = np.random.default_rng(7)
    ids, pixels = rng.integers(5, 250, (3, 11)), rng.normal(size=(2, 3, 32, 32)).astype(np.float32)
    text = CLIPTextModelWithProjection.from_pretrained(checkpoint)
    vision = CLIPVisionModelWithProjection.from_pretrained(checkpoint)
    with torch.no_grad():
        wanted = {
            "text_model": text(torch.tensor(ids)).text_embeds.numpy(),
            "vision_model": vision(torch.tensor(pixels)).image_embeds.numpy(),
        }
    feeds = {
        "text_model": {"input_ids": ids, "attention_mask": np.ones_like(ids)},
        "vision_model": {"pixel_values": pixels},
    }
    for name, expected in wanted.items():
        session = onnxruntime.InferenceSession(written / f"onnx/{name}.onnx", providers=["CPUExecutionProvider"])
        (found,) = session.run(None, feeds[name])
        assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max(), name
        assert np.abs(np.linalg.norm(expected, axis=1) - 1).min() > 0.01  # they are not divided by their lengths


def test_package_that_does_not_load_fails_with_the_words_of_the_client(client, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(package("bert"), changed)
    path = changed / "onnx/model.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(CheckFailed) as failed:
        run_step(run_client, of_client("bert"), "report", model=changed)
    assert failed.value.failure.code == "OBE191"
    assert "cause" in dict(failed.value.failure.notes)


def test_without_node_the_check_is_skipped(monkeypatch):
    monkeypatch.setenv("PATH", "")
    facts, report = run_step(run_client, of_client("bert"), "report", model=package("bert"))
    assert facts == {"skipped": "needs node"}
    assert json.loads((report / "client.json").read_text()) == facts


def test_library_that_cannot_be_installed_fails_the_check(monkeypatch, tmp_path, client):
    program = tmp_path / "npm"
    program.write_text("#!/bin/sh\necho 'npm error network is down' >&2\nexit 1\n")
    program.chmod(0o755)
    (tmp_path / "node").symlink_to(shutil.which("node"))
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(CheckFailed, match=r"transformers 4\.3\.1, .*: npm error network is down$") as caught:
        run_step(run_client, of_client("bert"), "report", model=package("bert"))
    assert caught.value.failure.code == "OBE195"
    assert list((tmp_path / "cache/onnxbuild/clients").iterdir()) == []


def test_browser_computes_the_same(client, amount):
    """With WebAssembly and with WebGPU, where Chromium is."""
    try:
        browser()
    except ClientAbsent as missing:
        pytest.skip(str(missing))
    for family in amount(("bert",), ("bert", "gpt2", "t5")):
        cases, absent = run_cases(of_client(family, clients=("wasm", "webgpu")), package(family), lambda *_: None)
        assert absent == []
        assert [name for name, case in cases.items() if not case["equal"]] == []


def test_large_weights_load_in_chunks(client, tmp_path):
    """MiniLM in files of 40 MB, which config.json counts by the exact file name."""
    from onnxbuild.workers.export.worker import run as export

    graphs = run_step(export, ExportParams(task="feature-extraction"), model=minilm_files())[1]
    params = JavaScriptParams(
        task="feature-extraction", graphs={"fp32": "plain"}, default_dtype="fp32", chunk_bytes=40_000_000
    )
    inputs = {"model": minilm_files(), "graph-plain": graphs}
    facts, written = run_step(write_package, params, "package", **inputs)
    assert facts["graphs"] == {"model.onnx": 3}
    settings = {"dtype": "fp32", "use_external_data_format": {"model.onnx": 3}}
    assert json.loads((written / "config.json").read_text())["transformers.js_config"] == settings
    model = JavaScriptClientParams(task="feature-extraction", graphs={"fp32": "plain"})
    cases, _ = run_cases(model, written, lambda *_: None)
    assert cases["node/fp32"]["equal"], cases


def test_graphs_of_a_package_are_valid(amount):
    """Also those with branches, which a converter leaves out of order (facts of onnxruntime's float16)."""
    for family in amount(("gpt2",), ("gpt2", "t5", "whisper")):
        for path in (package(family) / "onnx").glob("*.onnx"):
            onnx.checker.check_model(path)
            weights = onnx.load(path).graph.initializer
            assert all(np.isfinite(numpy_helper.to_array(one)).all() for one in weights if one.data_type == 1)


SAM = {
    # By default its encoder is drawn with 1e-10, and no picture would change a mask.
    "initializer_range": 0.2,
    "mask_decoder_config": {
        "hidden_size": 16,
        "mlp_dim": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "iou_head_hidden_dim": 16,
    },
    "prompt_encoder_config": {"hidden_size": 16, "image_size": 32, "patch_size": 8, "mask_input_channels": 4},
    "vision_config": {
        "hidden_size": 24,
        "output_channels": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "initializer_range": 0.2,
        "image_size": 32,
        "patch_size": 8,
        "window_size": 2,
        "global_attn_indexes": [1],
        "mlp_ratio": 2.0,
        "num_pos_feats": 8,
    },
}


def test_sam_cuts_out_in_the_library_what_it_cuts_out_in_python(client):
    """Its class reads two graphs, and a processor that moves the points with the picture."""
    from onnxbuild.steps.fetch import FetchParams
    from onnxbuild.workers.export.worker import run as export
    from onnxbuild.workers.fetch.worker import run as fetch

    task = "feature-extraction"
    random = FetchParams(origin="random", architecture="sam", task=task, config=SAM)
    checkpoint = run_step(fetch, random)[1]
    plain = run_step(export, ExportParams(task=task), model=checkpoint)[1]
    params = JavaScriptParams(task=task, graphs={"fp32": "plain"}, default_dtype="fp32")
    facts, written = run_step(write_package, params, "package", **{"model": checkpoint, "graph-plain": plain})
    assert facts["graphs"] == {"prompt_encoder_mask_decoder.onnx": 0, "vision_encoder.onnx": 0}
    cases, _ = run_cases(JavaScriptClientParams(task=task, graphs={"fp32": "plain"}), written, lambda *_: None)
    assert cases["node/fp32"]["equal"], cases
    rng = np.random.default_rng(5)
    points = rng.uniform(0, 32, (1, 1, 3, 2)).astype(np.float32)
    given = {"input_points": points, "input_labels": np.ones((1, 1, 3), np.int64)}
    pictures = rng.normal(size=(2, 1, 3, 32, 32)).astype(np.float32)
    files = SameFiles(written, "fp32", 1)
    one, other = (files.outputs({**given, "pixel_values": pixels})["pred_masks"] for pixels in pictures)
    assert np.abs(one - other).max() > 0.05 * np.abs(one).max()  # what is compared depends on both graphs
