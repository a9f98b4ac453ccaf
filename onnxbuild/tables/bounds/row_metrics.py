"""Metrics over rows by the kind of model, and their default bounds by precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from onnxbuild.tables.bounds.metric import Metric

# What a model decides about a row: of text, or a picture, or a recording.
RowKind = Literal[
    "labels", "vectors", "scores", "spans", "entities", "language", "rewriting", "pictures", "transcripts"
]


def _share(meaning: str, library: str = "", *, least: float = 0.0, both_sides: bool = False) -> Metric:
    return Metric("min", meaning, least=least, most=1.0, library=library, both_sides=both_sides)


def _error(meaning: str, *, both_sides: bool = False) -> Metric:
    """An error rate, which exceeds 1 where more is added than there should be."""
    return Metric("max", meaning, library="jiwer", both_sides=both_sides)


# Metrics that compare the variant with the reference, then those that compare both with labels.
ROW_METRICS: Mapping[str, Metric] = {
    "label_agreement": _share("share of rows with the reference's label, or its set of labels", "scikit-learn"),
    "top5_agreement": _share("share of rows whose label of the reference is among the variant's five most likely"),
    "mean_probability": Metric("max", "mean over rows and labels of |difference of the probability|", most=1.0),
    "row_probability_mean": Metric("max", "mean over rows of each row's largest |difference|", most=1.0),
    "row_probability_max": Metric("max", "maximum over rows of each row's largest |difference|", most=1.0),
    "row_cosine_mean": _share("mean cosine of the vectors of texts", least=-1.0),
    "row_cosine_min": _share("smallest cosine of the vectors of a text", least=-1.0),
    "spearman": _share("rank correlation of similarities of pairs, or scores, with the reference's", "scipy", least=-1),
    "top10_overlap": _share("share of the reference's ten nearest texts that are among the variant's ten"),
    "span_agreement": _share("share of questions with the reference's answer span"),
    "span_f1": _share("overlap (F1) of the answer's tokens with the reference's"),
    "entity_agreement": _share("entity F1 of the variant with the reference's entities as truth", "seqeval"),
    "next_token_agreement": _share("share of the tokens of texts with the reference's most likely next token"),
    "next_token_kl": Metric("max", "mean over the tokens of texts of the KL divergence of the next token, in nats"),
    "text_perplexity_ratio": Metric("max", "perplexity of the variant on the texts, divided by the reference's"),
    "greedy_agreement": _share("share of greedily generated tokens before the first that differs"),
    "chrf_agreement": _share("chrF of the generated text with the reference's as truth", "sacrebleu"),
    "rouge_agreement": _share("ROUGE-L of the generated text with the reference's as truth", "rouge-score"),
    "transcript_wer": _error("word error rate of the transcripts with the reference's as truth"),
    "transcript_cer": _error("character error rate of the transcripts with the reference's as truth"),
    "accuracy": _share("share of rows with the right label", "scikit-learn", both_sides=True),
    "top5_accuracy": _share("share of rows whose right label is among the five most likely", both_sides=True),
    "pair_spearman": _share(
        "rank correlation of similarities of pairs with graded labels", "scipy", least=-1.0, both_sides=True
    ),
    "ndcg": _share("NDCG@10 of ranked passages, averaged over queries", "scikit-learn", both_sides=True),
    "answer_f1": _share("overlap (F1) of the answer's words with the right answer", both_sides=True),
    "entity_f1": _share("entity F1 with the right entities", "seqeval", both_sides=True),
    "chrf": _share("chrF of the generated text with the right text", "sacrebleu", both_sides=True),
    "rouge_l": _share("ROUGE-L of the generated text with the right text", "rouge-score", both_sides=True),
    "wer": _error("word error rate of the transcripts: edits per word that was said", both_sides=True),
    "cer": _error("character error rate of the transcripts: edits per character", both_sides=True),
}

# What every default bound below is measured on: 235 rows whose shares resolve about 1.5 points, so that a variant
# that agrees on all of them has an interval (95 %) that ends at 0.984. docs/explanation/thresholds.md has the sources.
ROW_BOUNDS: Mapping[RowKind, Mapping[str, Mapping[str, float]]] = {
    "labels": {
        "fp32": {"label_agreement": 0.98, "mean_probability": 1e-3},
        "fp16": {"label_agreement": 0.98, "mean_probability": 5e-3},
        "bf16": {"label_agreement": 0.95},
    },
    "vectors": {
        "fp32": {"row_cosine_min": 0.9999, "spearman": 0.999, "top10_overlap": 0.98},
        "fp16": {"row_cosine_min": 0.999, "spearman": 0.99, "top10_overlap": 0.95},
    },
    "scores": {"fp32": {"spearman": 0.999}, "fp16": {"spearman": 0.995}},
    "spans": {"fp32": {"span_agreement": 0.95}, "fp16": {"span_agreement": 0.95}},
    "entities": {"fp32": {"entity_agreement": 0.98}, "fp16": {"entity_agreement": 0.97}},
    "language": {"fp32": {"next_token_agreement": 0.99, "text_perplexity_ratio": 1.001}},
    "rewriting": {"fp32": {"greedy_agreement": 0.95}},
    # Only on a dataset: neither pictures nor speech come with onnxbuild.
    "pictures": {
        "fp32": {"label_agreement": 0.98, "mean_probability": 1e-3},
        "fp16": {"label_agreement": 0.98, "mean_probability": 5e-3},
        "bf16": {"label_agreement": 0.95},
    },
    "transcripts": {"fp32": {"transcript_wer": 0.005}, "fp16": {"transcript_wer": 0.02}},
}


def row_bounds(kind: RowKind, column: str) -> Mapping[str, float]:
    """The default bounds of a kind of model in a column of `THRESHOLDS`; none where nothing is known of it."""
    return ROW_BOUNDS[kind].get(column, {})
