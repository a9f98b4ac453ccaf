"""What `generate` wrote: each prompt with the continuation of each variant, cropped to a line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import ActionGraph
from onnxbuild.report.wording import cropped, on_one_line

_WIDEST = 160  # cells, where the output has no width
_PROMPT = 50


def generated_text(
    graph: ActionGraph,
    outcomes: Mapping[str, Outcome],
    named: Collection[str] | None = None,
    width: int | None = None,
) -> str:
    """A line per variant and prompt; empty where nothing was generated."""
    lines: list[str] = []
    for name, outcome in outcomes.items():
        if outcome.kind == "generate" and (named is None or name in named) and name in graph.actions:
            pairs = _pairs(graph.actions[name].params.get("prompts"), outcome.facts)
            lines += [f"{name.rpartition(':')[0]}  {prompt} → {text}" for prompt, text in pairs]
    return "\n".join(cropped(line, width or _WIDEST) for line in lines)


def _pairs(prompts: Any, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Prompts and what ONNX Runtime continued them with; facts come from a worker and may hold anything."""
    try:
        texts = facts["engines"]["onnxruntime"]["text"]
        both = list(zip(prompts, texts, strict=False))
    except (KeyError, TypeError):
        return []
    return [(cropped(on_one_line(prompt), _PROMPT), on_one_line(str(text)).strip()) for prompt, text in both]
