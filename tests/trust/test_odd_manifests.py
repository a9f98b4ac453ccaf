"""Manifests and selectors that nobody would write: each is planned or refused, and a selector means what it says."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from ended_command import ended_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odd_manifests import BESIDE, BytesDice, Files, OddManifest, odd_selector

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.machine import Machine
from onnxbuild.manifest.load import read_manifest
from onnxbuild.planning.action_graph import Action, ActionGraph, OutputRef, Variant
from onnxbuild.planning.expand import survey
from onnxbuild.planning.locked import Lock
from onnxbuild.planning.select import named, select, variants_named
from onnxbuild.steps import KINDS

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=(), cores=2)
ANY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
_BYTES = 3000


def _world(tmp_path: Path, files: Files = BESIDE) -> None:
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("odd") / "a" / "b"
    made.mkdir(parents=True)
    _world(made)
    return made


@st.composite
def manifests(draw: st.DrawFn) -> Files:
    return OddManifest(draw(st.randoms(use_true_random=False))).files()


@ANY
@given(manifests(), st.sampled_from(["lint", "plan", "graph"]), st.randoms(use_true_random=False))
def test_an_odd_manifest_is_planned_or_refused(folder: Path, files: Files, command: str, dice: random.Random) -> None:
    _world(folder, files)
    selectors = [odd_selector(dice, ["m/t:fetch", "n-a/u:export"]) for _ in range(dice.choice([0, 0, 0, 1]))]
    code, printed = ended_in(folder, [command, "m.yaml", *(() if command == "lint" else selectors)])
    assert code in {0, 1, 2}, printed
    assert "internal error" not in printed
    assert "Traceback" not in printed


def test_many_odd_manifests_reach_the_end_of_the_expander(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the other tests would only see how faults of structure are refused."""
    monkeypatch.chdir(folder)
    graphs = []
    for number in range(40):
        _world(folder, OddManifest(BytesDice(random.Random(number).randbytes(_BYTES))).files())
        try:
            manifest, _ = read_manifest("m.yaml", kinds=KINDS)
        except DiagnosticError:
            continue
        graphs.append(survey(manifest, KINDS, Lock(), MACHINE).graph)
    kinds = {action.kind for graph in graphs for action in graph.actions.values()}
    assert len([graph for graph in graphs if graph.variants]) >= 10
    assert kinds >= {"fetch", "export", "optimize", "quantize", "validate"}


# -- selectors --------------------------------------------------------------------------------------------------------


def _graph() -> ActionGraph:
    """Three models of two targets, which share the fetch."""
    actions: dict[str, Action] = {}
    variants = []
    for model in ("m", "m-2", "n.x"):
        fetch = f"{model}:fetch"
        actions[fetch] = Action(id=fetch, kind="fetch", params={}, inputs={})
        for target in ("t", "t2"):
            name = f"{model}/{target}:quantize-2"
            actions[name] = Action(id=name, kind="quantize", params={}, inputs={"model": OutputRef(fetch, "model")})
            variants.append(
                Variant(model=model, target=target, output=OutputRef(name, "model"), precision="fp32",
                        steps=(fetch, name), checks=(), measures=())
            )  # fmt: skip
    return ActionGraph(actions, tuple(variants))


GRAPH = _graph()
NAMES = sorted(GRAPH.actions)


@st.composite
def selectors(draw: st.DrawFn) -> str:
    return odd_selector(draw(st.randoms(use_true_random=False)), NAMES)


def _named(*selectors: str) -> frozenset[str] | None:
    """What selectors name; None if one of them names nothing."""
    try:
        return named(GRAPH, selectors)
    except DiagnosticError:
        return None


@settings(max_examples=300, deadline=None)
@given(selectors())
def test_a_selector_names_actions_or_nothing(selector: str) -> None:
    found = _named(selector)
    variants_named(GRAPH, [selector])
    if found is None:
        return
    assert found
    chosen = select(GRAPH, [selector]).actions
    assert found <= chosen.keys() <= GRAPH.actions.keys()
    for action in chosen.values():  # what they need is with them
        assert {one.action for one in action.inputs.values()} <= chosen.keys()
    if selector[:1] != "+":
        assert _named(f"+{selector}") == found
    if selector[-1:] != "+":
        assert found <= (_named(f"{selector}+") or set())


@given(selectors(), selectors())
def test_selectors_add_up(one: str, other: str) -> None:
    both = _named(one, other)
    apart = [_named(one), _named(other)]
    assert both == (None if None in apart else frozenset().union(*filter(None, apart)))


@pytest.mark.parametrize("name", NAMES)
def test_the_name_of_an_action_selects_it(name: str) -> None:
    assert _named(name) == {name}
