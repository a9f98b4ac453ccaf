"""The figures and metrics that somebody may mean by a word that is none of their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from onnxbuild.diagnostics import nearest

# Words that people use, those of the tables among them. What the name of a figure contains needs no row.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "cosine": ("cosine_mean",),  # the column of this heading
    "worst_cosine": ("cosine_min",),
    "max_diff": ("max_abs",),
    "mean_diff": ("mean_abs",),
    "probability_diff": ("max_probability",),
    "kl_divergence": ("kl_mean", "next_token_kl"),
    "top_1": ("top1",),
    "top_5": ("top5",),
    "size": ("size_mb",),
    "bytes": ("size_mb", "size"),
    "speed_up": ("speedup",),
    "generation_speed_up": ("generation_speedup",),
    "tokens_s": ("tokens_per_second",),
    "texts_s": ("throughput",),
    "texts_per_second": ("throughput",),
    "ttft": ("first_token",),
    "time_to_first_token": ("first_token",),
    "wer_to_reference": ("transcript_wer",),
}
_MOST_NAMED = 6


def meant_figures(word: str, known: Iterable[str]) -> list[str]:
    """The known names that a word may mean, the likeliest first: all whose parts begin with those of the word."""
    names = list(known)
    usual = [name for name in _WORDS.get(_plain(word), ()) if name in names]
    containing = sorted((name for name in names if _contains(name, word)), key=lambda name: len(_parts(name)))
    near = nearest(word, names)
    return list(dict.fromkeys([*usual, *containing])) or ([near] if near is not None else [])


def figure_hint(word: str, known: Iterable[str]) -> str:
    """A question with the names that a word may mean, or the list of all."""
    names = list(known)
    meant = [f"`{name}`" for name in meant_figures(word, names)[:_MOST_NAMED]]
    if not meant:
        return f"one of {', '.join(names)}"
    *others, last = meant
    return f"did you mean {', '.join(others)} or {last}?" if others else f"did you mean {last}?"


def _plain(word: str) -> str:
    return "_".join(_parts(word))


def _contains(name: str, word: str) -> bool:
    """Whether every part of a word begins a part of a name."""
    wanted = _parts(word)
    return bool(wanted) and all(any(one.startswith(part) for one in _parts(name)) for part in wanted)


def _parts(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.lower())
