"""A small model of token ids with a tokenizer: embeddings, and two products with a Tanh between them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

WORDS, WIDTH, OUT = 37, 48, 24
KNOWN = ("the", "a", "of", "in", "to", "and", "is")


def token_model(folder: Path, *, masked: bool = False) -> Path:
    """Write `model.onnx`, which returns [batch, tokens, OUT], and the files beside it; return the folder.

    `masked`: it takes the mask too, and returns zeros where it is 0.
    """
    folder.mkdir(exist_ok=True, parents=True)
    random = np.random.default_rng(7)
    weights = {"table": (WORDS, WIDTH), "up": (WIDTH, 2 * WIDTH), "down": (2 * WIDTH, OUT)}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("MatMul", ["rows", "up"], ["wide"]),
        helper.make_node("Tanh", ["wide"], ["bent"]),
        helper.make_node("MatMul", ["bent", "down"], ["all" if masked else "last_hidden_state"]),
    ]
    names = ["input_ids", *(["attention_mask"] if masked else [])]
    axes = ["batch_size", "sequence_length"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in names]
    out = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch_size", "sequence_length", OUT])
    held = [
        numpy_helper.from_array((random.standard_normal(shape) / 5).astype(np.float32), name)
        for name, shape in weights.items()
    ]
    if masked:
        held.append(numpy_helper.from_array(np.array([2]), "last"))
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
            helper.make_node("Mul", ["all", "column"], ["last_hidden_state"]),
        ]
    graph = helper.make_model(
        helper.make_graph(nodes, "g", inputs, [out], held),
        opset_imports=[helper.make_opsetid("", 17)], ir_version=8,
    )  # fmt: skip
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    (folder / "config.json").write_text(json.dumps({"vocab_size": WORDS, "max_position_embeddings": 64}))
    vocabulary = {"[UNK]": 0, "[PAD]": 1, **{word: number for number, word in enumerate(KNOWN, 2)}}
    (folder / "tokenizer.json").write_text(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }))  # fmt: skip
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64, "pad_token": "[PAD]"})
    )
    return folder
