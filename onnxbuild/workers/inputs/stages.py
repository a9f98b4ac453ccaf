"""Runs the stages of a model in order: each is fed from the sample and the stages before it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from onnxbuild.workers.engines.engine import Arrays, Engine
from onnxbuild.workers.inputs.samples import Sample

Pass = tuple[str, Arrays, dict[str, np.ndarray]]  # stage, its feeds, its outputs


def run_stages(engine: Engine, sample: Sample, stages: tuple[str, ...]) -> Iterator[Pass]:
    """Run each of `stages` on one sample, in order; an engine's later stages read its own earlier outputs."""
    if "forward" in stages:
        yield "forward", sample.feeds, engine.run("forward", sample.feeds)
    if "prefill" in stages:
        outputs = engine.run("prefill", sample.feeds)
        yield "prefill", sample.feeds, outputs
        feeds = _next_token(sample, outputs)
        yield "decode", feeds, engine.run("decode", feeds)
    if "encoder" in stages:
        yield from _encoder_decoder(engine, sample, stages)


def _encoder_decoder(engine: Engine, sample: Sample, stages: tuple[str, ...]) -> Iterator[Pass]:
    encoded = engine.run("encoder", sample.feeds)
    yield "encoder", sample.feeds, encoded
    common = {"encoder_hidden_states": encoded["last_hidden_state"]}
    if sample.mask is not None:
        common["encoder_attention_mask"] = sample.feeds["attention_mask"]
    for first, step in (("decoder", "decoder_step"), ("merged", "merged_step")):
        if first in stages:
            feeds = common | {"input_ids": sample.decoder_ids}
            outputs = engine.run(first, feeds)
            yield first, feeds, outputs
            if step in stages:
                feeds = common | past_feeds(outputs) | {"input_ids": sample.step_ids}
                yield step, feeds, engine.run(step, feeds)


def past_feeds(outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The cache that a pass returned, as inputs of the next one."""
    return {
        name.replace("present.", "past_key_values."): value
        for name, value in outputs.items()
        if name.startswith("present.")
    }


def _next_token(sample: Sample, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    mask = sample.feeds["attention_mask"]
    longer = np.concatenate([mask, np.ones((len(mask), 1), mask.dtype)], axis=1)
    feeds = past_feeds(outputs) | {"input_ids": sample.step_ids, "attention_mask": longer}
    # A graph without positions (Gemma 3) counts the padding too; PyTorch must then do the same in both passes.
    return feeds | {"position_ids": mask.sum(axis=1, keepdims=True)} if "position_ids" in sample.feeds else feeds
