"""The error of a tensor over rows, and the groups in which tensors are computed."""

from __future__ import annotations

import math

import pytest

np = pytest.importorskip("numpy")

from onnxbuild.workers.blame.differences import Differences, groups, root  # noqa: E402


def error_of(*rows):
    differences = Differences()
    for before, after in rows:
        differences.add("t", np.asarray(before, np.float32), np.asarray(after, np.float32))
    return differences.relative()["t"]


def test_the_error_is_taken_over_all_rows_whatever_their_lengths():
    # Squares: 1 + 0 of the differences, 9 + 16 of the values.
    assert error_of(([[3.0]], [[2.0]]), ([4.0, 0.0, 0.0], [4.0, 0.0, 0.0])) == pytest.approx(1 / 5)


def test_the_amount_is_that_of_a_value():
    differences = Differences()
    differences.add("t", np.zeros((2, 3)), np.full((2, 3), 0.25))
    differences.add("t", np.ones(2), np.ones(2))
    differences.add("u", np.ones(1), np.full(1, np.nan))
    assert differences.absolute() == {"t": pytest.approx(0.25 * (6 / 8) ** 0.5), "u": math.inf}


def test_equal_values_have_no_error():
    assert error_of(([0.0, 0.0], [0.0, 0.0])) == 0.0
    assert error_of(([], [])) == 0.0


def test_a_mask_does_not_count():
    lowest = float(np.finfo(np.float32).min)
    assert error_of(([3.0, 4.0, lowest, -math.inf], [3.0, 4.5, -65504.0, 0.0])) == pytest.approx(0.5 / 5)


@pytest.mark.parametrize("wrong", [math.inf, -math.inf, math.nan])
def test_a_value_that_is_no_longer_finite_is_an_infinite_error(wrong):
    assert error_of(([1.0, 2.0], [1.0, wrong])) == math.inf


def test_a_value_where_there_was_none_is_an_infinite_error():
    assert error_of(([0.0], [0.001])) == math.inf
    assert root(0.0, 0.0) == 0.0


def test_half_precision_does_not_overflow():
    before = np.full(5, 60000.0, np.float16)
    differences = Differences()
    differences.add("t", before, before - np.float16(6016.0))
    assert differences.relative()["t"] == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize(
    ("sizes", "budget", "expected"),
    [
        ({}, 5, []),
        ({"a": 2, "b": 3, "c": 1}, 5, [["a", "b"], ["c"]]),
        ({"a": 9, "b": 1}, 5, [["a"], ["b"]]),
        ({"a": 1, "b": 9, "c": 0, "d": 5}, 5, [["a"], ["b"], ["c", "d"]]),
        ({"a": 0, "b": 0}, 0, [["a", "b"]]),
    ],
)
def test_tensors_are_computed_in_groups_of_a_limited_size(sizes, budget, expected):
    assert list(groups(sizes, budget)) == expected
