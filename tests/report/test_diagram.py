import json
from xml.etree import ElementTree as ET

import pytest
from report_worlds import action, graph_of, outcome, outcomes_of, variant

from onnxbuild.report.drawing import diagram
from onnxbuild.report.drawing.svg import svg

GRAPH = graph_of(
    action("m:fetch"),
    action("m/<b>:export", "m:fetch"),
    action('m/"q" #1:quantize', "m/<b>:export"),
    variants=(variant("q", "m:fetch", "m/<b>:export", 'm/"q" #1:quantize', precision="int8"),),
)
OUTCOMES = outcomes_of(outcome("m:fetch", "hit"), outcome("m/<b>:export", "failed"))


def test_mermaid_escapes_ids_and_colours_outcomes():
    assert diagram.mermaid(GRAPH, OUTCOMES) == (
        "flowchart LR\n"
        '    n0["m:fetch<br/>hit"]:::hit\n'
        '    n1["m/#lt;b#gt;:export<br/>failed"]:::failed\n'
        '    n2["m/#quot;q#quot; #35;1:quantize"]\n'
        "    n0 --> n1\n"
        "    n1 --> n2\n"
        "    classDef failed fill:#ffebee,stroke:#c62828,color:#111\n"
        "    classDef hit fill:#e8f5e9,stroke:#2e7d32,color:#111\n"
    )


def test_dot_escapes_ids_and_colours_outcomes():
    assert diagram.dot(GRAPH, OUTCOMES) == (
        "digraph onnxbuild {\n"
        "    rankdir=LR;\n"
        '    node [shape=box, style="rounded,filled", fillcolor=white];\n'
        '    "m:fetch" [label="m:fetch\\nhit", fillcolor="#e8f5e9", color="#2e7d32"];\n'
        '    "m/<b>:export" [label="m/<b>:export\\nfailed", fillcolor="#ffebee", color="#c62828"];\n'
        '    "m/\\"q\\" #1:quantize" [label="m/\\"q\\" #1:quantize"];\n'
        '    "m:fetch" -> "m/<b>:export";\n'
        '    "m/<b>:export" -> "m/\\"q\\" #1:quantize";\n'
        "}\n"
    )


def test_json_holds_actions_edges_and_variants():
    found = json.loads(diagram.json(GRAPH, OUTCOMES))
    assert found["actions"][1] == {
        "id": "m/<b>:export",
        "kind": "export",
        "params": {},
        "needs": ["m:fetch"],
        "outcome": "failed",
    }
    assert found["edges"] == [
        {"from": "m:fetch", "to": "m/<b>:export"},
        {"from": "m/<b>:export", "to": 'm/"q" #1:quantize'},
    ]
    assert found["variants"] == [{"name": "bert/q", "precision": "int8", "output": 'm/"q" #1:quantize'}]


def test_an_empty_graph_is_a_drawing_too():
    assert [diagram.mermaid(graph_of()), json.loads(diagram.json(graph_of()))["actions"]] == ["flowchart LR\n", []]


SPACE = {"s": "http://www.w3.org/2000/svg"}
LONG = "モデル/" + "a-very-long-target-name" * 4 + ":quantize"
# `export` is needed by the next column and by the one after it; `data` by the last one alone.
WIDE = graph_of(
    action("a:fetch"),
    action("data:fetch"),
    action("a:export", "a:fetch"),
    action("a/o2:optimize", "a:export"),
    action("a/o2:validate", "a/o2:optimize", "a:fetch", "data:fetch"),
    action(LONG, "a/o2:optimize", "a:export"),
    action("a/int8:validate", LONG, "a:fetch", "data:fetch"),
    action("b:fetch"),
    action("b:export", "b:fetch"),
)


def drawn(graph, outcomes=None):
    return ET.fromstring(svg(graph, outcomes))


def boxes(root):
    """Left, top, right and bottom of each box, by the id in its title."""
    found = {}
    for group in root.iterfind("s:g[@class='action']", SPACE):
        rect = group.find("s:rect", SPACE)
        x, y, width, height = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
        found[group.find("s:title", SPACE).text] = (x, y, x + width, y + height)
    return found


