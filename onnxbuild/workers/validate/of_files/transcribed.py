"""What an engine hears in a recording, as token ids and as text: by CTC, or written greedily by a decoder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from msgspec import Struct

from onnxbuild.workers.engines.engine import Engine
from onnxbuild.workers.inputs.sample_source import Source
from onnxbuild.workers.inputs.samples import Sample
from onnxbuild.workers.inputs.stages import encoder_feeds, past_feeds, seen_so_far

_PAIRS = (("decoder", "decoder_step"), ("merged", "merged_step"))
MOST_TOKENS = 224  # half of Whisper's positions, which is what transformers writes for half a minute


class Habits(Struct, frozen=True, kw_only=True):
    """How a decoder writes, as generation_config.json says: where it starts and ends, and what it must or must not."""

    start: int
    ends: frozenset[int]
    forced: Mapping[int, int]  # the token at a place after the start
    among: Mapping[int, Sequence[int]]  # the tokens that a place may have
    never: Sequence[int]
    not_first: Sequence[int]


def habits_of(source: Source) -> Habits:
    """The habits of a model; entries of generation_config.json go before those of config.json."""
    path = source.folder / "generation_config.json"
    own = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    settings = {**source.config, **{name: value for name, value in own.items() if value is not None}}
    end = settings.get("eos_token_id")
    forced, among = _prompt(settings)
    return Habits(
        start=int(settings.get("decoder_start_token_id") or 0),
        ends=frozenset(end if isinstance(end, list) else [] if end is None else [end]),
        forced=forced,
        among=among,
        never=settings.get("suppress_tokens") or (),
        not_first=settings.get("begin_suppress_tokens") or (),
    )


def _prompt(settings: Mapping[str, Any]) -> tuple[dict[int, int], dict[int, list[int]]]:
    """Whisper's prompt: the language, which it hears by itself, the task, and that it writes no time stamps."""
    pairs = settings.get("forced_decoder_ids") or ()
    forced = {int(place): int(number) for place, number in pairs if number is not None}
    languages = list((settings.get("lang_to_id") or {}).values())
    task = (settings.get("task_to_id") or {}).get("transcribe")
    if languages and not forced and task is not None:
        forced = {2: int(task)}
    plain = settings.get("no_timestamps_token_id")
    if plain is not None and plain not in forced.values():
        forced[max(forced, default=0) + 1] = int(plain)
    return forced, {1: languages} if languages and 1 not in forced else {}


def written(engine: Engine, sample: Sample, stages: Sequence[str], habits: Habits, most: int) -> list[int]:
    """The tokens that a decoder writes for a recording, at each step the most likely one, with its cache if it has one.

    Whisper's prompt and the end token are left out.
    """
    first, step = next(pair for pair in _PAIRS if pair[0] in stages)
    common = encoder_feeds(engine, sample)
    tokens = [habits.start]
    outputs = engine.run(first, common | _read(tokens, tokens))
    past = past_feeds(outputs)
    while len(tokens) <= most:
        number = _next(outputs["logits"][0, -1], len(tokens), habits)
        if number in habits.ends:
            break
        tokens.append(number)
        if step in stages:
            outputs = engine.run(step, common | past | _read(tokens[-1:], tokens))
            past |= past_feeds(outputs)  # the encoder's side stays that of the first pass
        else:
            outputs = engine.run(first, common | _read(tokens, tokens))
    return tokens[max([*habits.forced, *habits.among], default=0) + 1 :]


def _read(ids: Sequence[int], so_far: Sequence[int]) -> dict[str, np.ndarray]:
    """Ids to read after those of the cache, with the mask of all."""
    return {"input_ids": np.array([ids], np.int64), **seen_so_far(np.array([so_far], np.int64))}


def _next(logits: np.ndarray, place: int, habits: Habits) -> int:
    if place in habits.forced:
        return habits.forced[place]
    if place in habits.among:
        allowed = np.array(habits.among[place])
        return int(allowed[logits[allowed].argmax()])
    chances: np.ndarray = logits.astype(np.float32)
    chances[list(habits.never)] = -np.inf
    if place == max([*habits.forced, *habits.among], default=0) + 1:
        chances[list(habits.not_first)] = -np.inf
    return int(chances.argmax())


def spelled(logits: np.ndarray, source: Source) -> str:
    """The text that CTC logits of one recording, [frames, letters], spell."""
    ids = logits.argmax(axis=-1).tolist()
    # transformers' tokenizers for CTC join repeated letters by themselves, up to the blank between two.
    if source.tokenizer is not None and hasattr(source.tokenizer, "word_delimiter_token"):
        return str(source.tokenizer.decode(ids))
    return text_of(without_repeats(ids, source.pad_id), source)


def without_repeats(ids: Sequence[int], blank: int) -> list[int]:
    """CTC: one letter per run of frames that name it, and none for runs of the blank."""
    return [number for number, _ in groupby(ids) if number != blank]


def text_of(ids: Sequence[int], source: Source) -> str:
    """The text of ids; the ids themselves, as words, where the model has no tokenizer."""
    if source.tokenizer is None:
        return " ".join(map(str, ids))
    return str(source.tokenizer.decode(list(ids), skip_special_tokens=True))
