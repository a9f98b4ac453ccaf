"""Batches for a model: real sentences if it has a tokenizer, seeded values in the right shapes if it has none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from msgspec import Struct, structs

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.engines.engine import Arrays
from onnxbuild.workers.folders.processors import masks_audio
from onnxbuild.workers.inputs.input_values import input_value, is_given
from onnxbuild.workers.inputs.media import padded_media
from onnxbuild.workers.inputs.sample_source import Source
from onnxbuild.workers.inputs.token_rows import DECODER_TOKENS, STEPS, decoder_prefix, sentence_rows, token_row

_PROBE_BATCH = 8
_BATCH_AND_SEQUENCE = 2  # axes of text
_PROBE_SALT = 1 << 20  # past every sequence length, which is the salt of a shape

Rows = Sequence[Sequence[int]]


class Sample(Struct, frozen=True, kw_only=True):
    """One batch. `feeds` are inputs by name; `mask` marks the real tokens, and is None if nothing is padded.

    `decoder_ids` [batch, prefix] and `step_ids` [batch, steps] are what a decoder continues with, the same for every
    engine. `tokens` counts real tokens. `probe`: natural text of natural lengths, on which perplexity is measured.
    `length`: the tokens of the longest row, with the padding.
    """

    label: str
    feeds: Arrays
    mask: np.ndarray | None
    step_ids: np.ndarray
    decoder_ids: np.ndarray
    rows: int
    tokens: int
    length: int = 0
    probe: bool = False


def shaped(
    source: Source, batch: int, sequence: int, *, padded: bool = True, decoder_tokens: int = DECODER_TOKENS
) -> Sample:
    """A batch of exactly this shape; where `padded`, each row is shorter than the one before, down to about half.

    `decoder_tokens` is the length of an encoder-decoder's second input.

    Errors: CheckFailed OBE38 if the model has fewer positions, OBE251 if a variant is compiled for fewer.
    """
    _check_length(source, sequence)
    uneven = padded and not source.even
    lengths = [sequence - (row * sequence) // (2 * batch) if uneven else sequence for row in range(batch)]
    rows = [token_row(source, row, max(1, length)) for row, length in enumerate(lengths)]
    label = f"shape {batch}×{sequence}"
    return _sample(source, rows, sequence, label=label, salt=sequence, decoder_tokens=decoder_tokens)


def probes(source: Source) -> list[Sample]:
    """Enough rows to measure shares of rows: the sentences, in batches, each row with its own length.

    Seeded ids replace them if there is no tokenizer, and seeded images or audio if there is no text. A model that
    takes half a minute of audio per row gets none: its shapes have to suffice.
    """
    if "input_features" in source.inputs:
        return []
    rows = sentence_rows(source, source.positions - 1)
    size = 1 if source.even else _PROBE_BATCH
    batches = [rows[i : i + size] for i in range(0, len(rows), size)]
    return [_probe(source, batch, number) for number, batch in enumerate(batches)]


def _probe(source: Source, rows: Rows, number: int) -> Sample:
    longest = max(map(len, rows))
    kind = "sentences" if source.reads_text else "seeded"
    label = f"{kind} {len(rows)}×{longest}"
    return _sample(source, rows, longest, label=label, salt=_PROBE_SALT + number, probe=True)


def single_texts(source: Source, texts: Iterable[str], sequence: int) -> Iterator[Sample]:
    """A batch of one row per text, cut to `sequence` tokens and to what the model takes."""
    limit = min(sequence, source.positions - 1)
    for number, text in enumerate(texts):
        row = source.tokenizer(text, truncation=True, max_length=limit)["input_ids"]
        if row:
            yield _sample(source, [row], len(row), label=f"row {number}", salt=_PROBE_SALT + number)


def text_limit(source: Source) -> int:
    """The maximum number of tokens of a text for the model and its tokenizer, with room for one more step."""
    return min(source.positions - 1, int(source.tokenizer.model_max_length))


def of_ids(source: Source, rows: Rows, *, label: str, number: int, segments: Rows | None = None) -> Sample:
    """Rows of token ids as one padded batch of natural text; `number` distinguishes it from other batches.

    `segments` are type ids as a tokenizer gives them, for graphs that take them.
    """
    longest = max(map(len, rows))
    sample = _sample(source, rows, longest, label=label, salt=_PROBE_SALT + number, probe=True)
    spec = source.inputs.get("token_type_ids")
    if segments is None or spec is None or len(spec.shape) != _BATCH_AND_SEQUENCE:
        return sample
    types, _ = _padded(segments, longest, fill=0, left=source.causal)
    return structs.replace(sample, feeds={**sample.feeds, "token_type_ids": types})


def text_feeds(source: Source, rows: Rows, *, pad: int) -> Arrays:
    """The inputs of rows of token ids, padded to the longest row and no further."""
    ids, mask = _padded(rows, max(map(len, rows)), fill=pad, left=source.causal)
    return _feeds(source, ids, mask, _PROBE_SALT)


def _sample(
    source: Source,
    rows: Rows,
    sequence: int,
    *,
    label: str,
    salt: int,
    probe: bool = False,
    decoder_tokens: int = DECODER_TOKENS,
) -> Sample:
    """Rows of ids as a batch. `salt` makes the seeded parts of one sample differ from those of another."""
    batch = len(rows)
    ids, mask = _padded(rows, sequence, fill=source.pad_id, left=source.causal)
    takes_text = "input_ids" in source.inputs
    feeds = _feeds(source, ids, mask, salt)
    if _masks_media(source):
        feeds |= padded_media(feeds, [len(row) / sequence for row in rows])
    prefix = decoder_prefix(source, batch, decoder_tokens)
    return Sample(
        label=label if takes_text else f"batch {batch}",
        feeds=feeds,
        mask=mask if takes_text and feeds["input_ids"].ndim == _BATCH_AND_SEQUENCE else None,
        step_ids=prefix[:, decoder_tokens : decoder_tokens + _steps_that_fit(source, sequence)],
        decoder_ids=prefix[:, :decoder_tokens],
        rows=batch,
        tokens=int(mask.sum()) if takes_text else 0,
        length=sequence,
        probe=probe,
    )


def _masks_media(source: Source) -> bool:
    """Whether a mask hides parts of audio, or of patches: the graph takes one, or the model was trained with one."""
    takes = "attention_mask" in source.inputs or ("input_values" in source.inputs and masks_audio(source.folder))
    return takes and "input_ids" not in source.inputs


def _steps_that_fit(source: Source, sequence: int) -> int:
    """A decoder's steps take the positions after the prompt; there is room for one, as `_check_length` says."""
    return max(1, min(STEPS, source.positions - sequence)) if source.causal else STEPS