def points(path):
    """Points along a line: a cubic curve, and where there is one, a horizontal line at its end."""
    start, curve = path.get("d").removeprefix("M").split(" C")
    curve, _, tail = curve.partition(" H")
    (x0, y0), numbers = map(float, start.split()), list(map(float, curve.split()))
    x1, y1, x2, y2, x3, y3 = numbers
    for step in range(41):
        t = step / 40
        a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
        yield a * x0 + b * x1 + c * x2 + d * x3, a * y0 + b * y1 + c * y2 + d * y3
    if tail:
        yield from ((x3 + (float(tail) - x3) * step / 40, y3) for step in range(41))


def test_svg_shows_every_action_with_its_outcome():
    root = drawn(GRAPH, OUTCOMES)
    groups = root.findall("s:g[@class='action']", SPACE)
    assert [group.find("s:text", SPACE).text for group in groups] == list(GRAPH.actions)
    assert [group.find("s:rect", SPACE).get("stroke") for group in groups] == ["#2e7d32", "#c62828", "#555555"]
    assert [group.find("s:path", SPACE).get("stroke") for group in groups] == ["#607d8b", "#1976d2", "#ef6c00"]
    assert len(root.findall("s:path[@class='edge']", SPACE)) == 2


def test_svg_has_a_legend_of_the_kinds_and_outcomes_that_it_shows():
    legend = drawn(GRAPH, OUTCOMES).findall("s:g[@class='legend']", SPACE)
    assert [entry.find("s:text", SPACE).text for entry in legend] == ["fetch", "export", "quantize", "hit", "failed"]


@pytest.mark.parametrize("graph", [GRAPH, WIDE])
def test_no_line_runs_behind_a_box_and_no_boxes_overlap(graph):
    root = drawn(graph)
    places = list(boxes(root).values())
    for number, (left, top, right, bottom) in enumerate(places):
        for other in places[number + 1 :]:
            assert other[2] <= left or right <= other[0] or other[3] <= top or bottom <= other[1]
        for path in root.iterfind("s:path[@class='edge']", SPACE):
            inside = [(x, y) for x, y in points(path) if left + 1 < x < right - 1 and top < y < bottom]
            assert inside == [], path.get("d")


def test_every_need_is_reached_by_a_line_that_ends_at_its_user():
    root = drawn(WIDE)
    places = boxes(root)
    reached = {}
    for path in root.iterfind("s:path[@class='edge']", SPACE):
        *_, end = points(path)
        first = next(points(path))
        reached.setdefault((round(first[0]), round(first[1])), []).append((round(end[0]), round(end[1])))

    def ends(at):
        return {at}.union(*(ends(point) for point in reached.get(at, ())))

    for action_ in WIDE.actions.values():
        left, top, _, bottom = places[action_.id]
        for need in action_.needs:
            _, need_top, need_right, need_bottom = places[need]
            assert (left, (top + bottom) / 2) in ends((need_right, (need_top + need_bottom) / 2)), action_.id


def test_a_text_fits_its_box_in_every_font():
    for group in drawn(WIDE).iterfind("s:g[@class='action']", SPACE):
        rect, text = group.find("s:rect", SPACE), group.find("s:text", SPACE)
        start = float(text.get("x"))
        assert start > float(rect.get("x"))
        assert start + float(text.get("textLength")) < float(rect.get("x")) + float(rect.get("width"))
    titles = [title.text for title in drawn(WIDE).iterfind("s:g/s:title", SPACE)]
    assert LONG in titles  # cropped in its box, whole where the pointer rests on it


def test_an_empty_graph_is_an_svg_too():
    assert drawn(graph_of()).findall("s:g", SPACE) == []


def test_sixty_actions_are_drawn_without_an_overlap():
    models = [f"m{number}" for number in range(12)]
    steps = [(f"{m}:fetch", f"{m}:export", f"{m}/o2:optimize", f"{m}/o2:validate", f"{m}/o2:benchmark") for m in models]
    actions = [
        action(name, *needs)
        for fetch, export, optimize, validate, benchmark in steps
        for name, needs in (
            (fetch, ()),
            (export, (fetch,)),
            (optimize, (export,)),
            (validate, (optimize, fetch)),
            (benchmark, (optimize, fetch)),
        )
    ]
    graph = graph_of(*actions)
    assert len(boxes(drawn(graph))) == 60
    test_no_line_runs_behind_a_box_and_no_boxes_overlap(graph)
