"""Text that an engine writes greedily: at each step the most likely token.

Each step reads all tokens so far. That the cache gives the same is compared elsewhere, step by step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxbuild.workers.engines.engine import Engine
from onnxbuild.workers.inputs.sample_source import Source
from onnxbuild.workers.inputs.samples import Sample, of_ids
from onnxbuild.workers.inputs.stages import encoder_feeds, seen_so_far

NEW_TOKENS = 12


def continued(engine: Engine, source: Source, prompts: Sequence[Sequence[int]], stage: str) -> list[list[int]]:
    """The tokens that a decoder writes after each prompt."""
    rows = [list(prompt) for prompt in prompts]
    for step in range(NEW_TOKENS):
        sample = of_ids(source, rows, label="prompts", number=step)
        logits = engine.run(stage, sample.feeds)["logits"]
        for row, number in zip(rows, _last(logits, sample), strict=True):
            row.append(number)
    return [row[len(prompt) :] for row, prompt in zip(rows, prompts, strict=True)]


def rewritten(engine: Engine, source: Source, rows: Sequence[Sequence[int]], stage: str) -> list[list[int]]:
    """The tokens that an encoder-decoder writes for each row, up to its end token."""
    sample = of_ids(source, rows, label="rows", number=0)
    common = encoder_feeds(engine, sample)
    written = sample.decoder_ids[:, :1]
    for _ in range(NEW_TOKENS):
        feeds = common | {"input_ids": written, **seen_so_far(written)}
        logits = engine.run(stage, feeds)["logits"]
        written = np.concatenate([written, logits[:, -1].argmax(axis=-1)[:, None].astype(np.int64)], axis=1)
    end = source.config.get("eos_token_id")
    return [_until(row[1:].tolist(), end) for row in written]


def _last(logits: np.ndarray, sample: Sample) -> list[int]:
    """The most likely token after each row's last real one, which padding may follow."""
    mask = np.ones(logits.shape[:2], np.int64) if sample.mask is None else sample.mask
    places = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    return logits[np.arange(len(logits)), places].argmax(axis=-1).tolist()  # type: ignore[no-any-return]


def _until(ids: list[int], end: object) -> list[int]:
    ends = set(end) if isinstance(end, list) else {end}
    return next((ids[:place] for place, number in enumerate(ids) if number in ends), ids)
