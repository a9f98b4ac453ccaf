"""Which variants selectors name: those are the rows of a table, others only share their steps."""

import pytest

from onnxbuild.planning.action_graph import ActionGraph, OutputRef, Variant
from onnxbuild.planning.select import variants_named


def variant(name, *steps):
    model, target = name.split("/")
    checks, measures = (f"{name}:validate",), (f"{name}:benchmark",)
    return Variant(
        model=model, target=target, output=OutputRef(steps[-1], "model"), precision="fp32", steps=steps, checks=checks,
        measures=measures,
    )  # fmt: skip


OTTER = ("otter:fetch", "otter:export")
GRAPH = ActionGraph(
    {},
    (
        variant("otter/fp32", *OTTER),
        variant("otter/o2", *OTTER, "otter/o2:optimize"),
        variant("otter/int8", *OTTER, "otter/o2:optimize", "otter/int8:quantize"),
        variant("owl/fp32", "owl:fetch", "owl:export"),
    ),
)


@pytest.mark.parametrize(
    ("selectors", "names"),
    [
        ([], ["otter/fp32", "otter/o2", "otter/int8", "owl/fp32"]),
        (["otter/int8"], ["otter/int8"]),
        (["otter"], ["otter/fp32", "otter/o2", "otter/int8"]),
        (["+otter/int8:quantize"], ["otter/int8"]),
        ([":quantize"], ["otter/int8"]),
        (["*/fp32", "otter/o2"], ["otter/fp32", "otter/o2", "owl/fp32"]),
        (["otter/o2:optimize+"], ["otter/o2", "otter/int8"]),
        (["otter/int8:optimize"], ["otter/int8"]),
    ],
)
def test_the_variants_that_selectors_name(selectors, names):
    assert [one.name for one in variants_named(GRAPH, selectors)] == names
