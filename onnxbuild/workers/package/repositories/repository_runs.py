"""One batch for each graph of a model repository, and what ONNX Runtime computes for it: what a server must return."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from onnxbuild.steps.packaging.package_kind import ClientParams
from onnxbuild.tables.positions import positions_of
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel
from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.inputs.sample_source import open_source
from onnxbuild.workers.inputs.samples import shaped
from onnxbuild.workers.inputs.sentences import SENTENCES
from onnxbuild.workers.inputs.tokenizer import load_light_tokenizer

TEXTS = (*SENTENCES[:4], " ".join(SENTENCES))  # of several lengths; the last one is longer than most models read

_BATCH, _SEQUENCE = 3, 17


class GraphRun(Struct, frozen=True):
    """The inputs of one run, and its outputs by ONNX Runtime."""

    feeds: Mapping[str, np.ndarray]
    expected: Mapping[str, np.ndarray]


def sample_run(version: Path, configs: Path, params: ClientParams) -> GraphRun | None:
    """A run of the graph in a folder; None for a part of a model that reads what another part computes."""
    model = OnnxModel(version, threads=1)
    source = open_source(configs, model, params.task, seed=0, trusts_code=params.trusts_code, light=True)
    sample = shaped(source, _BATCH, min(_SEQUENCE, source.positions - 1))
    takes = model.inputs(model.first)
    if any(name not in sample.feeds and not _is_filled_in(name) for name in takes):
        return None
    feeds = model.complete(model.first, sample.feeds)
    return GraphRun(feeds, model.run(model.first, feeds))


def _is_filled_in(name: str) -> bool:
    return name.startswith("past_key_values") or name == "use_cache_branch"


def text_run(version: Path, configs: Path, *, trusts_code: bool) -> GraphRun:
    """A run on `TEXTS`, read by the model's own tokenizer as onnxbuild reads text elsewhere."""
    model = OnnxModel(version, threads=1)
    tokenizer = load_light_tokenizer(configs, trusts_code=trusts_code)
    spec = model.inputs(model.first)
    width = spec["input_ids"].shape[1]
    rows = _rows(tokenizer, configs, width if isinstance(width, int) else None)
    longest = width if isinstance(width, int) else max(map(len, rows))
    left = _json(configs / "tokenizer_config.json").get("padding_side") == "left"
    pad = tokenizer.pad_token_id or 0
    values = {
        "input_ids": _padded(rows, longest, pad, left=left),
        "attention_mask": _padded([[1] * len(row) for row in rows], longest, 0, left=left),
        "token_type_ids": np.zeros((len(rows), longest), np.int64),
    }
    feeds = model.complete(model.first, {name: value for name, value in values.items() if name in spec})
    return GraphRun(feeds, model.run(model.first, feeds))


def _rows(tokenizer: Any, configs: Path, width: int | None) -> list[list[int]]:
    sentence = _json(configs / "sentence_bert_config.json")
    named = (positions_of(read_config(configs)), tokenizer.model_max_length, sentence.get("max_seq_length"), width)
    limit = min(int(one) for one in named if one)
    texts = [text.lower() if sentence.get("do_lower_case") else text for text in TEXTS]
    return [tokenizer(text, truncation=True, max_length=limit)["input_ids"] for text in texts]


def _padded(rows: Sequence[Sequence[int]], width: int, fill: int, *, left: bool) -> np.ndarray:
    padding = [[fill] * (width - len(row)) for row in rows]
    both = zip(rows, padding, strict=True)
    result: np.ndarray = np.array([[*more, *row] if left else [*row, *more] for row, more in both], dtype=np.int64)
    return result


def _json(path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found if isinstance(found, dict) else {}
