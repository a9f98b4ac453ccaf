"""Checkpoints as AutoGPTQ and AutoAWQ write them: random codes, packed by loops that follow their sources."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from families import scratch

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]
# Unequal sizes: three and five groups of 32 inputs, and outputs of 96, 32 and 160.
SIZES = {"vocab_size": 211, "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 2,
         "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 96,
         "tie_word_embeddings": False, "pad_token_id": 0}  # fmt: skip


def plain() -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(11)
    folder = scratch() / "plain"
    LlamaForCausalLM(LlamaConfig(**SIZES)).save_pretrained(folder)
    return folder


def pack_rows(codes):
    """AutoGPTQ's `pack`: eight rows into one, the first into the lowest bits."""
    packed = np.zeros((codes.shape[0] // 8, codes.shape[1]), np.uint32)
    for row in range(packed.shape[0]):
        for j in range(8):
            packed[row] |= codes[8 * row + j].astype(np.uint32) << np.uint32(4 * j)
    return packed.astype(np.int32)


def pack_columns(codes, order=range(8)):
    """AutoGPTQ's zero points, and with its order AutoAWQ's `from_linear`: eight columns into one."""
    packed = np.zeros((codes.shape[0], codes.shape[1] // 8), np.uint32)
    for col in range(packed.shape[1]):
        for i, place in enumerate(order):
            packed[:, col] |= codes[:, 8 * col + place].astype(np.uint32) << np.uint32(4 * i)
    return packed.astype(np.int32)


class Layer:
    """The codes of one layer, and the values that they stand for, computed one by one."""

    def __init__(self, draw, inputs, outputs, group, shuffled):
        size = inputs if group == -1 else group
        self.codes = draw.integers(0, 16, (inputs, outputs))
        self.zeros = draw.integers(1, 16, (inputs // size, outputs))
        self.scales = draw.uniform(0.001, 0.02, self.zeros.shape).astype(np.float16)
        self.groups = np.arange(inputs) // size
        if shuffled:
            self.groups = draw.permutation(self.groups)
        self.values = np.empty((outputs, inputs), np.float32)
        for k in range(inputs):
            g = self.groups[k]
            self.values[:, k] = (self.codes[k] - self.zeros[g]) * self.scales[g].astype(np.float32)

    def gptq(self, name, *, second):
        return {
            f"{name}.qweight": pack_rows(self.codes),
            f"{name}.qzeros": pack_columns(self.zeros - (0 if second else 1)),
            f"{name}.scales": self.scales,
            f"{name}.g_idx": self.groups.astype(np.int32),
        }

    def awq(self, name):
        return {
            f"{name}.qweight": pack_columns(self.codes, AWQ_ORDER),
            f"{name}.qzeros": pack_columns(self.zeros, AWQ_ORDER),
            f"{name}.scales": self.scales,
        }


def packed(method, *, group=32, shuffled=False, shards=1, **more):
    """A packed checkpoint; the same with the values that it stands for; and its layers by name."""
    from safetensors.numpy import load_file, save_file

    folder, unpacked = scratch() / "packed", plain()
    folder.mkdir()
    weights = load_file(unpacked / "model.safetensors")
    draw = np.random.default_rng(17)
    layers, stored, values = {}, {}, {}
    for name, weight in sorted(weights.items()):
        if "_proj" not in name:
            stored[name] = values[name] = weight
            continue
        layer = name.removesuffix(".weight")
        layers[layer] = one = Layer(draw, weight.shape[1], weight.shape[0], group, shuffled)
        second = more.get("checkpoint_format") == "gptq_v2"
        stored |= one.gptq(layer, second=second) if method == "gptq" else one.awq(layer)
        values[name] = one.values
    save_file(values, unpacked / "model.safetensors", {"format": "pt"})
    save_in(folder, stored, shards)
    config = json.loads((unpacked / "config.json").read_text())
    block = {"quant_method": method, "bits": 4, "group_size": group, **more}
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float16", "quantization_config": block}))
    return folder, unpacked, layers


def save_in(folder, stored, shards):
    """One file, or several in which the parts of a layer are apart."""
    from safetensors.numpy import save_file

    if shards == 1:
        save_file(stored, folder / "model.safetensors", {"format": "pt"})
        return
    places = {}
    for number in range(shards):
        name = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        part = dict(list(stored.items())[number::shards])
        save_file(part, folder / name, {"format": "pt"})
        places |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