def _padded(rows: Rows, sequence: int, *, fill: int, left: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows as one array [rows, sequence], padded with `fill` on one side, and the mask of what is real."""
    mask: np.ndarray = np.zeros((len(rows), sequence), np.int64)
    values: np.ndarray = np.full((len(rows), sequence), fill, np.int64)
    for number, row in enumerate(rows):
        place = slice(sequence - len(row), None) if left else slice(0, len(row))
        mask[number, place] = 1
        values[number, place] = row
    return values, mask


def _feeds(source: Source, ids: np.ndarray, mask: np.ndarray, salt: int) -> dict[str, np.ndarray]:
    feeds = {
        name: input_value(source, name, spec, ids, mask, salt) for name, spec in source.inputs.items() if is_given(name)
    }
    if "input_ids" in source.inputs and source.masks_text:
        # PyTorch must see the padding even where an export took no mask.
        feeds |= {"input_ids": feeds["input_ids"], "attention_mask": feeds.get("attention_mask", mask)}
    return feeds


def _check_length(source: Source, sequence: int) -> None:
    if "input_ids" not in source.inputs:
        return  # positions are those of text
    needed = sequence + 1 if source.causal else sequence
    if source.longest is not None and needed > source.longest:
        message = f"{sequence} tokens do not fit the variant, which is compiled for {source.longest}"
        hint = f"use sequences of at most {source.longest - needed + sequence} tokens, or compile for longer ones"
        raise CheckFailed("OBE251", message, notes=[("hint", hint)])
    if needed > source.positions:
        step = " and the step after them" if source.causal else ""
        raise CheckFailed(
            "OBE38",
            f"{sequence} tokens{step} do not fit the model's {source.positions} positions",
            notes=[("hint", f"use sequences of at most {source.positions - needed + sequence} tokens")],
        )
