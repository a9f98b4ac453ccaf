from __future__ import annotations

import math

import pytest

np = pytest.importorskip("numpy")
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra.numpy import array_shapes, arrays  # noqa: E402

from onnxbuild.workers.measuring import metrics  # noqa: E402

numbers = st.floats(-50, 50, width=32)
matrices = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=numbers)


@st.composite
def pairs(draw):
    """Two arrays of one shape."""
    first = draw(matrices)
    return first, draw(arrays(np.float32, first.shape, elements=numbers))


@given(matrices)
def test_a_model_agrees_with_itself(x):
    found = [getattr(metrics, name)(x, x.copy()) for name in ("max_abs", "mean_abs", "kl_mean", "max_probability")]
    assert found == [0.0, 0.0, 0.0, 0.0]
    assert metrics.top1(x, x) == 1.0
    assert metrics.cosine_min(x, x) == pytest.approx(1.0, abs=1e-5)


@given(pairs())
def test_every_metric_stays_in_its_range(pair):
    reference, variant = pair
    assert 0 <= metrics.mean_abs(reference, variant) <= metrics.max_abs(reference, variant) * (1 + 1e-5)
    assert -1 <= metrics.cosine_min(reference, variant) <= metrics.cosine_mean(reference, variant) + 1e-6
    assert metrics.cosine_mean(reference, variant) <= 1
    assert 0 <= metrics.top1(reference, variant) <= 1
    assert 0 <= metrics.max_probability(reference, variant) <= 1
    assert metrics.kl_mean(reference, variant) >= 0


@given(pairs(), st.floats(0.5, 20))
def test_a_cosine_does_not_see_length_and_a_distribution_no_shift(pair, amount):
    reference, variant = pair
    if np.linalg.norm(variant, axis=-1).min() > 1e-3:
        scaled = variant * np.float32(amount)
        assert metrics.cosines(reference, scaled) == pytest.approx(metrics.cosines(reference, variant), abs=1e-4)
    shifted = variant + np.float32(amount)
    assert metrics.kl_mean(reference, shifted) == pytest.approx(metrics.kl_mean(reference, variant), abs=1e-2, rel=1e-3)


@given(matrices)
def test_probabilities_sum_to_one(x):
    sums = metrics.probabilities(x).sum(axis=-1)
    expected = np.ones(len(x)) if x.shape[1] > 1 else metrics.probabilities(x)[:, 0]
    assert sums == pytest.approx(expected, abs=1e-5)


def test_values_by_hand():
    reference, variant = np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[4.0, 3.0], [1.0, 0.0]])
    assert metrics.max_abs(reference, variant) == 1.0
    assert metrics.mean_abs(reference, variant) == 0.5
    assert metrics.cosines(reference, variant).tolist() == pytest.approx([24 / 25, 1.0])
    assert metrics.cosine_mean(reference, variant) == pytest.approx(0.98)
    assert metrics.top1(reference, variant) == 0.5


def test_divergence_by_hand():
    reference, variant = np.log(np.array([[0.5, 0.5]])), np.log(np.array([[0.25, 0.75]]))
    assert metrics.kl_mean(reference, variant) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))


def test_perplexity_of_a_uniform_guess_is_the_size_of_the_vocabulary():
    losses = metrics.negative_log_likelihoods(np.zeros((3, 7)), np.array([0, 3, 6]))
    assert metrics.perplexity_ratio(np.zeros(3), losses) == pytest.approx(7.0)
    assert metrics.perplexity_ratio(losses, losses + math.log(1.02)) == pytest.approx(1.02)


def test_one_logit_decides_by_its_sign():
    assert metrics.top1(np.array([[2.0], [-1.0]]), np.array([[0.1], [1.0]])) == 0.5
    assert metrics.max_probability(np.array([[0.0]]), np.array([[100.0]])) == pytest.approx(0.5)


def test_zero_vectors_have_a_cosine():
    assert metrics.cosines(np.zeros((2, 2)), np.array([[0.0, 0.0], [1.0, 0.0]])).tolist() == [1.0, 0.0]
    assert metrics.cosines(np.array([[4e-28]]), np.array([[1.0]])) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("reference", "variant", "count"),
    [
        ([1.0, 2.0], [1.0, math.nan], 1),
        ([1.0, 2.0], [math.inf, math.nan], 2),
        ([-math.inf, 2.0], [-math.inf, 2.0], 0),  # both have this mask
        ([-math.inf, 2.0], [math.inf, 2.0], 1),
        ([-math.inf, 2.0], [0.0, 2.0], 0),
    ],
)
def test_numbers_that_are_none_are_counted(reference, variant, count):
    assert metrics.non_finite(np.array([reference]), np.array([variant])) == count


def test_top5_counts_rows_whose_label_is_among_five():
    """As scikit-learn's `top_k_accuracy_score` with the reference's labels; no two logits are equal."""
    scores = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    reference, variant = generator.standard_normal((40, 9)), generator.standard_normal((40, 9))
    wanted = scores.top_k_accuracy_score(reference.argmax(axis=1), variant, k=5, labels=range(9))
    assert metrics.top5(reference, variant) == wanted
    assert 0 < wanted < 1


@pytest.mark.parametrize(
    ("reference", "variant", "same"),
    [
        ([3.0, 3.00001, -1.0], [3.00001, 3.0, -1.0], 1.0),  # a tie in fp32
        ([3.0, 3.0001, -1.0], [3.0001, 3.0, -1.0], 0.0),
        ([-3.0, -3.00001, -3e38], [-3.00001, -3.0, -3e38], 1.0),  # a masked class hides nothing
        ([3.0, 2.0, -3e38], [2.0, 3.0, -3e38], 0.0),
        ([3.0, 2.0, -np.inf], [2.0, 3.0, -np.inf], 0.0),
        ([3.0, 2.0, -np.inf], [2.0, 1.0, 3.0], 0.0),
    ],
)
def test_two_largest_logits_that_differ_by_rounding_are_one_decision(reference, variant, same):
    assert metrics.top1(np.array([reference]), np.array([variant])) == same
