"""Packages: the folders that are written, and their checks with the real clients, on small models and on MiniLM."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from families import contents, run_step, scratch
from small_models import exported as small
from small_models import minilm
from test_sentence_folders import PAIRS, cross_encoder, embedder
from test_sentence_folders import exported as exported_folder

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.packaging.package_kind import ClientParams
from onnxbuild.steps.packaging.plain_package import PlainParams
from onnxbuild.steps.packaging.sentence_package import SentenceParams
from onnxbuild.steps.prepare import PrepareParams
from onnxbuild.workers.package import client_checks
from onnxbuild.workers.package.plain_client import run as check_plain
from onnxbuild.workers.package.sentence_client import run as check_sentences
from onnxbuild.workers.package.sentence_folder import loader_text
from onnxbuild.workers.package.sentence_folder import run as write_sentences
from onnxbuild.workers.package.worker import run as write_plain
from onnxbuild.workers.prepare.worker import run as prepare

pytestmark = pytest.mark.heavy

TEXTS = ["the dog runs", "a cat", "the cat sleeps in the red house and the dog runs fast", "blue"]


def plain(task, checkpoint, **targets):
    """A plain package of some targets by role, and its facts."""
    graphs = {role: f"t{number}" for number, role in enumerate(targets)}
    ports = {f"graph-t{number}": folder for number, folder in enumerate(targets.values())}
    return run_step(write_plain, PlainParams(task=task, graphs=graphs), "package", model=checkpoint, **ports)


def sentences(task, checkpoint, **targets):
    graphs = {role: f"t{number}" for number, role in enumerate(targets)}
    ports = {f"graph-t{number}": folder for number, folder in enumerate(targets.values())}
    params = SentenceParams(task=task, graphs=graphs)
    return run_step(write_sentences, params, "package", model=checkpoint, **ports)


def checked(check, task, package, roles=("",)):
    params = ClientParams(task=task, graphs={role: f"t{number}" for number, role in enumerate(roles)})
    with contextlib.chdir(scratch()):  # as in a run, where a check works in a folder of its own
        return run_step(check, params, "report", model=package)[0]


def with_other_numbers(folder: Path, factor: float) -> Path:
    """A copy of a folder whose graphs compute other numbers."""
    changed = scratch()
    shutil.copytree(folder, changed, dirs_exist_ok=True)
    for path in changed.rglob("*.onnx"):
        model = onnx.load(path)
        tensor = max(model.graph.initializer, key=lambda one: len(one.raw_data))
        values = onnx.numpy_helper.to_array(tensor) * np.float32(factor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        onnx.save(model, path)
    return changed


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_the_loader_of_optimum_computes_what_onnxruntime_does(name: str) -> None:
    model = small(name)
    roles = ("",) if name == "t5" else ("", "loud")
    folders = (model.onnx, with_other_numbers(model.onnx, 1.5))
    facts, package = plain(model.task, model.checkpoint, **dict(zip(roles, folders, strict=False)))
    found = checked(check_plain, model.task, package, roles)
    assert found["max_difference"] == {role or "model": 0.0 for role in roles}
    names = {path.name for path in package.glob("*.onnx")}
    endings = [f"_{role}" if role else "" for role in roles]
    assert names == {f"{path.stem}{end}.onnx" for path in model.onnx.glob("*.onnx") for end in endings}
    assert set(facts["graphs"]) == names
    done = subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=package, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"")
    listed = {line.split("  ", 1)[1] for line in (package / "SHA256SUMS").read_text().splitlines()}
    assert listed == contents(package).keys() - {"SHA256SUMS"}


def test_weights_in_another_file_keep_their_graph_under_another_name() -> None:
    model = small("bert")
    apart = scratch()
    shutil.copytree(model.onnx, apart, dirs_exist_ok=True)
    whole = onnx.load(apart / "model.onnx")
    onnx.save(whole, apart / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=64)
    _, package = plain(
        model.task, model.checkpoint, **{"": apart, "b": with_other_numbers(model.onnx, 2.0), "c": apart}
    )
    assert {path.name for path in package.glob("*_data")} == {"model.onnx_data", "model_c.onnx_data"}
    feeds = {"input_ids": np.array([[5, 7, 11]]), "attention_mask": np.ones((1, 3), np.int64)}
    feeds["token_type_ids"] = np.zeros((1, 3), np.int64)

    def logits(name):
        session = onnxruntime.InferenceSession(package / name)
        return session.run(["logits"], {one.name: feeds[one.name] for one in session.get_inputs()})[0]

    assert np.array_equal(logits("model.onnx"), logits("model_c.onnx"))
    assert not np.allclose(logits("model.onnx"), logits("model_b.onnx"))
    (package / "model.onnx_data").unlink()
    assert logits("model_c.onnx").shape == (1, 5)


def test_a_client_that_computes_other_numbers_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("bert")
    _, package = plain(model.task, model.checkpoint, **{"": model.onnx})
    from onnxbuild.workers.package import plain_client

    monkeypatch.setattr(plain_client, "_by_session", lambda *_: {"logits": np.zeros((3, 5), np.float32)})
    with pytest.raises(CheckFailed) as error:
        checked(check_plain, model.task, package)
    assert error.value.failure.code == "OBE190"
    assert "computes other numbers than ONNX Runtime with `model`" in error.value.failure.message


def test_a_package_that_does_not_open_fails_the_check() -> None:
    model = small("bert")
    _, package = plain(model.task, model.checkpoint, **{"": model.onnx})
    (package / "config.json").write_text(json.dumps({"model_type": "nothing"}))
    with pytest.raises(CheckFailed) as error:
        checked(check_plain, model.task, package)
    assert error.value.failure.code == "OBE191"


def test_a_check_without_its_client_is_skipped_and_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("bert")
    _, package = plain(model.task, model.checkpoint, **{"": model.onnx})
    monkeypatch.setattr(client_checks, "find_spec", lambda _name: None)
    assert checked(check_plain, model.task, package) == {"skipped": "needs optimum-onnx"}
    found = checked(check_sentences, "feature-extraction", package)
    assert found == {"skipped": "needs sentence-transformers and optimum-onnx"}


def test_minilm_loads_with_both_loaders_and_gives_the_vectors_of_the_torch_model() -> None:
    model = minilm()
    facts, package = sentences(model.task, model.checkpoint, **{"": model.onnx, "O3": model.onnx})
    assert facts["graphs"] == ["onnx/model.onnx", "onnx/model_O3.onnx"]
    found = checked(check_sentences, model.task, package)
    assert found["max_difference"]["onnx/model.onnx"] <= 1e-6
    assert "without torch" in found["client"]
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(model.checkpoint), device="cpu").encode(TEXTS)
    vectors = loader(package).OnnxModel(package, "model_O3.onnx").encode(TEXTS)
    assert np.abs(vectors - expected).max() < 1e-5
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    one = loader(package).OnnxModel(package).encode(TEXTS[2])
    assert one.shape == (384,)
    assert np.abs(one - expected[2]).max() < 1e-5
    with pytest.raises(FileNotFoundError, match=r"there is no graph o3\.onnx in .*; there are: model\.onnx, model_O3"):
        loader(package).OnnxModel(package, "o3.onnx")


def loader(package: Path):
    """The loader of a package, as a module of its own."""
    spec = importlib.util.spec_from_file_location("onnx_model_of_package", package / "onnx_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_cross_encoder_scores_and_ranks_as_its_library_does() -> None:
    output = exported_folder(cross_encoder(), "text-classification")
    _, package = sentences("text-classification", cross_encoder(), **{"": output})
    assert checked(check_sentences, "text-classification", package)["max_difference"]["onnx/model.onnx"] <= 1e-6
    from sentence_transformers import CrossEncoder

    library = CrossEncoder(str(cross_encoder()), device="cpu")
    model = loader(package).OnnxModel(package)
    assert np.abs(model.predict(PAIRS) - library.predict(PAIRS)).max() < 1e-5
    assert abs(model.predict(PAIRS[1]) - library.predict(PAIRS[1])) < 1e-5
    documents = [second for _, second in PAIRS]
    expected = library.rank(PAIRS[0][0], documents, top_k=2, return_documents=True)
    ranked = model.rank(PAIRS[0][0], documents, top_k=2, return_documents=True)
    assert [(one["corpus_id"], one["text"]) for one in ranked] == [(o["corpus_id"], o["text"]) for o in expected]


@pytest.mark.parametrize(
    "change",
    [
        {"pooling_mode": "cls"},
        {"pooling_mode": ["mean", "max"]},
        {"pooling_mode": "lasttoken"},
        {"pooling_mode": "weightedmean"},
        {"pooling_mode": "mean_sqrt_len_tokens"},
        {"pooling_mode": "mean", "include_prompt": False},
    ],
    ids=lambda change: "-".join(map(str, change.values())),
)
def test_every_pooling_of_the_library_is_computed_without_torch(embedders: Path, change: dict[str, object]) -> None:
    package = scratch()
    shutil.copytree(embedders, package, dirs_exist_ok=True)
    (package / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 36, **change}))
    settings = {"prompts": {"query": "the red house ", "none": ""}, "default_prompt_name": "query"}
    (package / "config_sentence_transformers.json").write_text(json.dumps(settings))
    from sentence_transformers import SentenceTransformer

    library = SentenceTransformer(str(package), backend="onnx", device="cpu")
    model = loader(package).OnnxModel(package)
    for options in ({}, {"prompt_name": "none"}, {"prompt": "blue tree "}, {"truncate_dim": 7}, {"batch_size": 3}):
        expected = library.encode(TEXTS, **options)
        assert np.abs(model.encode(TEXTS, **options) - expected).max() < 1e-6, options
    assert np.abs(model.encode_query(TEXTS) - library.encode_query(TEXTS)).max() < 1e-6
    assert np.abs(model.encode_document(TEXTS) - library.encode_document(TEXTS)).max() < 1e-6
    assert np.abs(model.encode(TEXTS, prompt_name="none") - model.encode(TEXTS)).max() > 1e-3
    with pytest.raises(ValueError, match="the model has no prompt `nobody`"):
        model.encode(TEXTS, prompt_name="nobody")


@pytest.fixture(scope="module")
def embedders() -> Path:
    """A package of a small embedder that reads 32 tokens."""
    _, flat = run_step(prepare, PrepareParams(flatten=True), model=embedder())
    output = exported_folder(flat, "sentence-similarity")
    _, package = sentences("sentence-similarity", flat, **{"": output})
    assert checked(check_sentences, "sentence-similarity", package)["max_difference"]["onnx/model.onnx"] <= 1e-6
    return package


def test_the_loader_cuts_long_texts_as_the_library_does(embedders: Path) -> None:
    model = loader(embedders).OnnxModel(embedders)
    long, longer = " ".join(["dog", "cat"] * 15), " ".join(["dog", "cat"] * 15 + ["house"] * 40)
    assert model.max_seq_length == 32
    assert np.array_equal(model.encode([long]), model.encode([longer]))
    assert not np.allclose(model.encode([long]), model.encode([long[:-4]]))


def test_the_loader_is_one_file_that_imports_nothing_of_onnxbuild(tmp_path: Path) -> None:
    (tmp_path / "onnx_model.py").write_text(loader_text())
    script = "import sys, onnx_model; print(sorted({n.partition('.')[0] for n in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )  # fmt: skip
    loaded = set(json.loads(done.stdout.replace("'", '"')))
    assert loaded & {"torch", "transformers", "onnxbuild", "sentence_transformers"} == set()
    assert {"onnxruntime", "tokenizers", "numpy"} <= loaded
    assert "onnxbuild" not in loader_text()
