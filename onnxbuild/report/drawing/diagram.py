"""The action graph as a drawing: Mermaid for Markdown, dot for Graphviz, JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.printable import printable
from onnxbuild.protocol import json_text
from onnxbuild.report.drawing.colours import OUTCOMES

DiagramFormat = Literal["mermaid", "dot", "json", "svg"]
Outcomes = Mapping[str, Outcome]


def mermaid(graph: ActionGraph, outcomes: Outcomes | None = None) -> str:
    """A Mermaid flowchart; nodes are numbered, since ids contain characters that have a meaning in Mermaid."""
    names = {action: f"n{number}" for number, action in enumerate(graph.actions)}
    lines = ["flowchart LR"]
    for action, name in names.items():
        state = state_of(action, outcomes)
        lines.append(f'    {name}["{_mermaid_text(_label(action, state))}"]' + (f":::{state}" if state else ""))
    lines += [f"    {names[need]} --> {names[user]}" for need, user in edges(graph)]
    for state in _states(graph, outcomes):
        fill, stroke = OUTCOMES[state]
        lines.append(f"    classDef {state} fill:{fill},stroke:{stroke},color:#111")
    return "\n".join(lines) + "\n"


def dot(graph: ActionGraph, outcomes: Outcomes | None = None) -> str:
    """A Graphviz digraph, left to right."""
    lines = ["digraph onnxbuild {", "    rankdir=LR;", '    node [shape=box, style="rounded,filled", fillcolor=white];']
    for action in graph.actions:
        state = state_of(action, outcomes)
        colours = f', fillcolor="{OUTCOMES[state][0]}", color="{OUTCOMES[state][1]}"' if state else ""
        lines.append(f"    {_dot_text(action)} [label={_dot_text(_label(action, state))}{colours}];")
    lines += [f"    {_dot_text(need)} -> {_dot_text(user)};" for need, user in edges(graph)]
    return "\n".join([*lines, "}"]) + "\n"


def json(graph: ActionGraph, outcomes: Outcomes | None = None) -> str:
    """Actions with their needs, edges and variants, as one JSON object."""
    value = {
        "actions": [
            {
                "id": action.id,
                "kind": action.kind,
                "params": action.params,
                "needs": list(dict.fromkeys(action.needs)),
                "outcome": state_of(action.id, outcomes),
            }
            for action in graph.actions.values()
        ],
        "edges": [{"from": need, "to": user} for need, user in edges(graph)],
        "variants": [{"name": v.name, "precision": v.precision, "output": v.output.action} for v in graph.variants],
    }
    return json_text(value, indent=2) + "\n"


def edges(graph: ActionGraph) -> list[tuple[str, str]]:
    """Each pair of an action and one that needs it, once."""
    return [(need, action.id) for action in graph.actions.values() for need in dict.fromkeys(action.needs)]


def state_of(action: str, outcomes: Outcomes | None) -> str | None:
    """The outcome of an action, or None if it is not known."""
    outcome = (outcomes or {}).get(action)
    return outcome.outcome if outcome else None


def _states(graph: ActionGraph, outcomes: Outcomes | None) -> list[str]:
    return sorted({state for action in graph.actions if (state := state_of(action, outcomes))})


def _label(action: str, state: str | None) -> str:
    return f"{action}\n{state}" if state else action


def _mermaid_text(text: str) -> str:
    text = printable(text)
    # Mermaid has entity codes of this form; `#` is replaced first, since each of them begins with it.
    for character, code in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("`", "#96;")):
        text = text.replace(character, code)
    return text.replace("\n", "<br/>")


def _dot_text(text: str) -> str:
    escaped = printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
