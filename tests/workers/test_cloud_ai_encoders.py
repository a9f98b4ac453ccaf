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
from onnxbuild.tables.compiling.cloud_ai_families import ENCODERS
from onnxbuild.workers.compile.qaic.card_files import encoder_symbols, files_of
from onnxbuild.workers.compile.qaic.host_double import HostDouble
from onnxbuild.workers.compile.qaic.pooled_graph import export_encoder
from onnxbuild.workers.compile.qaic.qaic_worker import Produced, _stage

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
    _, mode = export_encoder(checkpoint, folder, pooling=pooling, trusts_code=False)
    for name, text in files_of(params, {}, encoder_symbols(params), ()).items():
        (folder / name).write_text(text)
    session = HostDouble(folder / "model.onnx", folder)
    return session.run({"input_ids": IDS, "attention_mask": MASK})["output"], mode


@pytest.mark.parametrize("pooling", list(POOLS))
def test_pooling(bert, tmp_path, pooling):
    checkpoint, vectors = bert
    output, mode = run(tmp_path, checkpoint, pooling)
    seen = MASK[:, :, None] if pooling == "none" else 1
    np.testing.assert_allclose(output * seen, POOLS[pooling](vectors) * seen, atol=2e-6)
    assert mode == pooling
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert [one.name for one in graph.input] == ["input_ids", "attention_mask"]
    assert [one.name for one in graph.output] == ["output"]


@pytest.mark.parametrize(
    ("config", "pooling"),
    [({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"), ({"pooling_mode": "mean"}, "mean")],
)
def test_the_pooling_of_sentence_transformers(bert, tmp_path, config, pooling):
    checkpoint, vectors = bert
    modules = [
        {"path": path, "type": f"sentence_transformers.models.{kind}"}
        for path, kind in (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    ]
    folder = tmp_path / "embedder"
    folder.mkdir()
    for path in checkpoint.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(config))
    (folder / "modules.json").write_text(json.dumps(modules))
    output, mode = run(tmp_path / "program", folder, "auto")
    pooled = POOLS[pooling](vectors)
    np.testing.assert_allclose(output, pooled / np.linalg.norm(pooled, axis=1, keepdims=True), atol=2e-6)
    assert mode == pooling


def test_vectors_of_tokens_have_the_name_that_the_reference_gives_them():
    outputs = {mode: list(_stage(decodes=False, normal=Produced({}, (), {"pooling": mode})).outputs) for mode in POOLS}
    assert outputs == {"none": ["last_hidden_state"], "cls": ["output"], "mean": ["output"], "max": ["output"]}


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
