"""Each metric over rows beside the value of the library that the field uses, on cases small enough to check by hand."""

from __future__ import annotations

import numpy as np
import pytest

for module in ("onnxruntime", "scipy", "sklearn", "seqeval", "sacrebleu", "rouge_score"):
    pytest.importorskip(module)

from onnxbuild.tables.bounds.row_metrics import ROW_METRICS  # noqa: E402
from onnxbuild.workers.inputs.own_rows import KINDS, all_texts, counts, own_rows  # noqa: E402
from onnxbuild.workers.validate.by_task.cases import Case, Cases, Ranking, own_cases, sentiment_class  # noqa: E402
from onnxbuild.workers.validate.by_task.decided import of_labels, of_scores, of_vectors  # noqa: E402
from onnxbuild.workers.validate.by_task.encoded import Encoded, words_of  # noqa: E402
from onnxbuild.workers.validate.by_task.intervals import interval_of, undecided  # noqa: E402
from onnxbuild.workers.validate.by_task.marked import best_span, of_entities, of_spans  # noqa: E402
from onnxbuild.workers.validate.by_task.measured import both_sides, mean_of, spearman  # noqa: E402
from onnxbuild.workers.validate.by_task.summaries import Summary, Tokens  # noqa: E402
from onnxbuild.workers.validate.by_task.written import chrf_of, of_generated, of_language, of_texts, rouge_of  # noqa: E402


def rows(reference, variant):
    return [
        Summary(reference=np.array(r, np.float32), variant=np.array(v, np.float32))
        for r, v in zip(reference, variant, strict=True)
    ]


def values(found):
    measured = list(found)
    assert {one.metric for one in measured} <= ROW_METRICS.keys()
    return {one.metric: one.value for one in measured}, {
        one.metric: one.reference for one in measured if one.reference is not None
    }


LOGITS = [[2.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 0.5]]
OTHERS = [[2.0, 0.0], [0.0, 1.0], [0.0, 3.0], [0.0, 0.5]]


def test_labels_agree_as_scikit_learn_counts():
    from sklearn.metrics import accuracy_score

    right = [0, 1, 0, 0]
    cases = Cases(rows=[Case(texts=("",), right=one) for one in right])
    found, reference = values(of_labels(cases, rows(LOGITS, OTHERS), independent=False))
    wanted, actual = np.argmax(LOGITS, axis=1), np.argmax(OTHERS, axis=1)
    assert found["label_agreement"] == accuracy_score(wanted, actual) == 0.75
    assert (
        (reference["accuracy"], found["accuracy"])
        == (accuracy_score(right, wanted), accuracy_score(right, actual))
        == (0.75, 0.5)
    )
    # One row of four moves both of its probabilities from 0.9526 to 0.0474.
    assert found["row_probability_max"] == pytest.approx(0.90515, abs=1e-5)
    assert found["row_probability_mean"] == pytest.approx(0.90515 / 4, abs=1e-5)
    assert found["mean_probability"] == pytest.approx(0.90515 / 4, abs=1e-5)


def test_means_over_labels_and_over_rows_are_different_metrics():
    reference, variant = [[0.0, 0.0, 9.0]], [[1.0, 0.0, 9.0]]
    found, _ = values(of_labels(Cases(rows=[Case(texts=("",))]), rows(reference, variant), independent=True))
    moved = 1 / (1 + np.exp(-1.0)) - 0.5
    assert found["mean_probability"] == pytest.approx(moved / 3)
    assert found["row_probability_mean"] == found["row_probability_max"] == pytest.approx(moved)
    assert found["label_agreement"] == 0.0  # the set of labels has one more


def test_a_model_of_several_labels_agrees_where_the_whole_set_does():
    from sklearn.metrics import accuracy_score

    reference, variant = [[1.0, -1.0], [1.0, 1.0]], [[2.0, -2.0], [1.0, -1.0]]
    found, _ = values(of_labels(Cases(rows=[]), rows(reference, variant), independent=True))
    assert found["label_agreement"] == accuracy_score(np.array(reference) > 0, np.array(variant) > 0) == 0.5


