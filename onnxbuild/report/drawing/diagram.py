"""The action graph as a drawing: Mermaid for Markdown, dot for Graphviz, JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph

DiagramFormat = Literal["mermaid", "dot", "json", "svg"]
Outcomes = Mapping[str, Outcome]

# Fill and stroke by outcome; the outcome also stands in the label, so that colour adds nothing that words do not say.
COLOURS: Mapping[str, tuple[str, str]] = {
    "hit": ("#e8f5e9", "#2e7d32"),
    "built": ("#e3f2fd", "#1565c0"),
    "unchanged": ("#e0f2f1", "#00695c"),
    "run": ("#fff8e1", "#f9a825"),
    "failed": ("#ffebee", "#c62828"),
    "blocked": ("#f5f5f5", "#757575"),
    "skipped": ("#f5f5f5", "#757575"),
}


def mermaid(graph: ActionGraph, outcomes: Outcomes | None = None) -> str:
    """A Mermaid flowchart; nodes have numbers as names, since ids hold characters that Mermaid gives a meaning."""
    names = {action: f"n{number}" for number, action in enumerate(graph.actions)}
    lines = ["flowchart LR"]
    for action, name in names.items():
        state = state_of(action, outcomes)
        lines.append(f'    {name}["{_mermaid_text(_label(action, state))}"]' + (f":::{state}" if state else ""))
    lines += [f"    {names[need]} --> {names[user]}" for need, user in edges(graph)]
    for state in _states(graph, outcomes):
        fill, stroke = COLOURS[state]
        lines.append(f"    classDef {state} fill:{fill},stroke:{stroke},color:#111")
    return "\n".join(lines) + "\n"


def dot(graph: ActionGraph, outcomes: Outcomes | None = None) -> str:
    """A Graphviz digraph, left to right."""
    lines = ["digraph onnxbuild {", "    rankdir=LR;", '    node [shape=box, style="rounded,filled", fillcolor=white];']
    for action in graph.actions:
        state = state_of(action, outcomes)
        colours = f', fillcolor="{COLOURS[state][0]}", color="{COLOURS[state][1]}"' if state else ""
        lines.append(f"    {_dot_text(action)} [label={_dot_text(_label(action, state))}{colours}];")
    lines += [f"    {_dot_text(need)} -> {_dot_text(user)};" for need, user in edges(graph)]
    return "\n".join([*lines, "}"]) + "\n"


def json(graph: ActionGraph, outcomes: Outcomes | None = None) -> str:
    """Actions with what they need, edges and variants, as one JSON object."""
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
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def edges(graph: ActionGraph) -> list[tuple[str, str]]:
    """Each need and its user, once."""
    return [(need, action.id) for action in graph.actions.values() for need in dict.fromkeys(action.needs)]


def state_of(action: str, outcomes: Outcomes | None) -> str | None:
    """How an action ended, where that is known."""
    outcome = (outcomes or {}).get(action)
    return outcome.outcome if outcome else None


def _states(graph: ActionGraph, outcomes: Outcomes | None) -> list[str]:
    return sorted({state for action in graph.actions if (state := state_of(action, outcomes))})


def _label(action: str, state: str | None) -> str:
    return f"{action}\n{state}" if state else action


def _mermaid_text(text: str) -> str:
    # Mermaid's own entity codes; `#` first, since it begins each of them.
    for character, code in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("`", "#96;")):
        text = text.replace(character, code)
    return text.replace("\n", "<br/>")


def _dot_text(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
