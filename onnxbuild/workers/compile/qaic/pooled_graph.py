"""An encoder as the card runs it: `input_ids` and `attention_mask` go in, the pooled vectors come out as `output`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.compiling.cloud_ai_families import ENCODERS
from onnxbuild.tables.compiling.pooled_outputs import Pooled
from onnxbuild.workers.compile.qaic.retained_graph import OPSET, write_graph

_SMALLEST = 1e-9  # the length of a text without tokens, as sentence-transformers has it
_FLAGS = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_max_tokens": "max"}


class PooledEncoder(nn.Module):  # type: ignore[misc]
    """An encoder and its pooling: `mean`, `cls`, `max`, or `none` for the vectors of all tokens."""

    def __init__(self, model: Any, pooling: str, *, normalized: bool) -> None:
        """Wrap a model of transformers that has eager attention."""
        super().__init__()
        self.model, self._pooling, self._normalized = model, pooling, normalized

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The vectors of the texts."""
        vectors = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        pooled = self._pooled(vectors, attention_mask[:, :, None].to(vectors.dtype))
        return nn.functional.normalize(pooled, dim=-1) if self._normalized else pooled

    def _pooled(self, vectors: Tensor, mask: Tensor) -> Tensor:
        if self._pooling == "mean":
            return (vectors * mask).sum(1) / mask.sum(1).clamp(min=_SMALLEST)
        if self._pooling == "max":
            # fp16 holds the value, and no token is below it.
            return torch.where(mask > 0, vectors, -65504.0).max(1).values
        return vectors[:, 0] if self._pooling == "cls" else vectors


def export_encoder(
    checkpoint: Path, folder: Path, *, pooling: str, trusts_code: bool, opset: int = OPSET
) -> tuple[Any, Pooled]:
    """Write the graph of a checkpoint to `folder`; return its config and how it pools.

    Errors: CheckFailed OBE240 for a family or a pooling that this producer cannot write.
    """
    from transformers import AutoConfig, AutoModel

    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trusts_code}
    config = AutoConfig.from_pretrained(checkpoint, **options)
    if config.model_type not in ENCODERS:
        message = f"onnxbuild cannot write an encoder of `{config.model_type}` for Cloud AI 100"
        hint = f"it can for {', '.join(sorted(ENCODERS))}; or write `producer: qefficient`"
        raise CheckFailed("OBE240", message, notes=[("hint", hint)])
    model = AutoModel.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager", **options)
    pooled = pooled_as(checkpoint, pooling)
    feeds = torch.ones(2, 5, dtype=torch.int64), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    names = ["input_ids", "attention_mask"]
    axes = {name: {0: "batch_size", 1: "seq_len"} for name in names} | {"output": {0: "batch_size"}}
    if pooled.pooling == "none":
        axes["output"] = {0: "batch_size", 1: "seq_len"}
    encoder = PooledEncoder(model, pooled.pooling, normalized=pooled.normalized)
    write_graph(encoder, feeds, folder, names, ["output"], axes, opset=opset)
    return model.config, pooled


def pooled_as(checkpoint: Path, pooling: str) -> Pooled:
    """How the vectors of a checkpoint are pooled, and whether its `modules.json` normalizes them.

    `pooling` is the param: `auto` takes what `modules.json` says. Errors: CheckFailed OBE240 for another module there.
    """
    own, normalized = _of_sentence_transformers(checkpoint)
    mode = own if pooling == "auto" else pooling
    return Pooled(mode, normalized and mode != "none")  # the length is that of a text's vector, not of a token's


def _of_sentence_transformers(folder: Path) -> tuple[str, bool]:
    """The pooling that `modules.json` names, and whether vectors are normalized; no pooling without the file."""
    path = folder / "modules.json"
    if not path.is_file():
        return "none", False
    modules = json.loads(path.read_text(encoding="utf-8"))
    kinds = {str(one["type"]).rpartition(".")[2]: str(one.get("path", "")) for one in modules}
    others = sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"})
    if others:
        raise CheckFailed("OBE240", f"the graph for Cloud AI 100 cannot contain the module `{others[0]}`")
    return (_mode(folder / kinds["Pooling"]) if "Pooling" in kinds else "none"), "Normalize" in kinds


def _mode(folder: Path) -> str:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    written = config.get("pooling_mode")
    modes = [flag for flag, on in config.items() if flag.startswith("pooling_mode_") and on is True]
    mode = written if isinstance(written, str) else _FLAGS.get(modes[0]) if len(modes) == 1 else None
    if mode is None or mode not in _FLAGS.values():
        raise CheckFailed("OBE240", f"the graph for Cloud AI 100 has no pooling `{written or ' + '.join(modes)}`")
    return mode
