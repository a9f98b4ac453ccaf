"""What a hint names for a word that is no figure: what somebody most likely means first."""

from __future__ import annotations

import pytest

from onnxbuild.report.result import result_table
from onnxbuild.tables.bounds.figure_names import figure_hint, meant_figures
from onnxbuild.tables.choices import FIGURES
from onnxbuild.tables.regressions import FIGURES as FIGURES_OF_BUILDS


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("cosine", ["cosine_mean", "cosine_min", "row_cosine_mean", "row_cosine_min"]),
        ("cosine_meen", ["cosine_mean"]),
        ("Worst cosine", ["cosine_min"]),
        ("p50", ["latency.p50"]),
        ("latency", ["latency.p50"]),
        ("size", ["size_mb"]),
        ("speed-up", ["speedup"]),
        ("speed", ["speedup", "generation_speedup"]),
        ("tokens/s", ["tokens_per_second"]),
        ("greedy", ["greedy_agreement"]),
        ("zzz", []),
        ("", []),
    ],
)
def test_the_figures_that_a_word_means(word, names):
    assert meant_figures(word, FIGURES) == names


def test_the_same_word_means_other_figures_where_there_are_others():
    assert meant_figures("latency", FIGURES_OF_BUILDS) == ["latency.p50", "latency.p90", "latency.p99", "latency.mean"]
    assert meant_figures("size_mb", FIGURES_OF_BUILDS) == ["size"]


@pytest.mark.parametrize(("name", "heading"), result_table.HEADINGS.items())
def test_the_heading_of_a_column_means_its_metric(name, heading):
    assert meant_figures(heading, FIGURES)[0] == name


def test_the_hint_asks_or_lists():
    assert figure_hint("ttft", FIGURES) == "did you mean `first_token`?"
    assert figure_hint("top", ("top1", "top5", "kl_mean")) == "did you mean `top1` or `top5`?"
    assert figure_hint("kl", ("top1", "kl_mean", "next_token_kl")) == "did you mean `kl_mean` or `next_token_kl`?"
    assert figure_hint("zzz", ("top1", "kl_mean")) == "one of top1, kl_mean"
