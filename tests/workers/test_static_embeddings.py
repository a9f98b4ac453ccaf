"""A StaticEmbedding, exported and compared with what sentence-transformers itself makes of texts."""

from __future__ import annotations

import json
import shutil
from functools import cache

import numpy as np
import onnxruntime
import pytest
from families import minilm_files, run_step, scratch

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.benchmark import BenchmarkParams
from onnxbuild.steps.export import ExportParams
from onnxbuild.steps.optimize import OptimizeParams
from onnxbuild.steps.prepare import PrepareParams
from onnxbuild.steps.validate import ValidateParams
from onnxbuild.tables.thresholds import THRESHOLDS
from onnxbuild.workers.benchmark.worker import run as benchmark
from onnxbuild.workers.export.worker import run as export
from onnxbuild.workers.optimize.worker import run as optimize
from onnxbuild.workers.prepare.worker import run as prepare
from onnxbuild.workers.validate.worker import run as validate

pytestmark = pytest.mark.heavy

DIMENSIONS = 37
TEXTS = ["The ferry leaves at seven.", "Yes.", "A triangle with sides of three, four and five has a right angle.", ""]


def tokenizer():
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(minilm_files() / "tokenizer.json"))


@cache
def static(*, normalize=False, dense=False):
    """A StaticEmbedding as sentence-transformers saves it, with MiniLM's tokenizer, which adds special tokens."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Normalize, StaticEmbedding

    torch.manual_seed(5)
    modules = [StaticEmbedding(tokenizer(), embedding_dim=DIMENSIONS)]
    modules += [Dense(DIMENSIONS, 11)] if dense else []
    modules += [Normalize()] if normalize else []
    folder = scratch() / "static"
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder))
    return folder


@cache
def in_its_folder():
    """The layout of `static-retrieval-mrl-en-v1`."""
    folder = scratch() / "old"
    shutil.copytree(static(normalize=True), folder)
    inner = folder / "0_StaticEmbedding"
    inner.mkdir()
    for name in ("model.safetensors", "tokenizer.json"):
        (folder / name).rename(inner / name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_StaticEmbedding"
    modules[0]["type"] = "sentence_transformers.models.StaticEmbedding"
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


@cache
def of_model2vec():
    """What model2vec writes: another config.json, another key, and weights in half precision."""
    from safetensors.torch import load_file, save_file

    folder = scratch() / "potion"
    shutil.copytree(static(normalize=True), folder)
    weights = load_file(folder / "model.safetensors")["embedding.weight"]
    save_file({"embeddings": weights.half()}, folder / "model.safetensors")
    (folder / "config.json").write_text(
        '{"model_type": "model2vec", "architectures": ["StaticModel"], "normalize": true}'
    )
    return folder


def exported(folder, task="sentence-similarity", **fields):
    _, output = run_step(export, ExportParams(task=task, exporter="sentence_transformers", **fields), model=folder)
    return output


def validated(output, reference):
    bounds = THRESHOLDS["embedding"]["fp32"]
    params = ValidateParams(task="sentence-similarity", shapes=((1, 1), (1, 5), (3, 17)), thresholds=bounds)
    facts, _ = run_step(validate, params, ports="report", model=output, reference=reference)
    assert facts["passed"], facts
    return facts


def vectors(folder, texts):
    """As a user of the delivered folder makes them: its tokenizer.json, and the graph."""
    from tokenizers import Tokenizer

    backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.enable_padding()
    rows = backend.encode_batch(texts)
    feeds = {"input_ids": [row.ids for row in rows], "attention_mask": [row.attention_mask for row in rows]}
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    return session.run(["sentence_embedding"], {name: np.array(value, np.int64) for name, value in feeds.items()})[0]


def encoded(folder, texts):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu").float().encode(texts)


MADE = {
    "plain": static,
    "normalized": lambda: static(normalize=True),
    "dense": lambda: static(normalize=True, dense=True),
    "model2vec": of_model2vec,
}


@pytest.mark.parametrize("kind", MADE)
def test_its_vectors_are_those_of_its_library(kind):
    source = MADE[kind]()
    output = exported(source)
    facts = validated(output, source)
    assert facts["samples"]["text"] == "sentences"
    assert facts["reference"] == "torch"
    expected = encoded(source, TEXTS)
    assert np.abs(vectors(output, TEXTS) - expected).max() < 1e-5
    assert np.ptp(expected[0]) > 0.01


def test_the_model_in_a_folder_of_its_own():
    facts, flat = run_step(prepare, PrepareParams(flatten=True), model=in_its_folder())
    assert facts["flattened"] == "0_StaticEmbedding"
    output = exported(flat, "feature-extraction")
    validated(output, flat)
    assert np.abs(vectors(output, TEXTS) - encoded(in_its_folder(), TEXTS)).max() < 1e-5


def test_a_text_without_tokens_is_zeros_as_in_the_library():
    found = vectors(exported(static()), TEXTS)[TEXTS.index("")]
    assert found.tolist() == [0.0] * DIMENSIONS == encoded(static(), [""])[0].tolist()


def test_padding_does_not_count():
    """A mean over the padded rows would be another vector."""
    output = exported(static())
    alone = np.concatenate([vectors(output, [text]) for text in TEXTS[:3]])
    assert np.abs(vectors(output, TEXTS[:3]) - alone).max() < 1e-6


def test_what_follows_works_on_it():
    output = exported(static(normalize=True))
    _, optimal = run_step(optimize, OptimizeParams(level="O1"), model=output)
    validated(optimal, static(normalize=True))
    timing = BenchmarkParams(task="sentence-similarity", sequence=(8,), iterations=2, rounds=1, warmup=1)
    facts, _ = run_step(benchmark, timing, ports="samples", model=output, reference=static(normalize=True))
    assert set(facts["results"][0]["engines"]) == {"onnxruntime", "torch"}


def test_in_half_precision():
    output = exported(static(normalize=True), dtype="fp16")
    assert np.abs(vectors(output, TEXTS) - encoded(static(normalize=True), TEXTS)).max() < 2e-3


def test_modules_that_begin_with_another():
    folder = scratch() / "words"
    shutil.copytree(static(), folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "sentence_transformers.models.BoW"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckFailed, match="OBE103 the sentence-transformer starts with BoW, which is neither"):
        exported(folder)


def test_weights_that_the_library_does_not_know():
    from safetensors.torch import save_file
    from torch import zeros

    folder = scratch() / "other"
    shutil.copytree(static(), folder)
    save_file({"vectors": zeros(3, 2)}, folder / "model.safetensors")
    with pytest.raises(CheckFailed, match="OBE103 sentence-transformers cannot load the StaticEmbedding: KeyError"):
        exported(folder)