def test_similarities_are_ranked_as_scipy_ranks_them():
    from scipy.stats import spearmanr

    generator = np.random.default_rng(0)
    reference = generator.standard_normal((14, 4))
    variant = reference + 0.4 * generator.standard_normal((14, 4))
    pairs = [(0, 1, 5.0), (2, 3, 1.0), (4, 5, 3.0), (6, 7, 0.0)]
    cases = Cases(
        rows=[Case(texts=("",))] * 14, pairs=pairs, rankings=[Ranking(query=0, candidates=range(1, 14), right=3)]
    )
    found, beside = values(of_vectors(cases, rows(reference, variant), independent=False))

    def similar(vectors):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit @ unit.T

    at = tuple(np.array([[0, 2, 4, 6], [1, 3, 5, 7]]))
    one, other = similar(reference), similar(variant)
    grades = [grade for *_, grade in pairs]
    assert found["spearman"] == pytest.approx(spearmanr(one[at], other[at]).statistic)
    assert found["pair_spearman"] == pytest.approx(spearmanr(grades, other[at]).statistic)
    assert beside["pair_spearman"] == pytest.approx(spearmanr(grades, one[at]).statistic)
    nearest = [set(np.argsort(-side[0, 1:])[:10]) for side in (one, other)]
    assert found["top10_overlap"] == len(nearest[0] & nearest[1]) / 10
    assert found["row_cosine_min"] < found["row_cosine_mean"] < 1.0


def test_ranks_with_ties_are_those_of_scipy():
    from scipy.stats import spearmanr

    one, other = np.array([1.0, 2.0, 2.0, 4.0, 0.0]), np.array([3.0, 1.0, 4.0, 4.0, 0.0])
    assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic)


def test_a_right_passage_in_the_second_place_has_the_gain_of_the_formula():
    reference, variant = [[3.0], [1.0], [2.0]], [[2.0], [1.0], [3.0]]
    cases = Cases(rows=[Case(texts=("", ""))] * 3, rankings=[Ranking(candidates=(0, 1, 2), right=0)])
    found, beside = values(of_scores(cases, rows(reference, variant), independent=False))
    assert (found["ndcg"], beside["ndcg"]) == (pytest.approx(1 / np.log2(3)), 1.0)
    assert found["spearman"] == 0.5


def test_a_span_is_searched_in_the_context_only():
    encoded = Encoded(ids=[9, 1, 2, 3], segments=[0, 0, 1, 1], context=[False, False, True, True])
    logits = np.array([[9.0, 0.0, 1.0, 0.0], [0.0, 9.0, 0.0, 2.0]])
    assert best_span(logits, encoded) == (2, 3)


def test_an_end_is_never_before_its_start():
    encoded = Encoded(ids=[1, 2, 3], segments=[0] * 3, context=[True] * 3)
    assert best_span(np.array([[0.0, 0.0, 5.0], [5.0, 0.0, 1.0]]), encoded) == (2, 2)


class Words:
    """Ids are the places of words."""

    text = ("the", "tower", "was", "built", "in", "1871")

    def decode(self, ids, **_options):
        return " ".join(self.text[number] for number in ids)


def test_the_overlap_of_spans_and_of_answers_is_an_f1():
    encoded = Encoded(ids=range(6), segments=[0] * 6, context=[True] * 6)
    start, end = np.eye(6), np.eye(6)
    reference, variant = np.stack([start[4], end[5]]), np.stack([start[5], end[5]])
    cases = Cases(rows=[Case(texts=("when", " ".join(Words.text)), right="in 1871")])
    found, beside = values(of_spans(cases, rows([reference], [variant]), [encoded], Words()))
    assert found["span_agreement"] == 0.0
    assert found["span_f1"] == pytest.approx(2 / 3)  # one of two tokens: precision 1, recall 1/2
    assert (found["answer_f1"], beside["answer_f1"]) == (pytest.approx(2 / 3), 1.0)


