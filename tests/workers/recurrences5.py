"""Run by the toolchain of transformers 5: how far each loop for a graph is from the function that it stands for.

Prints one JSON object: the largest difference of each, over texts of one token, of some, and of more than a chunk.
"""

import json
import sys

import torch
from transformers.models.jamba import modeling_jamba
from transformers.models.kimi_linear import modeling_kimi_linear
from transformers.models.mamba2 import modeling_mamba2
from transformers.models.qwen3_next import modeling_qwen3_next

from onnxbuild.workers.export.tracing import recurrences as ours

ROWS, HEADS, WIDTH, STATE, GROUPS = 2, 4, 6, 5, 2


def drawn(*shape):
    return torch.rand(*shape)


def delta(length, *, per_channel):
    heads = HEADS if per_channel else GROUPS  # grouped queries and keys, where the function knows them
    decay = (ROWS, length, HEADS, WIDTH) if per_channel else (ROWS, length, HEADS)
    query, key = drawn(ROWS, length, heads, WIDTH), drawn(ROWS, length, heads, WIDTH)
    arguments = (query, key, drawn(ROWS, length, HEADS, STATE))
    return arguments, {
        "g": -drawn(*decay), "beta": drawn(ROWS, length, HEADS), "initial_state": drawn(ROWS, HEADS, WIDTH, STATE),
        "output_final_state": True, "use_qk_l2norm_in_kernel": True,
    }  # fmt: skip


def chunks(length):
    arguments = (drawn(ROWS, length, HEADS, WIDTH), drawn(ROWS, length, HEADS), -drawn(HEADS),
                 drawn(ROWS, length, GROUPS, STATE), drawn(ROWS, length, GROUPS, STATE))  # fmt: skip
    return arguments, {
        "chunk_size": 16, "D": drawn(HEADS), "dt_bias": drawn(HEADS), "dt_softplus": True, "dt_limit": (0.5, 1.5),
        "initial_states": drawn(ROWS, HEADS, WIDTH, STATE), "return_final_states": True,
    }  # fmt: skip


def channels(length):
    arguments = (drawn(ROWS, WIDTH, length), drawn(ROWS, WIDTH, length), -drawn(WIDTH, STATE),
                 drawn(ROWS, STATE, length), drawn(ROWS, STATE, length))  # fmt: skip
    return arguments, {
        "D": drawn(WIDTH), "z": drawn(ROWS, WIDTH, length), "delta_bias": drawn(WIDTH), "delta_softplus": True,
        "return_last_state": True,
    }  # fmt: skip


PAIRS = {
    "gated delta rule": (modeling_qwen3_next.torch_chunk_gated_delta_rule, ours.gated_delta_rule,
                         lambda length: delta(length, per_channel=False)),
    "delta rule of Kimi": (modeling_kimi_linear.chunk_kimi_delta_attention, ours.gated_delta_rule,
                           lambda length: delta(length, per_channel=True)),
    "mamba 2": (modeling_mamba2.mamba2_chunk_scan, ours.mamba2_chunk_scan, chunks),
    "mamba": (modeling_jamba.mamba_selective_scan, ours.mamba_selective_scan, channels),
}  # fmt: skip


def difference(theirs, mine, make):
    worst = 0.0
    for length in (1, 5, 150):
        arguments, fields = make(length)
        pairs = zip(theirs(*arguments, **fields), mine(*arguments, **fields), strict=True)
        worst = max(worst, *(float((one - other).abs().max() / one.abs().max()) for one, other in pairs))
    return worst


if __name__ == "__main__":
    torch.manual_seed(5)
    json.dump({name: difference(*pair) for name, pair in PAIRS.items()}, sys.stdout)
