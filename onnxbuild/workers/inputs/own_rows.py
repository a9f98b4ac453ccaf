"""The rows that come with onnxbuild: short texts in five languages, written for it, with labels where a task has any.

Each kind is a file of JSON lines in `rows/`. All texts together serve where a model reads text of any kind.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

Kind = Literal["reviews", "pairs", "queries", "questions", "entities", "prompts", "rewrites"]
Row = Mapping[str, Any]

KINDS: tuple[Kind, ...] = ("reviews", "pairs", "queries", "questions", "entities", "prompts", "rewrites")
NAME = "the rows of onnxbuild"

_FOLDER = Path(__file__).parent / "rows"
_MARKED = re.compile(r"\[(PER|ORG|LOC) ([^\]]+)\]|(\S+)")


@cache
def own_rows(kind: Kind) -> tuple[Row, ...]:
    """The rows of a kind. Each has its `language`; `entities` also have `words` and their BIO `tags`."""
    lines = (_FOLDER / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return tuple(_tagged(row) for row in rows) if kind == "entities" else tuple(rows)


def all_texts() -> list[tuple[str, str]]:
    """The language and a text of every row."""
    return [(row["language"], _text(kind, row)) for kind in KINDS for row in own_rows(kind)]


def counts() -> dict[str, Counter[str]]:
    """How many rows there are by kind and language."""
    return {kind: Counter(row["language"] for row in own_rows(kind)) for kind in KINDS}


def _text(kind: Kind, row: Row) -> str:
    if kind == "queries":
        return str(row["passage"])
    if kind == "questions":
        return str(row["context"])
    return str(row["prompt"] + row["continuation"] if kind == "prompts" else row["text"])


def _tagged(row: Row) -> Row:
    """`[PER Anna Keller] left .` as words with the tags B-PER, I-PER, O, O."""
    words: list[str] = []
    tags: list[str] = []
    for kind, name, word in _MARKED.findall(row["text"]):
        parts = name.split() if kind else [word]
        words += parts
        tags += [f"{'I' if number else 'B'}-{kind}" if kind else "O" for number in range(len(parts))]
    return {**row, "text": " ".join(words), "words": words, "tags": tags}