NAMES = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "B-ORG"}


def test_entities_are_scored_as_seqeval_scores_them():
    from seqeval.metrics import f1_score

    right = ["B-PER", "I-PER", "O", "B-LOC"]
    reference, variant = [1, 2, 0, 3], [1, 0, 0, 3]
    encoded = Encoded(ids=range(5), segments=[0] * 5, words=[0, 1, 1, 2, 3])
    spread = [
        [tags[0], tags[1], 0, tags[2], tags[3]] for tags in (reference, variant)
    ]  # the second word has two tokens
    cases = Cases(rows=[Case(texts=("",), right=tuple(right))])
    found, beside = values(of_entities(cases, rows([spread[0]], [spread[1]]), [encoded], NAMES))
    actual = [NAMES[number] for number in variant]
    assert found["entity_agreement"] == f1_score([right], [actual]) == 0.5
    assert (found["entity_f1"], beside["entity_f1"]) == (f1_score([right], [actual]), 1.0)


def test_tokens_of_all_texts_count_alike():
    texts = [
        Tokens(count=3, agreeing=3, divergence=0.3, loss_reference=6.0, loss_variant=6.3),
        Tokens(count=1, agreeing=0, divergence=0.5, loss_reference=1.0, loss_variant=1.1),
    ]
    found, _ = values(of_language([Summary(reference=None, variant=one) for one in texts]))
    assert found["next_token_agreement"] == 0.75
    assert found["next_token_kl"] == pytest.approx(0.2)
    assert found["text_perplexity_ratio"] == pytest.approx(np.exp(7.4 / 4) / np.exp(7.0 / 4))


def test_greedy_tokens_count_up_to_the_first_that_differs():
    assert of_generated([[1, 2, 3, 4]], [[1, 2, 9, 4]]).value == 0.5
    assert of_generated([[1, 2]], [[1, 2, 3, 4]]).value == 0.5
    assert of_generated([[]], [[]]).value == 1.0


def test_texts_are_scored_as_sacrebleu_and_rouge_score_do():
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu import sentence_chrf

    right, text = "the house is small but warm", "the house is warm"
    assert chrf_of(text, right) == pytest.approx(sentence_chrf(text, [right]).score / 100)
    assert rouge_of(text, right) == RougeScorer(["rougeL"]).score(right, text)["rougeL"].fmeasure == 0.8
    assert rouge_of("我 想 喝 茶", "我 想 喝 水") == 0.75  # the library's own tokenizer sees no word here
    found, beside = values(of_texts([right], [text], [right]))
    assert (found["rouge_agreement"], found["rouge_l"], beside["rouge_l"], beside["chrf"]) == (0.8, 0.8, 1.0, 1.0)


def test_an_interval_is_that_of_scipy():
    from scipy.stats import bootstrap

    sample = np.random.default_rng(3).random(60)
    found = interval_of(mean_of("row_cosine_mean", sample), seed=5)
    wanted = bootstrap((sample,), np.mean, n_resamples=1999, method="BCa", rng=np.random.default_rng(5))
    assert found == pytest.approx(tuple(wanted.confidence_interval), abs=1e-9)
    assert found == interval_of(mean_of("row_cosine_mean", sample), seed=5)


def test_an_interval_of_two_sides_is_paired():
    """Rows that both sides find hard say nothing about the difference."""
    hard = np.random.default_rng(0).random(100) < 0.5
    changed = hard.copy()
    changed[:2] = ~changed[:2]
    one = both_sides("accuracy", changed, hard)
    paired, alone = interval_of(one, seed=0), interval_of(one, seed=0, absolute=True)
    assert paired[1] - paired[0] < (alone[1] - alone[0]) / 2
    assert alone[0] < one.value < alone[1]


def test_equal_rows_bound_a_share_exactly():
    """With 235 of 235, the exact interval ends at 0.025^(1/235)."""
    low, high = interval_of(mean_of("label_agreement", np.ones(235), is_share=True), seed=0)
    assert (low, high) == (pytest.approx(0.025 ** (1 / 235)), 1.0)
    assert interval_of(mean_of("row_cosine_mean", np.ones(9)), seed=0) == (1.0, 1.0)
    assert interval_of(mean_of("row_cosine_mean", [1.0]), seed=0) is None


