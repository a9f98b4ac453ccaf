"""What sentence-transformers saves besides an embedder of today: cross-encoders, and embedders in the old layout.

Both are compared with the library itself.
"""

from __future__ import annotations

import json
import shutil
from functools import cache

import numpy as np
import onnxruntime
import pytest
from families import run_step, scratch

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.export import ExportParams
from onnxbuild.steps.prepare import PrepareParams
from onnxbuild.steps.validate import ValidateParams
from onnxbuild.workers.export.worker import run as export
from onnxbuild.workers.prepare.worker import run as prepare
from onnxbuild.workers.validate.worker import run as validate

pytestmark = pytest.mark.heavy

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "dog", "cat", "runs", "sleeps", "fast", "slow",
         "house", "tree", "red", "blue"]  # fmt: skip
SIZES = {"vocab_size": len(WORDS), "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3,
         "intermediate_size": 50, "max_position_embeddings": 64}  # fmt: skip
PAIRS = [("the dog runs", "a fast dog"), ("the cat sleeps in the red house", "slow"), ("tree", "a blue tree sleeps")]


def saved(model, folder):
    from transformers import BertTokenizerFast

    model.save_pretrained(folder)
    (folder / "words.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(folder / "words.txt")).save_pretrained(folder)
    (folder / "words.txt").unlink()
    return folder


@cache
def cross_encoder():
    """A cross-encoder as sentence-transformers itself saves it."""
    import torch
    from sentence_transformers import CrossEncoder
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(3)
    model = BertForSequenceClassification(BertConfig(**SIZES, num_labels=1, initializer_range=0.3))
    folder = scratch() / "cross"
    CrossEncoder(str(saved(model, scratch())), device="cpu").save_pretrained(str(folder))
    return folder


@cache
def embedder():
    """An embedder as version 1 saved it: the model in a folder of its own."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(4)
    folder = scratch() / "old"
    shutil.copytree(saved(BertModel(BertConfig(**SIZES)), scratch()), folder / "0_Transformer")
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 36, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    kinds = {"0_Transformer": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [{"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
               for n, (path, kind) in enumerate(kinds.items())]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "0_Transformer" / "sentence_bert_config.json").write_text(
        '{"max_seq_length": 32, "do_lower_case": false}'
    )
    return folder


def answers(folder, output, *texts):
    """An output of the graph for texts, as its delivered tokenizer cuts them."""
    from transformers import AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)(*texts, padding=True, return_tensors="np")
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    return session.run([output], {one.name: tokens[one.name].astype(np.int64) for one in session.get_inputs()})[0]


def exported(folder, task):
    _, output = run_step(export, ExportParams(task=task), model=folder)
    facts, _ = run_step(
        validate, ValidateParams(task=task, shapes=((1, 5), (2, 17))), ports="report", model=output, reference=folder
    )
    assert facts["passed"], facts
    return output


def test_a_cross_encoder_scores_pairs_as_its_library_does():
    import torch
    from sentence_transformers import CrossEncoder

    assert (cross_encoder() / "modules.json").is_file()
    output = exported(cross_encoder(), "text-classification")
    library = CrossEncoder(str(cross_encoder()), device="cpu")
    expected = library.predict(PAIRS, activation_fn=torch.nn.Identity())
    found = answers(output, "logits", *map(list, zip(*PAIRS, strict=True)))[:, 0]
    assert np.abs(found - expected).max() < 1e-5
    assert np.ptp(expected) > 0.01
    loaded = CrossEncoder(str(output), device="cpu", backend="onnx")
    assert np.abs(loaded.predict(PAIRS) - library.predict(PAIRS)).max() < 1e-5


def test_an_embedder_in_the_old_layout_gives_the_vectors_of_its_library():
    from sentence_transformers import SentenceTransformer

    facts, flat = run_step(prepare, PrepareParams(flatten=True), model=embedder())
    assert facts["flattened"] == "0_Transformer"
    assert not (flat / "0_Transformer").exists()
    output = exported(flat, "sentence-similarity")
    texts = [one for pair in PAIRS for one in pair]
    expected = SentenceTransformer(str(embedder()), device="cpu").encode(texts)
    assert np.abs(answers(output, "sentence_embedding", texts) - expected).max() < 1e-5


def test_modules_that_name_no_folder():
    folder = scratch() / "broken"
    shutil.copytree(embedder(), folder)
    (folder / "modules.json").write_text("[]")
    with pytest.raises(CheckFailed, match=r"OBE16 modules\.json does not name the folder `0_Transformer`"):
        run_step(prepare, PrepareParams(flatten=True), model=folder)
