"""Inputs for a model: real sentences where it has a tokenizer, seeded values in the right shapes where it has none."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct, structs

from onnxbuild.protocol import CheckFailed
from onnxbuild.tables.positions import positions_of, text_part
from onnxbuild.tables.tasks import family_of, reads_pairs
from onnxbuild.workers.engines.onnxruntime_engine import Arrays, InputSpec, OnnxModel
from onnxbuild.workers.folders.processors import masks_sound, processor_of
from onnxbuild.workers.inputs.sentences import SENTENCES

_CHOICES = 3  # answers per question of a multiple-choice sample
_AUDIO_SAMPLES_A_TOKEN = 250  # 64 tokens stand for one second at the rate that speech models take
_SHORTEST_AUDIO = 800  # below 400 samples the convolutions of wav2vec2 leave nothing

# Types that see no mask, since they were trained on padding; their tokenizers give none either.
_UNMASKED = frozenset({"siglip"})

_DECODER_TOKENS = 8  # prefix that an encoder-decoder is given; one more is its cached step
_PROBE_BATCH = 8
_BATCH_AND_SEQUENCE = 2  # axes of text
_PROBE_SALT = 1 << 20  # past every sequence length, which is the salt of a shape


class Sample(Struct, frozen=True, kw_only=True):
    """One batch. `feeds` are inputs by name; `mask` marks the real tokens, None where there are none to pad.

    `decoder_ids` [batch, prefix] and `step_ids` [batch, 1] are what a decoder continues with, the same for every
    engine. `tokens` counts real tokens. `probe`: natural text of natural lengths, on which perplexity is taken.
    """

    label: str
    feeds: Arrays
    mask: np.ndarray | None
    step_ids: np.ndarray
    decoder_ids: np.ndarray
    rows: int
    tokens: int
    probe: bool = False


class Source(Struct, frozen=True, kw_only=True):
    """What samples are made from: the model's config, its tokenizer or None, and what its first graph takes."""

    folder: Path
    config: Mapping[str, Any]
    tokenizer: Any
    inputs: Mapping[str, InputSpec]
    causal: bool  # a decoder: padded on the left, with position ids
    seed: int
    paired: bool = False  # two texts a row
    even: bool = False  # rows of one length: genai's attention counts a row's tokens from its start, and knows no gap

    @property
    def masks_text(self) -> bool:
        """Whether PyTorch is told which tokens are padding."""
        return self.config.get("model_type") not in _UNMASKED

    @property
    def reads_text(self) -> bool:
        """Whether its samples are real sentences."""
        return self.tokenizer is not None and "input_ids" in self.inputs

    @property
    def text(self) -> Mapping[str, Any]:
        """The part of the config that speaks of text."""
        return text_part(self.config)

    @property
    def pad_id(self) -> int:
        """The id that padding is written with; masked, so any valid one serves."""
        found = getattr(self.tokenizer, "pad_token_id", None)
        return int(next((i for i in (found, self.text.get("pad_token_id")) if i is not None and i >= 0), 0))


def open_source(folder: Path, model: OnnxModel, task: str, *, seed: int, trusts_code: bool = False) -> Source:
    """The source of samples for a model folder with config.json and, mostly, a tokenizer."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return Source(
        folder=folder,
        config=config,
        tokenizer=load_tokenizer(folder, trusts_code=trusts_code),
        inputs=model.inputs(model.first),
        causal="prefill" in model.stages or family_of(task) == "decoder",
        seed=seed,
        even=(folder / "genai_config.json").is_file(),
        paired=reads_pairs(task, config),
    )


def load_tokenizer(folder: Path, *, trusts_code: bool = False) -> Any:
    """The folder's tokenizer, or None where it has none; code that it brings runs where it is trusted alone."""
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json")):
        return None
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trusts_code)


