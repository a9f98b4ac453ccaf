"""The choice of a model's best variant: which one, and what its folder is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from msgspec import structs
from outs import Outs
from plugin.world import World

from onnxbuild.deliver.best_variant import CandidateRow, choice_rows, choose, chosen_variants, figures_of, in_words
from onnxbuild.deliver.out_folder import deliver
from onnxbuild.deliver.variant_rows import Metric, Row, rows
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph, OutputRef, Variant
from onnxbuild.store.store import Store
from onnxbuild.tables.choices import FIGURES, Choice, better, condition
from onnxbuild.tables.regressions import FIGURES as BOUNDED


def variant(target: str) -> Variant:
    return Variant(
        model="m", target=target, output=OutputRef(f"m/{target}:toy", "out"), precision="fp32",
        steps=(f"m/{target}:toy",), checks=(), measures=(),
    )  # fmt: skip


def row(target: str, **fields: object) -> tuple[Variant, Row]:
    cosine = Metric(value=fields.pop("cosine", 1.0))  # type: ignore[arg-type]
    return variant(target), Row(name=f"m/{target}", metrics={"cosine_mean": cosine}, **fields)  # type: ignore[arg-type]


def choice(figure: str = "latency.p50", *, largest: bool = False, **conditions: str) -> Choice:
    read = [condition(name, text) for name, text in conditions.items()]
    return Choice("m", figure, largest, tuple(one for one in read if one), ("a", "b", "c"))


ROWS = [
    row("a", latency_ms=20.0, size_bytes=90_000_000),
    row("b", latency_ms=5.0, size_bytes=23_000_000, cosine=0.97),
    row("c", latency_ms=7.0, size_bytes=54_000_000, cosine=0.99),
]


def best(one: Choice) -> str | None:
    chosen = choose(one, ROWS)
    return chosen.best.variant.target if chosen.best else None


def test_the_smallest_wins_among_those_that_fulfil_all_conditions() -> None:
    assert best(choice()) == "b"
    assert best(choice(cosine_mean=">= 0.99")) == "c"
    assert best(choice(cosine_mean="> 0.99")) == "a"
    assert best(choice(cosine_mean=">= 0.9", size_mb="<= 23")) == "b"
    assert best(choice(size_mb="< 23")) is None
    assert best(choice("size_mb", largest=True, **{"latency.p50": "<= 1e1"})) == "c"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"state": "prepared"}, "it is only prepared"),
        ({"state": "prepared, verified on host double of Chip 100"}, "it is only prepared"),
        ({"state": "prepared", "skipped": "needs chipc"}, "skipped: needs chipc"),
        ({"state": "compiled", "skipped": "needs chiprun"}, "skipped: needs chiprun"),
    ],
)
def test_what_is_only_prepared_or_was_not_checked_is_not_chosen(fields: dict[str, str], reason: str) -> None:
    smallest = row("b", size_bytes=1, **fields)
    chosen = choose(choice("size_mb"), [ROWS[0], smallest])
    assert chosen.best is not None
    assert chosen.best.variant.target == "a"
    assert set(chosen.as_json()["among"]) == {"a"}
    alone = choose(choice("size_mb"), [smallest])
    assert in_words(alone) == f"no variant of `m` can be the best: `b` ({reason})"
    assert choose(choice("size_mb"), [row("b", size_bytes=1, state="compiled")]).best is not None


def test_a_choice_names_the_variants_that_were_measured_beside_other_programs() -> None:
    among = [ROWS[0], row("b", latency_ms=5.0, size_bytes=23_000_000, contended=True), ROWS[2]]
    assert in_words(choose(choice(), among)) == (
        "best of m: b, the smallest latency.p50 (5); measured while other programs used the cores: b"
    )
    slow = [ROWS[0], row("b", latency_ms=50.0, contended=True)]
    chosen = choose(choice("size_mb", **{"latency.p50": "< 60"}), slow)
    assert in_words(chosen).endswith("(90) where latency.p50 < 60; measured while other programs used the cores: b")
    assert [chosen.is_contended(one) for one in chosen.candidates] == [False, True]
    assert "measured while" not in in_words(choose(choice("size_mb"), among))  # a size is the same in any case


def test_what_an_emulator_takes_is_no_time_of_the_variant() -> None:
    found = {}
    for place in ("emulator", "host double", "device"):
        facts = {"headline": {"p50_ms": 7.0, "speedup": 3.0}, "executed_on": {"place": place, "name": "HTP"}}
        outcome = Outcome(id="m/a:benchmark", kind="benchmark", outcome="hit", facts=facts)
        measured = structs.replace(variant("a"), measures=("m/a:benchmark",))
        (one,) = rows(ActionGraph({}, (measured,)), {"m/a:benchmark": outcome})
        found[place] = (one.latency_ms, one.speedup)
    assert found == {"emulator": (None, None), "host double": (None, None), "device": (7.0, 3.0)}


def test_the_largest_throughput_wins_that_is_the_fastest_setting_of_the_first_texts() -> None:
    best = [
        {"engine": "torch", "longer_than": 0, "texts_per_second": 500.0},
        {"engine": "onnxruntime", "longer_than": 0, "texts_per_second": 190.0},
        {"engine": "onnxruntime", "longer_than": 80, "texts_per_second": 70.0},
    ]
    outcome = Outcome(
        id="m/a:benchmark", kind="benchmark", outcome="hit", facts={"throughput": {"best": best}, "headline": {}}
    )
    measured = structs.replace(variant("a"), measures=("m/a:benchmark",))
    (found,) = rows(ActionGraph({}, (measured,)), {"m/a:benchmark": outcome})
    assert found.texts_per_second == 190.0
    chosen = choose(choice("throughput", largest=True), [(measured, found), row("b", texts_per_second=200.0)])
    assert in_words(chosen) == "best of m: b, the largest throughput (200)"


def test_every_figure_of_a_choice_and_of_a_bound_is_better_the_same_way() -> None:
    assert {name: better(name) for name in FIGURES if name in BOUNDED} == {
        name: way for name, way in BOUNDED.items() if name in FIGURES
    }
    assert {name for name in FIGURES if better(name) == "less"} & {"throughput", "speedup", "accuracy"} == set()


def test_of_equal_ones_the_first_in_the_manifest_wins() -> None:
    rows = [row("a", latency_ms=5.0), row("b", latency_ms=5.0)]
    chosen = choose(choice(), rows)
    assert chosen.best is not None
    assert chosen.best.variant.target == "a"


def test_what_was_not_measured_fulfils_nothing() -> None:
    chosen = choose(choice(speedup=">= 1"), ROWS)
    assert in_words(chosen) == "no variant of `m` can be the best: `a` (no speedup); `b` (no speedup); `c` (no speedup)"
    assert choose(choice("first_token"), ROWS).best is None
    nan = [row("a", latency_ms=1.0, cosine=float("nan")), row("b", latency_ms=2.0)]
    found = choose(choice(cosine_mean=">= 0"), nan).best
    assert found is not None
    assert found.variant.target == "b"


def test_the_words_name_the_figure_and_the_conditions() -> None:
    words = in_words(choose(choice(cosine_mean=">= 0.99"), ROWS))
    assert words == "best of m: c, the smallest latency.p50 (7) where cosine_mean >= 0.99"
    words = in_words(choose(choice(cosine_mean=">= 1.5"), ROWS[1:]))
    assert words == "no variant of `m` can be the best: `b` (cosine_mean is 0.97, not >= 1.5); `c` (cosine_mean is 0.99, not >= 1.5)"  # fmt: skip  # noqa: E501


def test_a_broken_bound_is_shown_with_the_digits_that_tell() -> None:
    near = row("b", size_bytes=1, cosine=0.9999853)
    words = in_words(choose(choice(cosine_mean=">= 0.99999", size_mb="<= 50"), [near]))
    assert words == "no variant of `m` can be the best: `b` (cosine_mean is 0.999985, not >= 0.99999)"
    bound = condition("cosine_mean", "> 0.99999995")
    assert bound is not None
    assert (str(bound), bound.beside(0.99999994999)) == ("cosine_mean > 0.99999995", "0.9999999")
    assert str(condition("size_mb", "<= 50")) == "size_mb <= 50"


def test_the_figures_are_those_that_were_measured() -> None:
    assert figures_of(ROWS[1][1]) == {"size_mb": 23.0, "latency.p50": 5.0, "cosine_mean": 0.97}


@pytest.mark.parametrize("text", ["0.99", "= 1", ">=", ">= x", "=> 1", ">= 1 2", ""])
def test_anything_else_is_no_condition(text: str) -> None:
    assert condition("top1", text) is None


@pytest.mark.parametrize("text", [">= 0.99", "<=1e-3", "> -.5", "<  3."])
def test_a_condition_is_an_operator_and_a_number(text: str) -> None:
    assert condition("top1", text) is not None


def built(outs: Outs, store: Store, sizes: dict[str, int], one: Choice) -> tuple[ActionGraph, dict]:
    actions, variants, outcomes = {}, [], {}
    for target, size in sizes.items():
        graph, ended = outs.published(store, {"model.onnx": target.encode() * size}, target)
        actions |= graph.actions
        variants += graph.variants
        outcomes |= {name: structs.replace(outcome, facts={"bytes": size}) for name, outcome in ended.items()}
    return ActionGraph(actions, tuple(variants), choices=(one,)), outcomes


def test_its_folder_is_a_copy_that_says_how_it_was_chosen(outs: Outs) -> None:
    one = Choice("m", "size_mb", False, (), ("a", "b"))
    with Store(outs.root / "store") as store:
        graph, outcomes = built(outs, store, {"a": 300, "b": 20}, one)
        assert [delivery.variant for delivery in deliver(graph, outcomes, store, outs.out)] == ["m/a", "m/b", "m/best"]
        folder = outs.out / "m" / "best"
        assert (folder / "model.onnx").read_bytes() == b"b" * 20
        described = json.loads((folder / "onnxbuild.json").read_text())
        assert (described["target"], described["chosen"]["target"]) == ("best", "b")
        assert described["chosen"]["among"] == {"a": {"size_mb": 0.0003}, "b": {"size_mb": 0.00002}}
        again = deliver(graph, outcomes, store, outs.out)[-1]
        assert (again.state, again.variant) == ("intact", "m/best")


def test_it_waits_for_a_run_that_measures_all(outs: Outs) -> None:
    one = Choice("m", "size_mb", False, (), ("a", "b"))
    with Store(outs.root / "store") as store:
        graph, outcomes = built(outs, store, {"a": 300, "b": 20}, one)
        failed = outcomes | {"m/a:toy": structs.replace(outcomes["m/a:toy"], outcome="failed")}
        assert list(chosen_variants(graph, failed)) == []
        assert [delivery.variant for delivery in deliver(graph, failed, store, outs.out)] == ["m/a", "m/b"]
        assert graph.only(frozenset({"m/b:toy"})).choices == ()
        assert graph.only(frozenset(graph.actions)).choices == (one,)


def test_a_report_shows_the_choice_its_figures_and_its_bounds(outs: Outs) -> None:
    (bound,) = filter(None, [condition("size_mb", "<= 0.0002")])
    one = Choice("m", "size_mb", True, (bound,), ("a", "b", "c"))
    with Store(outs.root / "store") as store:
        graph, outcomes = built(outs, store, {"a": 300, "b": 20, "c": 110}, one)
    (shown,) = choice_rows(graph, outcomes)
    assert (shown.goal, shown.subject_to, shown.best) == ("largest size_mb", ("size_mb <= 0.0002",), "c")
    assert shown.text == "best of m: c, the largest size_mb (0.00011) where size_mb <= 0.0002"
    assert shown.candidates == (
        CandidateRow(target="a", figures={"size_mb": 0.0003}, excluded="size_mb is 0.0003, not <= 0.0002"),
        CandidateRow(target="b", figures={"size_mb": 0.00002}),
        CandidateRow(target="c", figures={"size_mb": 0.00011}),
    )
    failed = outcomes | {"m/a:toy": structs.replace(outcomes["m/a:toy"], outcome="failed")}
    (waiting,) = choice_rows(graph, failed)
    assert (waiting.best, waiting.waits_for, waiting.candidates) == (None, ("m/a",), ())
    assert waiting.text == "best of m: not chosen, because not every action of `m/a` has a result"


def test_a_choice_that_nothing_fulfils_fails_and_keeps_the_last_folder(outs: Outs) -> None:
    one = Choice("m", "size_mb", False, (), ("a", "b"))
    with Store(outs.root / "store") as store:
        graph, outcomes = built(outs, store, {"a": 300, "b": 20}, one)
        deliver(graph, outcomes, store, outs.out)
        (bound,) = filter(None, [condition("size_mb", "<= 0.00001")])
        graph = structs.replace(graph, choices=(structs.replace(one, conditions=(bound,)),))
        last = deliver(graph, outcomes, store, outs.out)[-1]
        assert last.state == "failed"
        assert last.error is not None
        assert last.error.startswith("no variant of `m` can be the best: `a` (size_mb is 0.0003, not <= 1e-05)")
        assert (outs.out / "m" / "best" / "model.onnx").exists()


def test_a_run_chooses_and_the_next_one_does_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    steps: dict = {"plain": [], "longer": [{"text": "1"}]}
    world.manifest(steps, select={"minimize": "size_mb"})
    done = world.run()
    assert (done.code, "best of m: plain, the smallest size_mb (0.012)" in done.out) == (0, True), done
    folder = world.root / "out" / "m" / "best"
    assert json.loads((folder / "onnxbuild.json").read_text())["chosen"]["target"] == "plain"
    again = world.run()
    assert "up to date: " in again.out
    assert "best of m: plain" in again.out
    assert "\nbest of m: plain, the smallest size_mb (0.012)\n" in world.run(verb="status").out
    (shown,) = json.loads(world.run("--format", "json", verb="status").out)["choices"]
    assert (shown["best"], shown["goal"]) == ("plain", "smallest size_mb")
    assert "- best of m: plain" in world.run("--format", "markdown", verb="report").out
    (folder / "model.onnx").write_bytes(b"edited")
    repaired = world.run()
    assert "best/ had been edited (`model.onnx`): restored from the store" in repaired.err
    world.manifest(steps)
    assert "no longer names out/m/best/" in world.run().err
    assert world.run("--prune").code == 0
    assert not folder.exists()


def test_a_run_without_a_best_variant_ends_as_a_failure(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.manifest({"plain": []}, select={"minimize": "size_mb", "subject_to": {"size_mb": "<= 0.001"}})
    assert world.run().code == 1
    again = world.run()
    assert again.code == 1
    assert "could not be written" not in again.err
    assert again.out.endswith("\nup to date: 1 action\nfailed: out/m/best/ could not be written\n")
    assert (
        "\nOBE260 m/best failed: no variant of `m` can be the best: `plain` (size_mb is 0.012, not <= 0.001)\n"
        in again.out
    )
    assert "= hint: relax a bound below `subject_to`, or add a target that fulfils all of them\n" in again.out
    assert "--> manifest.yaml:" in again.out
    assert world.run("--quiet").out.endswith("\nfailed: out/m/best/ could not be written\n")
    served = world.run("m", verb="serve")
    assert served.code == 2
    assert "OB741 no model was delivered to `out/m/best`: no variant of `m` can be the best: `plain` (" in served.err
    assert "or name a target: m/TARGET" in served.err


def test_a_part_of_the_variants_leaves_the_last_choice(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.manifest({"plain": [], "longer": [{"text": "1"}]}, select={"minimize": "size_mb"})
    assert world.run("m/plain").code == 0
    assert not (world.root / "out" / "m" / "best").exists()
    assert world.run().code == 0
    assert world.run("m/plain").code == 0
    assert (world.root / "out" / "m" / "best").exists()


@pytest.mark.parametrize("first", ["latency", "other"])
@pytest.mark.parametrize("largest", [False, True])
def test_what_is_no_number_is_never_the_best(first: str, largest: bool) -> None:  # noqa: FBT001
    rows = [row("a", latency_ms=math.nan), row("b", latency_ms=5.0), row("c", latency_ms=5.0)]
    chosen = choose(choice(largest=largest), rows if first == "latency" else rows[::-1])
    assert chosen.best is not None
    assert chosen.best.variant.target != "a"
    none = choose(choice(), [row("a", latency_ms=math.nan), row("b")])
    assert in_words(none) == (
        "no variant of `m` can be the best: `a` (latency.p50 is nan); `b` (latency.p50 was not measured)"
    )
