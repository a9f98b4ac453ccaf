"""The text that variants generated, and PyTorch's text if it differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onnxbuild.deliver.variant_rows import own_engine
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.report.wording import cropped, on_one_line
from onnxbuild.secrets import redacted

_LONGEST = 100  # cells of a text that are shown
_MOST_PROMPTS = 3


def generated_text(graph: ActionGraph, outcomes: Mapping[str, Outcome], width: int | None = None) -> str:
    """For each prompt the beginning of what every variant made of it; the empty string where none generates.

    Lines are cropped to `width` cells, if the output has a width.
    """
    variants = [(variant, outcome) for variant in graph.variants if (outcome := _outcome(variant, outcomes))]
    by_prompt: dict[str, list[str]] = {}
    for variant, outcome in variants:
        params = graph.actions[outcome.id].params
        prompts, limit = params.get("prompts", ()), params.get("max_new_tokens")
        for number, prompt in enumerate(prompts[:_MOST_PROMPTS]):
            by_prompt.setdefault(prompt, []).extend(_lines(variant, outcome, number, limit))
    shown = {prompt: texts for prompt, texts in by_prompt.items() if texts}
    lines = [line for prompt, texts in shown.items() for line in (f"prompt: {_quoted(prompt)}", *texts)]
    return "\n".join(line if width is None else cropped(line, width) for line in lines)


def _outcome(variant: Variant, outcomes: Mapping[str, Outcome]) -> Outcome | None:
    measured = (outcomes[name] for name in variant.measures if name in outcomes)
    return next((one for one in measured if one.kind == "generate" and one.outcome in SUCCEEDED), None)


def _lines(variant: Variant, outcome: Outcome, number: int, limit: Any) -> Iterator[str]:
    """What a variant made of a prompt, and what PyTorch did if that differs."""
    engine = own_engine(outcome.facts)
    own, baseline = _shown(outcome, engine, number, limit), _shown(outcome, "torch", number, limit)
    if own is None:
        return
    same = _text(outcome, engine, number) == _text(outcome, "torch", number)
    yield f"  {variant.name}{', as PyTorch' if same else ''}: {own}"
    if baseline is not None and not same:
        yield f"  {variant.name}, PyTorch: {baseline}"


def _shown(outcome: Outcome, engine: str, number: int, limit: Any) -> str | None:
    text = _text(outcome, engine, number)
    if text is None:
        return None
    if text.strip():
        return _quoted(text)
    return _without_text(_of_prompt(outcome, engine, "new_tokens", number), limit)


def _without_text(tokens: Any, limit: Any) -> str:
    """Why a text is empty: it ended at once, or none of its tokens is visible.

    A model with random weights generates ids that its small tokenizer lacks, and they decode to nothing.
    """
    if tokens == 1 and limit != 1:
        return "(no text: the first token ends it)"
    return '""' if tokens is None else f"({tokens} token{'s' * (tokens != 1)} without visible text)"


def _text(outcome: Outcome, engine: str, number: int) -> str | None:
    text = _of_prompt(outcome, engine, "text", number)
    return None if text is None else str(text)


def _of_prompt(outcome: Outcome, engine: str, fact: str, number: int) -> Any:
    """The value of a fact that has one value per prompt, or None."""
    engines: Any = outcome.facts.get("engines")
    facts = engines.get(engine) if isinstance(engines, Mapping) else None
    values = facts.get(fact) if isinstance(facts, Mapping) else None
    if not isinstance(values, Sequence) or isinstance(values, str) or number >= len(values):
        return None
    return values[number]


def _quoted(text: str) -> str:
    """The text on one line, cut if it is long."""
    line = " ".join(on_one_line(redacted(text)).split())
    return f'"{cropped(line, _LONGEST)}"'
