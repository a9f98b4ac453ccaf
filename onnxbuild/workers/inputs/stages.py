"""Runs the stages of a model in order: each is fed from the sample and the stages before it.

A stage with a past may run for several steps, so that its past grows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from onnxbuild.workers.engines.engine import PAST_IDS, Arrays, Engine
from onnxbuild.workers.inputs.samples import Sample

Pass = tuple[str, Arrays, dict[str, np.ndarray]]  # stage, its feeds, its outputs


def run_stages(engine: Engine, sample: Sample, stages: tuple[str, ...], *, steps: int = 1) -> Iterator[Pass]:
    """Run each of `stages` on one sample, in order; an engine's later stages read its own earlier outputs.

    A stage with a past runs `steps` times, at most as often as the sample has tokens for it.
    """
    if "forward" in stages:
        yield "forward", sample.feeds, engine.run("forward", sample.feeds)
    if "prefill" in stages:
        outputs = engine.run("prefill", sample.feeds)
        yield "prefill", sample.feeds, outputs
        mask, read = sample.feeds["attention_mask"], sample.feeds["input_ids"]
        for ids in _step_ids(sample, steps):
            mask = np.concatenate([mask, np.ones((len(mask), 1), mask.dtype)], axis=1)
            feeds = _next_token(sample, outputs, ids, mask) | {PAST_IDS: read}
            outputs = engine.run("decode", feeds)
            yield "decode", feeds, outputs
            read = np.concatenate([read, ids], axis=1)
    if "vision_encoder" in stages:
        seen = engine.run("vision_encoder", sample.feeds)
        yield "vision_encoder", sample.feeds, seen
        if "mask_decoder" in stages:
            feeds = {**sample.feeds, **seen}
            yield "mask_decoder", feeds, engine.run("mask_decoder", feeds)
    if "encoder" in stages:
        yield from _encoder_decoder(engine, sample, stages, steps)


def _step_ids(sample: Sample, steps: int) -> list[np.ndarray]:
    """The tokens of each step, [batch, 1]."""
    return [sample.step_ids[:, number : number + 1] for number in range(min(steps, sample.step_ids.shape[1]))]


def encoder_feeds(engine: Engine, sample: Sample) -> dict[str, np.ndarray]:
    """What a decoder reads of the encoder, which runs for it."""
    return _of_encoder(sample, engine.run("encoder", sample.feeds))


def _of_encoder(sample: Sample, encoded: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    common = {"encoder_hidden_states": encoded["last_hidden_state"]}
    if "attention_mask" in sample.feeds:
        common["encoder_attention_mask"] = sample.feeds["attention_mask"]
    return common


def _encoder_decoder(engine: Engine, sample: Sample, stages: tuple[str, ...], steps: int) -> Iterator[Pass]:
    encoded = engine.run("encoder", sample.feeds)
    yield "encoder", sample.feeds, encoded
    common = _of_encoder(sample, encoded)
    for first, step in (("decoder", "decoder_step"), ("merged", "merged_step")):
        if first in stages:
            feeds = common | {"input_ids": sample.decoder_ids, **seen_so_far(sample.decoder_ids)}
            outputs = engine.run(first, feeds)
            yield first, feeds, outputs
            if step in stages:
                past = past_feeds(outputs)
                for number, ids in enumerate(_step_ids(sample, steps)):
                    seen = seen_so_far(sample.decoder_ids, number + 1)
                    feeds = common | past | {"input_ids": ids, **seen}
                    outputs = engine.run(step, feeds)
                    yield step, feeds, outputs
                    past |= past_feeds(outputs)  # the encoder's side stays that of the first pass


def seen_so_far(ids: np.ndarray, more: int = 0) -> dict[str, np.ndarray]:
    """The mask that some decoders take of the tokens so far, of which none is padding."""
    mask = np.ones((len(ids), ids.shape[1] + more), np.int64)
    return {"decoder_attention_mask": mask, "attention_mask": mask}  # exporters drop the prefix in a decoder's graph


def past_feeds(outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The cache that a pass returned, as inputs of the next one."""
    return {
        name.replace("present.", "past_key_values."): value
        for name, value in outputs.items()
        if name.startswith("present.")
    }


def greedy_passes(engine: Engine, ids: np.ndarray, made: Sequence[int]) -> Iterator[np.ndarray]:
    """The logits of each pass of a decoder with a past, for a prompt of ids [1, length] without padding.

    The caller appends the chosen token to `made` between two passes.
    """
    count = ids.shape[1]
    feeds = {"input_ids": ids, "attention_mask": np.ones((1, count), np.int64), "position_ids": np.arange(count)[None]}
    outputs = engine.run("prefill", feeds)
    while True:
        yield outputs["logits"]
        length = count + len(made)
        feeds = {
            "input_ids": np.array([[made[-1]]]),
            "attention_mask": np.ones((1, length), np.int64),
            "position_ids": np.array([[length - 1]]),
        }
        outputs = engine.run("decode", feeds | past_feeds(outputs))


def _next_token(
    sample: Sample, outputs: Mapping[str, np.ndarray], ids: np.ndarray, mask: np.ndarray
) -> dict[str, np.ndarray]:
    """Feeds of one step: its tokens, [batch, 1], and the mask of all tokens up to and with them."""
    feeds = past_feeds(outputs) | {"input_ids": ids, "attention_mask": mask}
    # A graph without positions (Gemma 3) counts the padding too; PyTorch must then do the same in all passes.
    return feeds | {"position_ids": mask.sum(axis=1, keepdims=True) - 1} if "position_ids" in sample.feeds else feeds