def test_a_bound_inside_of_an_interval_is_undecided():
    one = mean_of("label_agreement", [1.0] * 95 + [0.0] * 5)
    found = undecided(one, 0.94, (0.90, 0.98))
    assert found.rows_needed == 2500  # the interval reaches five times too far
    assert found.message == (
        "`label_agreement` is 0.95, and 95% of such rows give 0.9 to 0.98: 100 rows do not decide the bound 0.94; "
        "about 2500 rows would decide it"
    )
    assert undecided(one, 0.85, (0.90, 0.98)) is None
    assert undecided(one, 0.95, (0.90, 0.98)).rows_needed is None


def test_there_are_rows_of_five_languages_for_every_kind():
    found = counts()
    assert sum(sum(by_language.values()) for by_language in found.values()) >= 200
    for kind in KINDS:
        assert set(found[kind]) == {"de", "en", "es", "fr", "zh"}
        assert max(found[kind], key=found[kind].get) == "en"
    assert len(set(all_texts())) == len(all_texts())


def test_every_row_has_what_its_kind_needs():
    assert {row["label"] for row in own_rows("reviews")} == {"positive", "negative", "neutral"}
    assert {row["score"] for row in own_rows("pairs")} == {0, 1, 2, 3, 4, 5}
    assert all(row["answer"] in row["context"] for row in own_rows("questions"))
    assert all(len(row["words"]) == len(row["tags"]) for row in own_rows("entities"))
    first = own_rows("entities")[0]
    assert (first["words"][:3], first["tags"][:3]) == (["Anna", "Keller", "moved"], ["B-PER", "I-PER", "O"])


@pytest.mark.parametrize("kind", ["labels", "vectors", "scores", "spans", "entities", "language"])
def test_every_kind_of_model_reads_at_least_two_hundred_rows(kind):
    assert len(own_cases(kind, {}).rows) >= 200


def test_a_review_has_a_label_only_if_the_model_has_it():
    three = {"id2label": {"0": "Negative", "1": "neutral", "2": "Positive"}}
    assert [sentiment_class(label, three) for label in ("positive", "neutral", "negative")] == [2, 1, 0]
    two = {"id2label": {"0": "NEGATIVE", "1": "POSITIVE"}}
    assert sentiment_class("neutral", two) is None
    assert sentiment_class("positive", {"id2label": {"0": "joy", "1": "anger"}}) is None
    known = [case.right for case in own_cases("labels", three).rows if case.right is not None]
    assert len(known) == len(own_rows("reviews"))


def test_words_have_no_case_and_no_punctuation():
    assert words_of("In 1871, at Ashford!") == ["in", "1871", "at", "ashford"]
    assert words_of("陈志明") == ["陈", "志", "明"]


def test_cosines_are_those_of_scikit_learn():
    from sklearn.metrics.pairwise import paired_cosine_distances

    reference, variant = [[1.0, 0.0], [1.0, 1.0], [3.0, 4.0]], [[1.0, 1.0], [1.0, 1.0], [4.0, 3.0]]
    found, _ = values(of_vectors(Cases(rows=[Case(texts=("",))] * 3), rows(reference, variant), independent=False))
    by_row = 1 - paired_cosine_distances(reference, variant)
    assert list(by_row) == pytest.approx([np.sqrt(0.5), 1.0, 0.96])
    assert found["row_cosine_mean"] == pytest.approx(by_row.mean())
    assert found["row_cosine_min"] == pytest.approx(by_row.min())


def test_ten_nearest_of_eleven_texts_by_hand():
    """The query points along the first axis; the variant exchanges its nearest and its farthest text."""
    angles = np.deg2rad(range(0, 96, 8))  # the query, then eleven texts
    reference = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    variant = reference.copy()
    variant[[1, 11]] = reference[[11, 1]]
    cases = Cases(rows=[Case(texts=("",))] * 12, rankings=[Ranking(query=0, candidates=range(1, 12), right=1)])
    found, _ = values(of_vectors(cases, rows(reference, variant), independent=False))
    assert found["top10_overlap"] == 0.9


