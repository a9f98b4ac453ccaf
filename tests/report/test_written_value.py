"""What a manifest says of a param, read at the place of its step."""

from __future__ import annotations

import pytest

from onnxbuild.diagnostics import Source, Span
from onnxbuild.report.written_value import written_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("int8: {quantize: {method: dynamic, smooth: off}}", "off"),
        ("int8: {quantize: {smooth: 'off', bits: 8}}", "off"),
        ("int8: {quantize: {bits: 8}, other: {smooth: off}}", None),
        ("int8: {quantize: {modules: {a: {smooth: 0.5}}, smooth: off}}", "off"),
        ("int8: {quantize: {modules: {a: {smooth: 0.5}}}}", None),
        ("int8: {quantize: int8}\nother: {smooth: off}", None),
        ("int8:\n  quantize:\n    bits: 8\n    smooth: off # slow\n  precision: fp16", "off"),
        ("int8:\n  quantize:\n    modules:\n      smooth: 0.5\n  smooth: on", None),
        ("int8:\n  quantize: {\n    smooth: off}\n", "off"),
    ],
)
def test_a_param_is_that_of_its_own_step(text: str, value: str | None) -> None:
    before = text.partition("quantize")[0]
    at = Span(Source("m.yaml", text), before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1, 8)
    assert written_value(at, "smooth") == value
