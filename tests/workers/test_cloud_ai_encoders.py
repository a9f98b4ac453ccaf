"""Encoders for Cloud AI 100: the vectors are those of PyTorch, whatever a text is padded to."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
import transformers

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.qaic_backend import QaicParams
from onnxbuild.steps.kind import Runtime
from onnxbuild.steps.validate import ValidateParams
from onnxbuild.tables.compiling.cloud_ai_families import ENCODERS
from onnxbuild.tables.compiling.pooled_outputs import Pooled, pooled_by
from onnxbuild.tables.thresholds import default_bounds
from onnxbuild.workers.compile.qaic import pooled_graph
from onnxbuild.workers.compile.qaic.card_files import encoder_symbols, files_of
from onnxbuild.workers.compile.qaic.host_double import HostDouble
from onnxbuild.workers.compile.qaic.pooled_graph import export_encoder
from onnxbuild.workers.compile.qaic.qaic_worker import Produced, _stage
from onnxbuild.workers.compile.qaic.qaic_worker import run as compile_qaic
from onnxbuild.workers.engines.compiled.open_variant import open_variant
from onnxbuild.workers.engines.torch_engine import open_reference
from onnxbuild.workers.validate.worker import run as validate

IDS = np.array([[5, 9, 33, 71, 2, 0, 0], [8, 8, 3, 0, 0, 0, 0]])
_HEADS = {"hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 44}
MASK = (IDS > 0).astype(np.int64)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    torch.manual_seed(4)
    config = transformers.BertConfig(
        vocab_size=97, hidden_size=36, num_hidden_layers=2, num_attention_heads=3, intermediate_size=44
    )
    model = transformers.BertModel(config).eval()
    folder = tmp_path_factory.mktemp("bert")
    model.save_pretrained(folder)
    with torch.inference_mode():
        vectors = model(torch.tensor(IDS), attention_mask=torch.tensor(MASK)).last_hidden_state.numpy()
    return folder, vectors


def _mean(vectors):
    return (vectors * MASK[:, :, None]).sum(1) / MASK.sum(1)[:, None]


POOLS = {
    "none": lambda vectors: vectors,
    "cls": lambda vectors: vectors[:, 0],
    "mean": _mean,
    "max": lambda vectors: np.where(MASK[:, :, None] > 0, vectors, -np.inf).max(1),
}


def run(folder, checkpoint, pooling):
    params = QaicParams(seq_len=(IDS.shape[1],), batch_size=2)
    folder.mkdir(exist_ok=True)
    _, pooled = export_encoder(checkpoint, folder, pooling=pooling, trusts_code=False)
    for name, text in files_of(params, {}, encoder_symbols(params), ()).items():
        (folder / name).write_text(text)
    session = HostDouble(folder / "model.onnx", folder)
    return session.run({"input_ids": IDS, "attention_mask": MASK})["output"], pooled


@pytest.mark.parametrize("pooling", list(POOLS))
def test_pooling(bert, tmp_path, pooling):
    checkpoint, vectors = bert
    output, pooled = run(tmp_path, checkpoint, pooling)
    seen = MASK[:, :, None] if pooling == "none" else 1
    np.testing.assert_allclose(output * seen, POOLS[pooling](vectors) * seen, atol=2e-6)
    assert pooled == Pooled(pooling, normalized=False)
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert [one.name for one in graph.input] == ["input_ids", "attention_mask"]
    assert [one.name for one in graph.output] == ["output"]


@pytest.mark.parametrize(
    ("config", "pooling"),
    [({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"), ({"pooling_mode": "mean"}, "mean")],
)
def test_the_pooling_of_sentence_transformers(bert, tmp_path, config, pooling):
    checkpoint, vectors = bert
    folder = embedder(tmp_path, checkpoint, config)
    output, pooled_by = run(tmp_path / "program", folder, "auto")
    pooled = POOLS[pooling](vectors)
    np.testing.assert_allclose(output, pooled / np.linalg.norm(pooled, axis=1, keepdims=True), atol=2e-6)
    assert pooled_by == Pooled(pooling, normalized=True)
    output, pooled_by = run(tmp_path / "tokens", folder, "none")
    assert pooled_by == Pooled("none", normalized=False), "the vectors of tokens are those of the model"
    np.testing.assert_allclose(output * MASK[:, :, None], vectors * MASK[:, :, None], atol=2e-6)


def embedder(place, checkpoint, config):
    """A checkpoint of sentence-transformers with this pooling, and normalized vectors."""
    modules = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"}
        for path, kind in (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    ]
    folder = place / "embedder"
    (folder / "1_Pooling").mkdir(parents=True)
    for path in checkpoint.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "1_Pooling/config.json").write_text(json.dumps(config))
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


def test_the_name_of_an_output_says_what_it_is_compared_with():
    outputs = {
        (mode, normalized): list(_stage(decodes=False, normal=Produced({}, (), Pooled(mode, normalized))).outputs)
        for mode, normalized in (("none", False), ("cls", False), ("mean", True))
    }
    assert outputs == {
        ("none", False): ["last_hidden_state"],
        ("cls", False): ["cls_pooled"],
        ("mean", True): ["mean_pooled_normalized"],
    }
    assert pooled_by(["logits", "mean_pooled_normalized"]) == Pooled("mean", normalized=True)
    assert pooled_by(["last_hidden_state"]) is None


def compiled(place, checkpoint, **params):
    place.mkdir()
    settings = QaicParams(**{"task": "feature-extraction", "seq_len": (33, 9), "batch_size": 2, **params})
    return compile_qaic(settings, {"model": checkpoint}, {"model": place}, lambda *_: None)


@pytest.mark.parametrize(("pooling", "normalized"), [("mean", True), ("mean", False), ("cls", False), ("max", True)])
def test_the_pooled_vectors_are_compared_with_those_of_pytorch(bert, tmp_path, pooling, normalized):
    checkpoint, vectors = bert
    if normalized:
        checkpoint = embedder(tmp_path, checkpoint, {"pooling_mode": pooling})
    facts = compiled(tmp_path / "out", checkpoint, pooling="auto" if normalized else pooling)
    assert (facts["pooling"], facts["normalized"]) == (pooling, normalized)
    variant = open_variant(tmp_path / "out", threads=1)
    reference = open_reference(checkpoint, "feature-extraction", variant, threads=1)
    feeds = {"input_ids": IDS, "attention_mask": MASK}
    (actual,), (wanted,) = (engine.run("forward", feeds).values() for engine in (variant, reference))
    assert list(reference.run("forward", feeds)) == list(variant.outputs("forward"))
    pooled = POOLS[pooling](vectors)
    pooled = pooled / np.linalg.norm(pooled, axis=1, keepdims=True) if normalized else pooled
    np.testing.assert_allclose(wanted, pooled, atol=2e-6)
    np.testing.assert_allclose(actual, pooled, atol=2e-6)


def test_a_validation_with_default_settings_passes_and_a_wrong_pooling_does_not(bert, tmp_path, monkeypatch):
    checkpoint, _ = bert
    compiled(tmp_path / "right", checkpoint, pooling="mean")
    monkeypatch.setattr(pooled_graph.PooledEncoder, "_pooled", lambda _self, vectors, _mask: vectors[:, 0])
    compiled(tmp_path / "wrong", checkpoint, pooling="mean")
    params = ValidateParams(
        task="feature-extraction", precision="fp16", runtime=Runtime(backend="qaic", needs=("onnxruntime",)),
        thresholds=default_bounds("feature-extraction", {}, "fp16", has_labels=False, has_rows=False),
    )  # fmt: skip

    def validated(name):
        inputs = {"model": tmp_path / name, "reference": checkpoint}
        return validate(params, inputs, {"report": tmp_path}, lambda *_: None)

    facts = validated("right")
    assert (facts["passed"], list(facts["outputs"])) == (True, ["forward/mean_pooled"])
    assert facts["metrics"]["cosine_min"] > 0.99999
    with pytest.raises(CheckFailed) as caught:
        validated("wrong")
    assert caught.value.failure.code == "OBE04"


def test_texts_are_padded_to_a_length_of_the_program_batch_by_batch(bert, tmp_path):
    checkpoint, _ = bert
    compiled(tmp_path / "out", checkpoint, pooling="none")
    variant = open_variant(tmp_path / "out", threads=1)
    model = transformers.BertModel.from_pretrained(checkpoint).eval()
    random = np.random.default_rng(6)
    for rows, width in ((5, 12), (3, 9), (1, 33)):
        ids = random.integers(1, 97, (rows, width))
        mask = (np.arange(width) < random.integers(1, width + 1, (rows, 1))).astype(np.int64)
        with torch.inference_mode():
            wanted = model(torch.tensor(ids), attention_mask=torch.tensor(mask)).last_hidden_state.numpy()
        vectors = variant.run("forward", {"input_ids": ids, "attention_mask": mask})["last_hidden_state"]
        assert vectors.shape == (rows, width, 36)
        np.testing.assert_allclose(vectors[mask == 1], wanted[mask == 1], atol=2e-6)
    long = np.ones((1, 34), np.int64)
    with pytest.raises(CheckFailed, match="a text of 34 tokens is longer than the program, which takes 33") as caught:
        variant.run("forward", {"input_ids": long, "attention_mask": long})
    assert caught.value.failure.code == "OBE241"


@pytest.mark.parametrize("producer", ["onnxbuild", "qefficient"])
def test_a_length_beyond_the_positions_is_refused(bert, tmp_path, producer):
    with pytest.raises(CheckFailed, match="`seq_len` has 513 tokens, and that is longer") as caught:
        compiled(tmp_path / "out", bert[0], producer=producer, seq_len=(9, 513))
    assert caught.value.failure.code == "OBE240"
    assert not list((tmp_path / "out").iterdir())


def test_the_graph_for_an_old_sdk_has_its_opset(bert, tmp_path):
    checkpoint, vectors = bert
    compiled(tmp_path / "out", checkpoint, pooling="none", sdk="1.20")
    assert [(one.domain, one.version) for one in onnx.load(tmp_path / "out/model.onnx").opset_import] == [("", 13)]
    feeds = {"input_ids": IDS, "attention_mask": MASK}
    output = open_variant(tmp_path / "out", threads=1).run("forward", feeds)["last_hidden_state"]
    np.testing.assert_allclose(output[MASK == 1], vectors[MASK == 1], atol=2e-6)


def test_a_module_behind_the_pooling_is_refused(bert, tmp_path):
    for path in bert[0].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}, {"path": "2", "type": "x.Dense"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(CheckFailed, match="cannot contain the module `Dense`"):
        export_encoder(tmp_path, tmp_path, pooling="auto", trusts_code=False)


@pytest.mark.parametrize("family", sorted(ENCODERS - {"bert"}))
def test_families(family, tmp_path):
    torch.manual_seed(4)
    heads = {"dim": 36, "n_layers": 2, "n_heads": 3, "hidden_dim": 44} if family == "distilbert" else _HEADS
    config = transformers.AutoConfig.for_model(family, vocab_size=97, pad_token_id=0, **heads)
    model = transformers.AutoModel.from_config(config).eval()
    model.save_pretrained(tmp_path)
    with torch.inference_mode():
        vectors = model(torch.tensor(IDS), attention_mask=torch.tensor(MASK)).last_hidden_state.numpy()
    output, _ = run(tmp_path / "program", tmp_path, "mean")
    np.testing.assert_allclose(output, _mean(vectors), atol=2e-6)
