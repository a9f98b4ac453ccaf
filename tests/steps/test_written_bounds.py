"""Bounds that are written as text."""

import pytest

from onnxbuild.tables.bounds.written_bound import WrittenBound, written_bound


@pytest.mark.parametrize(
    ("text", "reference", "limit"),
    [
        (">= fp32 - 0.01", 0.9, 0.89),
        (">=fp32-1%", 0.9, 0.891),
        ("<= fp32 + 5%", 2.0, 2.1),
        (">= fp32", 0.9, 0.9),
        (">= fp32 - 1e-3", 0.5, 0.499),
        ("<= 0.25", None, 0.25),
        (">= -0.5", None, -0.5),
        (">= fp32 - 0.01", None, None),
    ],
)
def test_a_text_is_a_limit(text, reference, limit):
    found = written_bound(text).limit(reference)
    assert found == (None if limit is None else pytest.approx(limit))


@pytest.mark.parametrize(
    "text", ["", "0.9", "fp32 - 0.01", "> 0.9", ">= fp16", ">= fp32 - ", ">= fp32 * 2", ">= 0.9 - fp32", ">= nan"]
)
def test_other_texts_are_no_bounds(text):
    assert written_bound(text) is None


def test_the_sign_is_the_side():
    assert written_bound(">= 0.9") == WrittenBound("min", 0.9)
    assert written_bound("<= fp32 + 2%") == WrittenBound("max", 0.02, is_relative=True, is_share=True)