def shaped(source: Source, batch: int, sequence: int, *, padded: bool = True) -> Sample:
    """A batch of exactly this shape; where `padded`, each row is shorter than the one before, down to about half.

    Errors: CheckFailed OBE38 where the model has fewer positions or a smaller vocabulary.
    """
    _check_length(source, sequence)
    uneven = padded and not source.even
    lengths = [sequence - (row * sequence) // (2 * batch) if uneven else sequence for row in range(batch)]
    rows = [_row(source, row, max(1, length)) for row, length in enumerate(lengths)]
    return _sample(source, rows, sequence, label=f"shape {batch}×{sequence}", salt=sequence)


def probes(source: Source) -> list[Sample]:
    """Enough rows for shares of rows to mean something: the sentences, in batches, each row as long as it is.

    Without a tokenizer seeded ids take their place, and without text seeded images or sounds. None for what takes
    half a minute of sound a row: its shapes must do.
    """
    if "input_features" in source.inputs:
        return []
    limit = _positions(source) - 1
    if source.tokenizer is not None:
        rows = [source.tokenizer(text)["input_ids"][:limit] for text in SENTENCES]
    else:
        rows = [_row(source, number, min(len(text.split()), limit)) for number, text in enumerate(SENTENCES)]
    size = 1 if source.even else _PROBE_BATCH
    batches = [rows[i : i + size] for i in range(0, len(rows), size)]
    kind = "sentences" if source.reads_text else "seeded"
    return [
        _sample(source, batch, longest, label=f"{kind} {len(batch)}×{longest}", salt=_PROBE_SALT + number, probe=True)
        for number, batch in enumerate(batches)
        for longest in [max(map(len, batch))]
    ]


def single_texts(source: Source, texts: Iterable[str], sequence: int) -> Iterator[Sample]:
    """A batch of one for each text, of its own length up to `sequence` tokens and to what the model takes."""
    limit = min(sequence, _positions(source) - 1)
    for number, text in enumerate(texts):
        row = source.tokenizer(text, truncation=True, max_length=limit)["input_ids"]
        if row:
            yield _sample(source, [row], len(row), label=f"row {number}", salt=_PROBE_SALT + number)


def text_limit(source: Source) -> int:
    """The most tokens of a text that the model and its tokenizer take, with room for a step more."""
    return min(_positions(source) - 1, int(source.tokenizer.model_max_length))


def of_ids(
    source: Source,
    rows: Sequence[Sequence[int]],
    *,
    label: str,
    number: int,
    segments: Sequence[Sequence[int]] | None = None,
) -> Sample:
    """Rows of token ids as one padded batch of natural text; `number` tells it from others.

    `segments` are type ids as a tokenizer gives them, for graphs that take them.
    """
    longest = max(map(len, rows))
    sample = _sample(source, rows, longest, label=label, salt=_PROBE_SALT + number, probe=True)
    spec = source.inputs.get("token_type_ids")
    if segments is None or spec is None or len(spec.shape) != _BATCH_AND_SEQUENCE:
        return sample
    types: np.ndarray = np.zeros((len(rows), longest), np.int64)
    for row, of_row in zip(types, segments, strict=True):
        row[longest - len(of_row) if source.causal else 0 :][: len(of_row)] = of_row
    return structs.replace(sample, feeds={**sample.feeds, "token_type_ids": types})


def _sample(
    source: Source, rows: Sequence[Sequence[int]], sequence: int, *, label: str, salt: int, probe: bool = False
) -> Sample:
    """Rows of ids as a batch. `salt` makes the seeded parts of one sample differ from those of another."""
    batch = len(rows)
    mask: np.ndarray = np.zeros((batch, sequence), np.int64)
    ids: np.ndarray = np.full((batch, sequence), source.pad_id, np.int64)
    for number, row in enumerate(rows):
        place = slice(sequence - len(row), None) if source.causal else slice(0, len(row))
        mask[number, place], ids[number, place] = 1, row
    takes_text = "input_ids" in source.inputs
    feeds = {name: _feed(source, name, spec, ids, mask, salt) for name, spec in source.inputs.items() if _is_fed(name)}
    if takes_text and source.masks_text:
        # PyTorch must see the padding even where an export took no mask.
        feeds |= {"input_ids": feeds["input_ids"], "attention_mask": feeds.get("attention_mask", mask)}
    if "input_values" in source.inputs and masks_sound(source.folder):
        feeds |= _padded_sounds(feeds["input_values"], [len(row) / sequence for row in rows])
    prefix = _prefix(source, batch)
    return Sample(
        label=label if takes_text else f"batch {batch}",
        feeds=feeds,
        mask=mask if takes_text and feeds["input_ids"].ndim == 2 else None,  # noqa: PLR2004 - batch, sequence
        step_ids=prefix[:, -1:],
        decoder_ids=prefix[:, :-1],
        rows=batch,
        tokens=int(mask.sum()) if takes_text else 0,
        probe=probe,
    )


def _padded_sounds(sounds: np.ndarray, parts: Sequence[float]) -> dict[str, np.ndarray]:
    """Sounds of unequal length with their mask: PyTorch must see the padding even where an export took no mask."""
    longest = sounds.shape[1]
    lengths = np.maximum(_SHORTEST_AUDIO, np.asarray(parts) * longest).astype(np.int64)
    mask = (np.arange(longest)[None] < lengths[:, None]).astype(np.int64)
    return {"input_values": sounds * mask.astype(sounds.dtype), "attention_mask": mask}


def _is_fed(name: str) -> bool:
    return not name.startswith("past_key_values") and name != "use_cache_branch"


def _feed(source: Source, name: str, spec: InputSpec, ids: np.ndarray, mask: np.ndarray, salt: int) -> np.ndarray:
    """The value of one input: text, position and type ids follow the tokens, the rest follows the graph's shapes."""
    batch = len(ids)
    if name == "input_ids":
        return _answers(source, ids, mask) if len(spec.shape) > ids.ndim else ids
    if name == "attention_mask":
        return _repeated(mask, spec)
    if name == "token_type_ids":
        return _repeated(_segments(source, mask), spec)
    if name == "position_ids":
        return (
            np.maximum(mask.cumsum(axis=1) - 1, 0) if source.causal else np.arange(ids.shape[1])[None].repeat(batch, 0)
        )
    sizes = _media_shape(source, name, spec, ids.shape[1])
    if sizes is None:
        raise CheckFailed("OBE37", f"the graph takes an input `{name}` for which no sample can be made")
    shape = (batch, *sizes)
    if name == "pixel_mask":
        return np.ones(shape, np.int64)
    # Seeded by the input, so that a sample does not hang on the order of the inputs.
    generator = np.random.default_rng([source.seed, len(name), batch, salt])
    return generator.standard_normal(shape, np.float32)  # type: ignore[no-any-return]


def _answers(source: Source, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Multiple choice has an axis more: each answer differs in every second token, in a batch of one, too."""
    vocabulary = int(source.text.get("vocab_size") or 1000)
    changed = (mask > 0) & (np.arange(ids.shape[1]) % 2 == 1)
    answers = [np.where(changed, (ids + 7 * number) % vocabulary, ids) for number in range(_CHOICES)]
    return np.stack(answers, axis=1)  # type: ignore[no-any-return]


def _repeated(values: np.ndarray, spec: InputSpec) -> np.ndarray:
    """The same for each answer, where there are several."""
    return values if len(spec.shape) == values.ndim else np.repeat(values[:, None], _CHOICES, axis=1)


def _segments(source: Source, mask: np.ndarray) -> np.ndarray:
    """Type ids: of a pair the second half of each row's real tokens is the second text."""
    place = mask.cumsum(axis=1)
    second = (place > (mask.sum(axis=1, keepdims=True) + 1) // 2) & (mask > 0)
    takes_two = source.paired and int(source.text.get("type_vocab_size") or 0) > 1
    return second.astype(np.int64) * int(takes_two)  # type: ignore[no-any-return]


def _media_shape(source: Source, name: str, spec: InputSpec, sequence: int) -> tuple[int, ...] | None:
    """Dimensions past the batch of an image or sound: the graph's where it fixes them, else what the configs say.

    A sound is as long as text of `sequence` tokens would be.
    """
    vision = {**source.config, **source.config.get("encoder", {}), **source.config.get("vision_config", {})}
    side = _image_side(source, vision)
    known: Mapping[str, tuple[int, ...]] = {
        "pixel_values": (int(vision.get("num_channels", 3)), *side),
        "pixel_mask": side,
        "input_features": (
            int(source.config.get("num_mel_bins", 80)),
            2 * int(source.config.get("max_source_positions", 1500)),
        ),
        "input_values": (max(_SHORTEST_AUDIO, _AUDIO_SAMPLES_A_TOKEN * sequence),),
    }
    if name not in known:
        return None
    fixed = spec.shape[1:]
    return tuple(f if isinstance(f, int) else k for f, k in zip(fixed, known[name], strict=True))


def _image_side(source: Source, vision: Mapping[str, Any]) -> tuple[int, int]:
    processor = processor_of(source.folder)
    size = processor.get("crop_size") or processor.get("size") or vision.get("image_size") or 224
    if "image_size" in vision:
        size = vision["image_size"]
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge", 224)
        return int(size.get("height", edge)), int(size.get("width", edge))
    return (int(size[0]), int(size[1])) if isinstance(size, list) else (int(size), int(size))


def _row(source: Source, number: int, length: int) -> list[int]:
    """`length` token ids: sentences from the `number`th on, or seeded ids where there is no tokenizer."""
    if source.tokenizer is None:
        vocabulary = int(source.text.get("vocab_size", 1000))
        return np.random.default_rng([source.seed, number, length]).integers(1, vocabulary, length).tolist()  # type: ignore[no-any-return]
    start = (source.seed + 7 * number) % len(SENTENCES)
    # The shortest sentence has one token, so `length` of them are always enough, and seldom more than a few are read.
    text = ""
    ids: list[int] = []
    while len(ids) < length:
        text = (text + " " + " ".join(SENTENCES[start:] + SENTENCES[:start])).strip()
        ids = source.tokenizer(text, verbose=False)["input_ids"]
    end = ids[-1:] if ids[-1] in _specials(source) else []
    return [*ids[: length - len(end)], *end] if length > len(end) else list(ids[:length])


def _specials(source: Source) -> frozenset[int]:
    return frozenset(source.tokenizer.all_special_ids)


def _prefix(source: Source, batch: int) -> np.ndarray:
    """Tokens for a decoder, [batch, prefix + 1], different in each row; the last one is the cached step's."""
    rows = [_row(source, row + 3, _DECODER_TOKENS + 1) for row in range(batch)]
    prefix = np.array(rows, np.int64)
    start = source.config.get("decoder_start_token_id")
    if start is not None:
        prefix[:, 0] = start
    return prefix  # type: ignore[no-any-return]


def _positions(source: Source) -> int:
    return positions_of(source.config) or 1 << 20


def _check_length(source: Source, sequence: int) -> None:
    needed = sequence + 1 if source.causal else sequence
    if needed > _positions(source):
        step = " and the step after them" if source.causal else ""
        raise CheckFailed(
            "OBE38",
            f"{sequence} tokens{step} do not fit the model's {_positions(source)} positions",
            notes=[("hint", f"give sequences of at most {_positions(source) - needed + sequence}")],
        )
