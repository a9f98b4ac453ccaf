import pytest

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.planning.action_graph import Action, ActionGraph, OutputRef, Variant
from onnxbuild.planning.select import named, select


def action(name, *needs):
    inputs = {f"in{index}": OutputRef(need, "model") for index, need in enumerate(needs)}
    return Action(id=name, kind=name.split(":")[1].removesuffix("-2"), params={}, inputs=inputs)


def variant(model, target, output):
    return Variant(
        model=model,
        target=target,
        output=OutputRef(output, "model"),
        precision="fp32",
        steps=(),
        checks=(),
        measures=(),
    )


ACTIONS = [
    action("a:fetch"),
    action("a:export", "a:fetch"),
    action("a/cpu-o2:optimize", "a:export"),
    action("a/cpu-o2:validate", "a/cpu-o2:optimize", "a:fetch"),
    action("a/cpu-o2:benchmark", "a/cpu-o2:optimize", "a:fetch"),
    action("a/web:quantize", "a/cpu-o2:optimize"),
    action("a/web:quantize-2", "a/web:quantize"),
    action("b:fetch"),
    action("b:export", "b:fetch"),
]
GRAPH = ActionGraph(
    {one.id: one for one in ACTIONS},
    (
        variant("a", "cpu-o2", "a/cpu-o2:optimize"),
        variant("a", "web", "a/web:quantize-2"),
        variant("b", "raw", "b:export"),
    ),
    {"a/web:optimize": "a/cpu-o2:optimize", "c:fetch": "b:fetch"},
)
BASE = ["a:fetch", "a:export"]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("a", [one.id for one in ACTIONS if one.id.startswith("a")]),
        ("b", ["b:fetch", "b:export"]),
        ("c", ["b:fetch"]),
        ("a/web", [*BASE, "a/cpu-o2:optimize", "a/web:quantize", "a/web:quantize-2"]),
        ("a/cpu-o2:validate", [*BASE, "a/cpu-o2:optimize", "a/cpu-o2:validate"]),
        ("+a/cpu-o2:validate", [*BASE, "a/cpu-o2:optimize", "a/cpu-o2:validate"]),
        ("a/web:optimize", [*BASE, "a/cpu-o2:optimize"]),
        ("a/web:quantize-2", [*BASE, "a/cpu-o2:optimize", "a/web:quantize", "a/web:quantize-2"]),
        ("*/cpu-*:benchmark", [*BASE, "a/cpu-o2:optimize", "a/cpu-o2:benchmark"]),
        (":benchmark", [*BASE, "a/cpu-o2:optimize", "a/cpu-o2:benchmark"]),
        (":fetch", ["a:fetch", "b:fetch"]),
        ("b/raw", ["b:fetch", "b:export"]),
        ("?:export", [*BASE, "b:fetch", "b:export"]),
        ("b:fetch+", ["b:fetch", "b:export"]),
        ("a/web:quantize+", [*BASE, "a/cpu-o2:optimize", "a/web:quantize", "a/web:quantize-2"]),
    ],
)
def test_selector(selector, expected):
    assert list(select(GRAPH, [selector]).actions) == expected


def test_none_is_all():
    assert select(GRAPH, []) is GRAPH


def test_selectors_add_up():
    assert list(select(GRAPH, ["b:fetch", "a:fetch"]).actions) == ["a:fetch", "b:fetch"]


def test_variants_are_those_whose_output_is_there():
    assert [one.name for one in select(GRAPH, ["a/cpu-o2"]).variants] == ["a/cpu-o2"]


def test_nothing():
    with pytest.raises(DiagnosticError) as raised:
        select(GRAPH, ["a/cpu-02", "zzz", "a", "", ":fecth"])
    assert [(one.code, one.message, one.notes) for one in raised.value.diagnostics] == [
        ("OB018", "the selector `a/cpu-02` matches nothing", (("hint", "did you mean `a/cpu-o2`?"),)),
        ("OB018", "the selector `zzz` matches nothing", (("hint", "models: `a`, `b`"),)),
        ("OB018", "the selector `` matches nothing", (("hint", "models: `a`, `b`"),)),
        ("OB018", "the selector `:fecth` matches nothing", (("hint", "did you mean `:fetch`?"),)),
    ]


def many(count):
    """The variants `m/t0`, `m/t1` … of one model without actions."""
    return tuple(variant("m", f"t{number}", "m:fetch") for number in range(count))


@pytest.mark.parametrize(
    ("selector", "variants", "hint"),
    [
        ("m/nothing-like-it", many(2), "`m` has `t0`, `t1`"),
        ("m/nothing-like-it", many(8), f"`m` has {', '.join(f'`t{n}`' for n in range(8))}"),
        ("+m/nothing-like-it+", many(9), f"`m` has {', '.join(f'`t{n}`' for n in range(8))} …"),
        ("zzzzzz", many(2), "models: `m`"),
        ("+m/t11+", many(2), "did you mean `m/t1`?"),
        ("zzzzzz", (), None),
    ],
)
def test_the_hint_after_a_selector_that_matches_nothing(selector, variants, hint):
    graph = ActionGraph({"q:zip": action("q:zip")}, variants)
    with pytest.raises(DiagnosticError) as raised:
        named(graph, [selector])
    (found,) = raised.value.diagnostics
    assert found.message == f"the selector `{selector}` matches nothing"
    assert found.notes == ((("hint", hint),) if hint else ())


def test_named_actions_come_without_what_they_need():
    assert named(GRAPH, ["a/cpu-o2:validate"]) == {"a/cpu-o2:validate"}
    assert named(GRAPH, ["b:fetch+"]) == {"b:fetch", "b:export"}
    assert named(GRAPH, []) == set(GRAPH.actions)


def test_the_needs_and_the_dependents_of_no_action_are_none():
    assert GRAPH.with_needs(()) == GRAPH.with_dependents(()) == set()
    assert GRAPH.with_needs(["b:export"]) == {"b:fetch", "b:export"}
    assert GRAPH.dependents()["b:fetch"] == ("b:export",)


def test_an_action_that_reads_two_outputs_of_another_depends_on_it_once():
    graph = ActionGraph({one.id: one for one in (action("a:fetch"), action("a:export", "a:fetch", "a:fetch"))})
    assert graph.dependents() == {"a:fetch": ("a:export",), "a:export": ()}
