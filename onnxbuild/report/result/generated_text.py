"""The text that variants generated, and PyTorch's text if it differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.report.wording import cropped, on_one_line

_LONGEST = 100  # cells of a text that are shown
_MOST_PROMPTS = 3


def generated_text(graph: ActionGraph, outcomes: Mapping[str, Outcome], width: int | None = None) -> str:
    """For each prompt the beginning of what every variant made of it; the empty string where none generates.

    Lines are cropped to `width` cells, if the output has a width.
    """
    variants = [(variant, outcome) for variant in graph.variants if (outcome := _outcome(variant, outcomes))]
    by_prompt: dict[str, list[str]] = {}
    for variant, outcome in variants:
        prompts = graph.actions[outcome.id].params.get("prompts", ())
        for number, prompt in enumerate(prompts[:_MOST_PROMPTS]):
            by_prompt.setdefault(prompt, []).extend(_lines(variant, outcome, number))
    shown = {prompt: texts for prompt, texts in by_prompt.items() if texts}
    lines = [line for prompt, texts in shown.items() for line in (f"prompt: {_quoted(prompt)}", *texts)]
    return "\n".join(line if width is None else cropped(line, width) for line in lines)


def _outcome(variant: Variant, outcomes: Mapping[str, Outcome]) -> Outcome | None:
    measured = (outcomes[name] for name in variant.measures if name in outcomes)
    return next((one for one in measured if one.kind == "generate" and one.outcome in SUCCEEDED), None)


def _lines(variant: Variant, outcome: Outcome, number: int) -> Iterator[str]:
    """What a variant made of a prompt, and what PyTorch did if that differs."""
    own, baseline = _text(outcome, "onnxruntime", number), _text(outcome, "torch", number)
    if own is None:
        return
    same = ", as PyTorch" if own == baseline else ""
    yield f"  {variant.name}{same}: {_quoted(own)}"
    if baseline is not None and own != baseline:
        yield f"  {variant.name}, PyTorch: {_quoted(baseline)}"


def _text(outcome: Outcome, engine: str, number: int) -> str | None:
    engines: Any = outcome.facts.get("engines")
    facts = engines.get(engine) if isinstance(engines, Mapping) else None
    texts = facts.get("text") if isinstance(facts, Mapping) else None
    if not isinstance(texts, Sequence) or isinstance(texts, str) or number >= len(texts):
        return None
    return str(texts[number])


def _quoted(text: str) -> str:
    """The text on one line, cut if it is long."""
    line = " ".join(on_one_line(text).split())
    return f'"{cropped(line, _LONGEST)}"'
