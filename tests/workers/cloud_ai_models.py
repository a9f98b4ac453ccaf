"""Small random models of each family that Cloud AI 100 is given, and what PyTorch continues with them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from onnxbuild.steps.compiling.qaic_backend import QaicParams
from onnxbuild.tables.compiling.cloud_ai_sdks import SDKS
from onnxbuild.workers.compile.qaic.card_files import decoder_symbols, files_of
from onnxbuild.workers.compile.qaic.retained_graph import export_decoder, state_names

VOCABULARY, CONTEXT, NEW = 97, 41, 15

_SIZES = {"vocab_size": VOCABULARY, "max_position_embeddings": 64, "hidden_size": 40, "intermediate_size": 52}
_SLIDING = ("sliding_attention", "sliding_attention", "full_attention")
# Heads whose size is not the hidden size by their number, and windows that the texts exceed.
CONFIGS = {
    "gpt2": {"vocab_size": VOCABULARY, "n_positions": 64, "n_embd": 36, "n_layer": 2, "n_head": 3},
    "llama": {**_SIZES, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 12},
    "mistral": {
        **_SIZES, "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 10,
        "sliding_window": 11,
    },
    "qwen3": {**_SIZES, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 14},
    "gemma3_text": {
        **_SIZES, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 18,
        "sliding_window": 9, "layer_types": list(_SLIDING), "query_pre_attn_scalar": 18,
    },
}  # fmt: skip


def random_decoder(family: str, **config_of: Any) -> Any:
    """A decoder whose weights are far enough apart that its answers are not one token again and again."""
    config = transformers.AutoConfig.for_model(family, **{**CONFIGS[family], **config_of})
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, 0, 0.25)
    return model


def prompts() -> list[list[int]]:
    """Prompts of different lengths: more than the rows of a program, and longer than a chunk and a window."""
    random = np.random.default_rng(5)
    return [random.integers(1, VOCABULARY, length).tolist() for length in (19, 3, 24, 11)]


def greedy(model: Any, prompt: Sequence[int], new_tokens: int = NEW) -> tuple[int, ...]:
    """What PyTorch continues a prompt with."""
    with torch.inference_mode():
        ids = model.generate(
            torch.tensor([prompt]), max_new_tokens=new_tokens, do_sample=False, eos_token_id=None, pad_token_id=0
        )
    return tuple(ids[0, len(prompt) :].tolist())


def write_program(checkpoint: Path, folder: Path, params: QaicParams) -> Path:
    """The graph of a checkpoint with the files of its compiler."""
    folder.mkdir(exist_ok=True)
    batched = isinstance(params.full_batch_size, int)
    config = export_decoder(
        checkpoint, folder, batched=batched, context=params.ctx_len, trusts_code=False, opset=SDKS[params.sdk].opset
    )
    write_settings(folder, params, config.num_hidden_layers)
    return folder


def write_settings(folder: Path, params: QaicParams, layers: int) -> None:
    """The files beside the graph."""
    for name, text in files_of(params, {}, decoder_symbols(params), state_names(layers)).items():
        (folder / name).write_text(text, encoding="utf-8")


def write_compiler(folder: Path) -> None:
    """The stand-in for the compiler, under both of its names."""
    folder.mkdir()
    text = (Path(__file__).parent / "stand_in_qaic.py").read_text()
    for name in ("qaic-compile", "qaic-exec"):
        (folder / name).write_text(f"#!{sys.executable}\n{text}")
        (folder / name).chmod(0o755)
