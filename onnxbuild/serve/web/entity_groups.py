"""Tokens with labels become entities, as transformers' pipeline groups them with `aggregation_strategy="simple"`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from onnxbuild.serve.wire import Entity

_NO_ENTITY = "O"


def shown_entities(text: str, tokens: Sequence[Entity], aggregation: str) -> list[dict[str, Any]]:
    """The entities of a text; what has the label O is none."""
    groups = _groups(tokens) if aggregation == "simple" else ([token] for token in tokens)
    named = ((_tag(group[-1]) if aggregation == "simple" else group[0].label, group) for group in groups)
    return [_shown(text, label, group) for label, group in named if label != _NO_ENTITY]


def _groups(tokens: Iterable[Entity]) -> Iterator[list[Entity]]:
    group: list[Entity] = []
    for token in tokens:
        if group and (_tag(token) != _tag(group[-1]) or _begins(token)):
            yield group
            group = []
        group.append(token)
    if group:
        yield group


def _begins(token: Entity) -> bool:
    return token.label.startswith("B-")


def _tag(token: Entity) -> str:
    return token.label[2:] if token.label.startswith(("B-", "I-")) else token.label


def _shown(text: str, label: str, group: Sequence[Entity]) -> dict[str, Any]:
    start, end = group[0].start, group[-1].end
    score = sum(token.score for token in group) / len(group)
    return {"entity": label, "score": score, "start": start, "end": end, "text": text[start:end]}
