import json

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


def test_svg_is_well_formed_and_no_boxes_overlap():
    from xml.etree import ElementTree as ET

    root = ET.fromstring(svg(GRAPH, OUTCOMES))
    space = {"s": "http://www.w3.org/2000/svg"}
    assert [t.text for t in root.iterfind(".//s:text", space)] == list(GRAPH.actions)
    assert [r.get("stroke") for r in root.iterfind(".//s:rect", space)] == ["#2e7d32", "#c62828", "#555555"]
    places = [(r.get("x"), r.get("y")) for r in root.iterfind(".//s:rect", space)]
    assert len(set(places)) == len(places)
    assert len(root.findall(".//s:path", space)) == 2
