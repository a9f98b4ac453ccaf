"""Actions that only a model's best variant gets: what a plan begins with, and how the choice extends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.planning.best_only import begun, extended, with_asked
from onnxbuild.planning.expand import expand
from onnxbuild.planning.locked import Lock
from onnxbuild.planning.select import select
from onnxbuild.steps import KINDS

MANIFEST = """
onnxbuild: 1
targets: {{fp32: {{}}, int8: {{quantize: int8}}, off: {{optimize: O1, tune: false}}}}
models:
  m:
    source: random:bert
    task: text-classification
    targets: [fp32, int8, off]
    select: {{minimize: size_mb}}
    tune: {tune}
"""
MACHINE = Machine(cpu="Toy", architecture="x86_64", flags=(), cores=2)


def graph_of(folder: Path, tune: str = "best") -> ActionGraph:
    path = folder / "m.yaml"
    path.write_text(MANIFEST.format(tune=tune))
    return expand(load_manifest(str(path), kinds=KINDS), KINDS, Lock(), MACHINE)


def tuned(graph: ActionGraph) -> set[str]:
    return {name for name, action in graph.actions.items() if action.kind == "tune"}


@pytest.mark.parametrize("tune", ["best", "{only: best, batch: [2]}"])
def test_a_plan_begins_without_what_waits_for_the_choice(tmp_path: Path, tune: str) -> None:
    whole = graph_of(tmp_path, tune)
    assert {variant.target: variant.if_best for variant in whole.variants} == {
        "fp32": ("m/fp32:tune",), "int8": ("m/int8:tune",), "off": (),
    }  # fmt: skip
    assert all(not name.endswith(":tune") for variant in whole.variants for name in variant.measures)
    start = begun(whole)
    assert (tuned(whole), tuned(start)) == ({"m/fp32:tune", "m/int8:tune"}, set())
    assert start.choices == whole.choices
    assert tuned(begun(select(whole, ["m/int8"]))) == set()


def test_the_choice_adds_the_step_of_the_best_variant_alone(tmp_path: Path) -> None:
    whole = graph_of(tmp_path)
    graph, more = extended(begun(whole), whole, {"m/int8"})
    assert tuned(graph) == {"m/int8:tune"}
    assert [one.measures for one in graph.variants] == [(), ("m/int8:tune",), ()]
    assert [one.measures for one in more.variants] == [(), ("m/int8:tune",), ()]
    start = begun(whole)
    for best in (set(), {"m/off"}):
        assert extended(start, whole, best) == (start, whole)


def test_a_selector_that_names_the_step_asks_for_it_in_any_variant(tmp_path: Path) -> None:
    whole = graph_of(tmp_path)
    assert tuned(begun(select(with_asked(whole, ["m/fp32:tune"]), ["m/fp32:tune"]))) == {"m/fp32:tune"}
    assert tuned(begun(select(with_asked(whole, [":tune"]), [":tune"]))) == {"m/fp32:tune", "m/int8:tune"}
    assert with_asked(whole, ["m"]) is whole


def test_a_variant_is_tuned_alike_whether_or_not_others_are(tmp_path: Path) -> None:
    """So its result is found again if `tune: best` becomes `tune: {}`."""
    only, every = graph_of(tmp_path), graph_of(tmp_path, "{}")
    for name in ("m/fp32:tune", "m/int8:tune"):
        assert structs.replace(only.actions[name], span=None) == structs.replace(every.actions[name], span=None)
