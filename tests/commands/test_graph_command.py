import pytest

from onnxbuild.commands.graph import FORMATS, render_graph
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import Action, ActionGraph

GRAPH = ActionGraph({"m:fetch": Action(id="m:fetch", kind="fetch", params={}, inputs={})})


@pytest.mark.parametrize(
    ("format_", "start"),
    [("mermaid", "flowchart LR\n"), ("dot", "digraph onnxbuild {\n"), ("json", '{\n  "actions": ['), ("svg", "<svg ")],
)
def test_each_format_draws_the_graph(format_, start):
    text = render_graph(GRAPH, format_, {"m:fetch": Outcome(id="m:fetch", kind="fetch", outcome="hit")})
    assert text.startswith(start)
    assert ("m:fetch" in text, "hit" in text) == (True, True)


def test_the_formats_are_these():
    assert FORMATS == ("mermaid", "dot", "json", "svg")