def test_five_most_likely_labels_are_those_of_scikit_learn():
    from sklearn.metrics import accuracy_score, top_k_accuracy_score

    generator = np.random.default_rng(2)
    reference = generator.standard_normal((40, 8))
    variant = reference + generator.standard_normal((40, 8))
    right = generator.integers(0, 8, 40)
    cases = Cases(rows=[Case(texts=("",), right=int(one)) for one in right])
    found, beside = values(of_labels(cases, rows(reference, variant), independent=False))
    labels, wanted = range(8), reference.argmax(axis=1)
    assert found["top5_accuracy"] == top_k_accuracy_score(right, variant, k=5, labels=labels)
    assert beside["top5_accuracy"] == top_k_accuracy_score(right, reference, k=5, labels=labels)
    assert found["top5_agreement"] == top_k_accuracy_score(wanted, variant, k=5, labels=labels) < 1
    assert found["label_agreement"] == accuracy_score(wanted, variant.argmax(axis=1)) < found["top5_agreement"]


def test_five_of_five_labels_say_nothing():
    found, _ = values(of_labels(Cases(rows=[]), rows([[1.0, 0, 0, 0, 0]], [[0.0, 1, 0, 0, 0]]), independent=False))
    assert "top5_agreement" not in found


def test_losses_and_divergences_of_tokens_are_those_of_pytorch():
    """Padding on the left, as decoders have it: two tokens of the first row and three of the second are predicted."""
    torch = pytest.importorskip("torch")
    from torch.nn import functional

    from onnxbuild.workers.inputs.samples import Sample
    from onnxbuild.workers.validate.by_task.summaries import summaries

    generator = np.random.default_rng(6)
    ids, mask = np.array([[0, 3, 1, 4], [2, 4, 0, 1]]), np.array([[0, 1, 1, 1], [1, 1, 1, 1]])
    wanted, actual = (generator.standard_normal((2, 4, 5)).astype(np.float32) for _ in range(2))
    none = np.zeros((2, 0), np.int64)
    feeds = {"input_ids": ids, "attention_mask": mask}
    sample = Sample(label="", feeds=feeds, mask=mask, step_ids=none, decoder_ids=none, rows=2, tokens=7)
    found, _ = values(of_language(summaries("language", "prefill", sample, {"logits": wanted}, {"logits": actual})))

    real = [(0, 1, 1), (0, 2, 4), (1, 0, 4), (1, 1, 0), (1, 2, 1)]  # row, place, the token after it
    sides = [torch.tensor(np.stack([side[row, place] for row, place, _ in real])) for side in (wanted, actual)]
    targets = torch.tensor([token for *_, token in real])
    losses = [functional.cross_entropy(side, targets) for side in sides]
    divergence = functional.kl_div(
        sides[1].log_softmax(-1), sides[0].log_softmax(-1), reduction="batchmean", log_target=True
    )
    assert found["text_perplexity_ratio"] == pytest.approx(float(losses[1].exp() / losses[0].exp()), rel=1e-5)
    assert found["next_token_kl"] == pytest.approx(float(divergence), rel=1e-5)
    assert found["next_token_agreement"] == float((sides[0].argmax(-1) == sides[1].argmax(-1)).double().mean())


def test_one_label_is_judged_by_its_sign_and_the_logistic_function():
    from scipy.special import expit

    found, _ = values(of_labels(Cases(rows=[]), rows([[0.5], [-1.0]], [[-0.5], [-1.0]]), independent=False))
    assert found["label_agreement"] == 0.5
    assert found["row_probability_max"] == pytest.approx(expit(0.5) - expit(-0.5))
    assert found["mean_probability"] == pytest.approx((expit(0.5) - expit(-0.5)) / 2)
