"""Metrics of language models over texts, and of text that a model writes greedily."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from onnxbuild.workers.validate.by_task.encoded import words_of
from onnxbuild.workers.validate.by_task.measured import Measured, both_sides, mean_of, ratio
from onnxbuild.workers.validate.by_task.summaries import Summary, Tokens


def of_language(rows: Sequence[Summary]) -> Iterator[Measured]:
    """Over the tokens of all texts; the intervals are over texts, as the tokens of a text depend on each other."""
    tokens: list[Tokens] = [row.variant for row in rows if row.variant.count]
    if not tokens:
        return
    counts = np.array([float(one.count) for one in tokens])
    agreeing = np.array([float(one.agreeing) for one in tokens])
    diverging = np.array([one.divergence for one in tokens])
    losses = np.array([one.loss_variant - one.loss_reference for one in tokens])
    for metric, above in (("next_token_agreement", agreeing), ("next_token_kl", diverging)):
        yield Measured(
            metric=metric, value=float(ratio(above, counts)), unit="texts", parts=(above, counts), statistic=ratio
        )
    yield Measured(
        metric="text_perplexity_ratio",
        value=float(np.exp(ratio(losses, counts))),
        unit="texts",
        parts=(losses, counts),
        statistic=lambda one, other, axis=-1: np.exp(ratio(one, other, axis)),
    )


def of_generated(wanted: Sequence[Sequence[int]], actual: Sequence[Sequence[int]]) -> Measured:
    """The share of the reference's tokens before the first that differs, averaged over prompts."""
    return mean_of(
        "greedy_agreement", [_common(one, other) for one, other in zip(wanted, actual, strict=True)], "texts"
    )


def of_texts(wanted: Sequence[str], actual: Sequence[str], rights: Sequence[str] | None) -> Iterator[Measured]:
    """The chrF and ROUGE-L of each written text: with the reference's and with the right one, averaged over rows."""
    for metric, score in (("chrf_agreement", chrf_of), ("rouge_agreement", rouge_of)):
        yield mean_of(metric, [score(one, other) for one, other in zip(actual, wanted, strict=True)])
    for metric, score in (("chrf", chrf_of), ("rouge_l", rouge_of)) if rights else ():
        sides = [
            [score(one, right) for one, right in zip(texts, rights or (), strict=True)] for texts in (actual, wanted)
        ]
        yield both_sides(metric, *sides)


def chrf_of(text: str, right: str) -> float:
    """The sentence chrF2 of sacrebleu, 0 to 1; two empty texts are equal."""
    from sacrebleu import sentence_chrf

    if text.strip() == right.strip():
        return 1.0
    return float(sentence_chrf(text, [right]).score) / 100


def rouge_of(text: str, right: str) -> float:
    """The F-measure of rouge-score, of the longest common subsequence of words, a Chinese character being a word."""
    from rouge_score.rouge_scorer import RougeScorer

    if text.strip() == right.strip():
        return 1.0
    scorer = RougeScorer(["rougeL"], tokenizer=_Words())
    return float(scorer.score(right, text)["rougeL"].fmeasure)


class _Words:
    """The library's own tokenizer drops every letter outside of English."""

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        return words_of(text)


def _common(wanted: Sequence[int], actual: Sequence[int]) -> float:
    length = max(len(wanted), len(actual))
    differs = (place for place, (one, other) in enumerate(zip(wanted, actual, strict=False)) if one != other)
    return next(differs, min(len(wanted), len(actual))) / length if length else 1.0
