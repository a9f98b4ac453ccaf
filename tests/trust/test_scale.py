"""Large and deep inputs: no recursion over the length of a chain, and nothing that grows with the square of a count."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from toys import TOYS, Bench, InlineRunner, graph_of, step

from onnxbuild.execute.events import Outcome, Reason
from onnxbuild.execute.preview import preview
from onnxbuild.planning.action_graph import Action, ActionGraph, FilesSource, OutputRef, Variant
from onnxbuild.planning.select import select, variants_named
from onnxbuild.report.drawing.graph_layout import layout
from onnxbuild.report.result.profile import critical_path
from onnxbuild.report.result.reasons import why
from onnxbuild.store.store import Store

LONG = 1200  # more than the recursion limit of Python
BUILT = 300  # more than the limit that `shallow` sets: a thousand real files would take long


def chain(length: int = LONG) -> tuple[Action, ...]:
    first = step("a0", text="x")
    return (first, *(step(f"a{number}", of=f"a{number - 1}", text=str(number)) for number in range(1, length)))


@contextlib.contextmanager
def shallow() -> Iterator[None]:
    """A recursion limit that is soon reached."""
    before, depth = sys.getrecursionlimit(), len(inspect.stack(0))
    sys.setrecursionlimit(depth + 200)
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def calls_of(work: Callable[[], object]) -> int:
    """How many calls of Python and C functions some work makes: unlike its time, always the same."""
    count = 0

    def counted(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def assert_linear(work: Callable[[int], Callable[[], object]], size: int = 100) -> None:
    """Four times the size makes at most six times the calls; the square would be sixteen times."""
    work(10)()  # imports and caches
    few, many = calls_of(work(size)), calls_of(work(4 * size))
    assert many < 6 * few, f"{few} calls for {size}, {many} for {4 * size}"


def changed_chain(length: int = LONG) -> tuple[ActionGraph, dict[str, Outcome]]:
    """A chain in which a changed source moves every action."""
    graph = graph_of(*chain(length))
    moved = (Reason("inputs.in0", "a", "b"),)
    first = Outcome(id="a0", kind="cat", outcome="run", reasons=(Reason("params.text", "w", "x"),), seconds=1.0)
    others = [Outcome(id=name, kind="cat", outcome="run", reasons=moved, seconds=1.0) for name in graph.actions]
    return graph, {one.id: one for one in [*others, first]}


def test_a_chain_longer_than_the_recursion_limit_is_built_and_then_up_to_date(build: Bench) -> None:
    with shallow():
        assert set(build(*chain(BUILT)).values()) == {"built"}
        assert set(build(*chain(BUILT)).values()) == {"hit"}


def test_a_failure_blocks_a_chain_longer_than_the_recursion_limit(build: Bench) -> None:
    outcomes = build(step("a0", fail=True), *chain()[1:])
    assert outcomes.pop("a0") == "failed"
    assert set(outcomes.values()) == {"blocked"}


def test_a_plan_of_a_long_chain_has_reasons(build: Bench) -> None:
    build(*chain(5))
    changed = (step("a0", text="y"), *chain(LONG)[1:])
    with Store(build.root / "store") as store:
        found = list(preview(graph_of(*changed), kinds=TOYS, store=store, runner=InlineRunner(), scope="test"))
    assert {one.outcome for one in found} == {"run"}
    outcomes = {one.id: one for one in found}
    assert why(outcomes["a4"], graph_of(*changed), outcomes) == (
        "input `in0` changed (cat will be rebuilt: params.text: x → y)",
    )


def test_the_reason_at_the_end_of_a_long_chain_is_found() -> None:
    graph, outcomes = changed_chain()
    assert why(outcomes[f"a{LONG - 1}"], graph, outcomes) == (
        "input `in0` changed (cat will be rebuilt: params.text: w → x)",
    )


def test_a_reason_follows_the_input_that_ran() -> None:
    """The first need did not run, and what ran has no reason of its own: its first reason is given."""
    files = FilesSource("/models", ("file",))
    graph = graph_of(step("a"), step("b", files=files), step("c", of=["a", "b"]), step("d", of="c"))
    moved = (Reason("inputs.in0", "a", "b"),)
    outcomes = {
        "a": Outcome(id="a", kind="cat", outcome="hit"),
        "b": Outcome(id="b", kind="cat", outcome="built", reasons=(Reason("inputs.files", "a", "b"),)),
        "c": Outcome(id="c", kind="cat", outcome="built", reasons=moved),
        "d": Outcome(id="d", kind="cat", outcome="built", reasons=moved),
    }
    assert why(outcomes["d"], graph, outcomes) == ("input `in0` changed (cat was rebuilt: input `files` changed)",)
    hits = {**outcomes, "c": Outcome(id="c", kind="cat", outcome="hit")}
    assert why(outcomes["d"], graph, hits) == ("input `in0` changed",)


def test_a_long_chain_is_selected_and_drawn() -> None:
    graph, outcomes = changed_chain()
    assert len(select(graph, [f"a{LONG - 1}"]).actions) == LONG
    assert len(select(graph, ["a0+"]).actions) == LONG
    assert len(critical_path(graph, outcomes)) == LONG
    assert len(layout(graph).boxes()) == LONG


def fan(targets: int) -> ActionGraph:
    """One model with many targets: a fetch, and a step for each target."""
    actions = {"m:fetch": Action(id="m:fetch", kind="fetch", params={}, inputs={})}
    variants = []
    for number in range(targets):
        name = f"m/t{number}:toy"
        actions[name] = Action(id=name, kind="toy", params={}, inputs={"model": OutputRef("m:fetch", "model")})
        output = OutputRef(name, "model")
        variants.append(
            Variant(model="m", target=f"t{number}", output=output, precision="fp32", steps=("m:fetch", name),
                    checks=(), measures=())
        )  # fmt: skip
    return ActionGraph(actions, tuple(variants))


@pytest.mark.parametrize(
    "work",
    [
        lambda graph: select(graph, ["m"]),
        lambda graph: select(graph, ["m:fetch+"]),
        lambda graph: variants_named(graph, ["m"]),
        lambda graph: graph.only(frozenset(graph.actions)),
        layout,
    ],
    ids=["needs", "dependents", "variants", "only", "layout"],
)
def test_many_targets_of_one_model_take_linear_time(work: Callable[[ActionGraph], object]) -> None:
    def worked(targets: int) -> Callable[[], object]:
        graph = fan(targets)
        return lambda: work(graph)

    assert_linear(worked)


def test_a_long_chain_is_selected_in_linear_time() -> None:
    def selected(length: int) -> Callable[[], object]:
        graph = graph_of(*chain(length))
        return lambda: (select(graph, ["a*"]), select(graph, ["a*+"]))

    assert_linear(selected)


def test_a_run_over_many_actions_takes_linear_time(tmp_path: Path) -> None:
    def world(count: int) -> Callable[[], object]:
        bench = Bench(tmp_path / str(count))
        actions = (step("a"), *(step(f"b{number}", of="a", text=str(number)) for number in range(count)))
        bench(*actions)
        return lambda: bench(*actions)

    assert_linear(world, 40)


def test_an_output_deeper_than_the_recursion_limit_is_one_failed_action(tmp_path: Path) -> None:
    def deep(params: object, inputs: object, outputs: dict[str, Path], tell: object) -> dict[str, object]:
        place = outputs["out"]
        for _ in range(1100):
            place = place / "d"
            place.mkdir()
        (place / "text").write_text("deep")
        return {}

    bench = Bench(tmp_path, InlineRunner({"count": deep}))
    outcomes = bench.outcomes(step("a", "count"), step("b", of="a"))
    assert outcomes["a"].failure is not None
    assert outcomes["a"].failure.code == "OBE64"  # names in the store have at most 1,024 bytes
    assert outcomes["b"].outcome == "blocked"
    assert not list((tmp_path / "store" / "work").iterdir())
