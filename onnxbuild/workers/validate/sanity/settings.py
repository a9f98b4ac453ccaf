"""Whether the configs beside a graph say the same as those of the reference: what a loader reads besides the graph.

Both sides of a comparison get the same numbers, so that a wrong setting of a loader does not show in any output. Only
settings that both folders have, and that no exporter has a reason to change, are compared.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxbuild.workers.folders.configs import read_config

CODE = "OBE147"

# Files, and the settings in them that decide what the numbers mean.
_OF_MODEL = ("problem_type",)
_OF_GENERATION = ("eos_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id")
_OF_MEDIA = (
    "image_mean", "image_std", "rescale_factor", "do_normalize", "do_rescale", "do_center_crop", "resample",
    "sampling_rate", "feature_size", "hop_length", "n_fft", "chunk_length", "num_mel_bins",
)  # fmt: skip
# Where sentence-transformers keeps what it does around the model.
_OF_SENTENCES: Mapping[str, tuple[str, ...]] = {
    "1_Pooling/config.json": (
        "pooling_mode_cls_token", "pooling_mode_mean_tokens", "pooling_mode_max_tokens", "pooling_mode_lasttoken",
        "word_embedding_dimension", "include_prompt",
    ),
    "sentence_bert_config.json": ("max_seq_length", "do_lower_case"),
    "config_sentence_transformers.json": ("prompts", "default_prompt_name", "similarity_fn_name"),
}  # fmt: skip


def other_settings(folder: Path, reference: Path) -> Iterator[tuple[str, str]]:
    """The code and a message for each setting that is another beside the graph."""
    for file, names in {"preprocessor_config.json": _OF_MEDIA, **_OF_SENTENCES}.items():
        yield from _compared(file, names, _read(folder / file), _read(reference / file))
    sides = [read_config(one) for one in (folder, reference)]
    yield from _lost("config.json", _OF_MODEL, *sides)
    generation = [
        {**side, **_read(one / "generation_config.json")} for side, one in zip(sides, (folder, reference), strict=True)
    ]
    yield from _compared("generation_config.json or config.json", _OF_GENERATION, *generation)


def _compared(
    file: str, names: tuple[str, ...], actual: Mapping[str, Any], wanted: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    for name in names:
        one, other = actual.get(name), wanted.get(name)
        if one is not None and other is not None and not _same(one, other):
            yield CODE, f"`{name}` in {file} beside the graph is {_shown(one)}, not {_shown(other)}"


def _lost(
    file: str, names: tuple[str, ...], actual: Mapping[str, Any], wanted: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """The same for settings whose absence means something else; a folder without the file has none."""
    for name in names:
        if actual and wanted.get(name) is not None and actual.get(name) != wanted[name]:
            yield CODE, f"`{name}` in {file} beside the graph is {_shown(actual.get(name))}, not {_shown(wanted[name])}"


def _same(one: Any, other: Any) -> bool:
    """Whether two values of JSON are equal: a number and a list of one as well."""
    if isinstance(one, list) or isinstance(other, list):
        lists = [side if isinstance(side, list) else [side] for side in (one, other)]
        return len(lists[0]) == len(lists[1]) and all(map(_same, *lists))
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-6)
    return bool(one == other)


def _shown(value: Any) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _read(path: Path) -> Mapping[str, Any]:
    """An object in a file; empty if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
