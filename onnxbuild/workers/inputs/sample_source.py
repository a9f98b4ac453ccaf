"""What samples are made from: a model folder, its config and tokenizer, and the inputs of its first graph."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from onnxbuild.tables.positions import positions_of, text_part
from onnxbuild.tables.tasks import family_of, reads_pairs
from onnxbuild.workers.engines.engine import Graphs, InputSpec
from onnxbuild.workers.inputs.tokenizer import load_light_tokenizer, load_tokenizer

# Model types that take no mask, because they were trained on padding; their tokenizers give none either.
_UNMASKED = frozenset({"siglip"})


NO_LIMIT = 1 << 20  # tokens, for a model whose config names no positions


class Source(Struct, frozen=True, kw_only=True):
    """What samples are made from: the model's config, its tokenizer or None, and what its first graph takes."""

    folder: Path
    config: Mapping[str, Any]
    tokenizer: Any
    inputs: Mapping[str, InputSpec]
    causal: bool  # a decoder: padded on the left, with position ids
    seed: int
    paired: bool = False  # two texts per row
    picture_size: tuple[int, int] | None = None  # height and width where they are not the configs'
    even: bool = False  # rows of one length: genai's attention counts the tokens of a row from its start
    longest: int | None = None  # tokens of a row that a program of one shape takes

    @property
    def masks_text(self) -> bool:
        """Whether PyTorch gets a mask of the padding."""
        return self.config.get("model_type") not in _UNMASKED

    @property
    def reads_text(self) -> bool:
        """Whether its samples are real sentences."""
        return self.tokenizer is not None and "input_ids" in self.inputs

    @property
    def text(self) -> Mapping[str, Any]:
        """The part of the config that describes text."""
        return text_part(self.config)

    @property
    def positions(self) -> int:
        """The maximum number of tokens that the model accepts."""
        return min(positions_of(self.config) or NO_LIMIT, self.longest or NO_LIMIT)

    @property
    def pad_id(self) -> int:
        """The token id of padding; it is masked, so any id serves that the model's table has."""
        candidates = (getattr(self.tokenizer, "pad_token_id", None), self.text.get("pad_token_id"))
        end = self.text.get("vocab_size") or sys.maxsize
        return int(next((i for i in candidates if i is not None and 0 <= i < end), 0))


def open_source(
    folder: Path, model: Graphs, task: str, *, seed: int, trusts_code: bool = False, light: bool = False
) -> Source:
    """The source of samples for a model folder with config.json and, mostly, a tokenizer.

    `light` avoids transformers where the tokenizer gives the same ids without it.
    """
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    load = load_light_tokenizer if light else load_tokenizer
    return Source(
        folder=folder,
        config=config,
        tokenizer=load(folder, trusts_code=trusts_code),
        inputs=_inputs(model),
        causal="prefill" in model.stages or family_of(task) == "decoder",
        seed=seed,
        even=(folder / "genai_config.json").is_file(),
        paired=reads_pairs(task, config),
        longest=getattr(model, "longest", None),
    )


def _inputs(model: Graphs) -> Mapping[str, InputSpec]:
    """What the first stage takes, and what a decoder of masks takes besides what that stage computes."""
    first = model.inputs(model.first)
    if "mask_decoder" not in model.stages:
        return first
    seen = model.outputs("vision_encoder")
    return {**first, **{name: spec for name, spec in model.inputs("mask_decoder").items() if name not in seen}}
