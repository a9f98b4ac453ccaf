"""What a kind of model reads of the rows that come with onnxbuild, and what is right where that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from onnxbuild.tables.bounds.labels_of_rows import tells_sentiment
from onnxbuild.tables.bounds.row_metrics import RowKind
from onnxbuild.tables.tasks import ThresholdRow
from onnxbuild.tables.thresholds import OF_VECTORS, row_kind
from onnxbuild.workers.inputs.own_rows import all_texts, own_rows
from onnxbuild.workers.inputs.sample_source import Source

_CANDIDATES = 12  # passages per query of a reranker: the right one, and others of its language or of English
_OTHER_CONTEXTS = 6  # contexts without the answer, per question: 215 rows in all
_TEXTS_OF_A_PAIR = 2
_EVERY = 2  # a reranker reads every second query, which gives 240 pairs


class Case(Struct, frozen=True, kw_only=True):
    """A text, or two; `right` is a class, an answer, the tags of its words, or a text, and None if it is unknown.

    `graded`: the number of the pair that the text is part of, and how alike the two are.
    """

    texts: tuple[str, ...]
    language: str = ""
    right: Any = None
    graded: tuple[int, float] | None = None


class Ranking(Struct, frozen=True, kw_only=True):
    """A query and its candidates, by the numbers of cases; `query` is None where each case holds both texts."""

    candidates: Sequence[int]
    right: int
    query: int | None = None


class Cases(Struct, frozen=True, kw_only=True):
    """Rows, graded pairs of them (those of onnxbuild from 0 to 5), and rankings among them."""

    rows: Sequence[Case]
    pairs: Sequence[tuple[int, int, float]] = ()
    rankings: Sequence[Ranking] = ()


def graded_pairs(rows: Sequence[Case]) -> list[tuple[int, int, float]]:
    """The pairs among rows of any order, as places of both texts and the grade, by the number of the pair."""
    places: dict[tuple[int, float], list[int]] = {}
    for place, case in enumerate(rows):
        if case.graded is not None:
            places.setdefault(case.graded, []).append(place)
    return [(*both, grade) for (_, grade), both in sorted(places.items()) if len(both) == _TEXTS_OF_A_PAIR]  # type: ignore[misc]


def kind_of(task: str, row: ThresholdRow, source: Source) -> RowKind | None:
    """What a model decides about text; None for one that reads none, or that decides nothing these metrics measure."""
    ids = source.inputs.get("input_ids")
    if not source.reads_text or ids is None or len(ids.shape) != 2:  # noqa: PLR2004 - several answers per row
        return None
    return "vectors" if row == OF_VECTORS else row_kind(task, source.config)


def own_cases(kind: RowKind, config: Mapping[str, Any]) -> Cases:
    """The rows that come with onnxbuild as a kind of model reads them."""
    return _MAKERS[kind](config)


def _of_labels(config: Mapping[str, Any]) -> Cases:
    """Every text; reviews have labels if the model has them too."""
    rights = {row["text"]: sentiment_class(row["label"], config) for row in own_rows("reviews")}
    return Cases(rows=[Case(texts=(text,), language=of, right=rights.get(text)) for of, text in all_texts()])


def sentiment_class(label: str, config: Mapping[str, Any]) -> int | None:
    """The class of `positive`, `negative` or `neutral`; None if the model does not tell them apart."""
    if not tells_sentiment(config):
        return None
    named = {str(name).casefold(): int(number) for number, name in (config.get("id2label") or {}).items()}
    return named.get(label)


def _of_vectors(_config: Mapping[str, Any]) -> Cases:
    """Both texts of each graded pair, each query before the passages of all languages, and prompts."""
    pairs, queries = own_rows("pairs"), own_rows("queries")
    texts = [(row["language"], row[side]) for side in ("text", "other") for row in pairs]
    texts += [(row["language"], row[side]) for side in ("query", "passage") for row in queries]
    texts += [(row["language"], row["prompt"] + row["continuation"]) for row in own_rows("prompts")]
    number = {text: place for place, (_, text) in enumerate(texts)}
    passages = [number[row["passage"]] for row in queries]
    return Cases(
        rows=[Case(texts=(text,), language=language) for language, text in texts],
        pairs=[(number[row["text"]], number[row["other"]], float(row["score"])) for row in pairs],
        rankings=[
            Ranking(query=number[row["query"]], candidates=passages, right=number[row["passage"]]) for row in queries
        ],
    )


def _of_scores(_config: Mapping[str, Any]) -> Cases:
    queries = own_rows("queries")
    rows: list[Case] = []
    rankings = []
    for row in queries[::_EVERY]:
        same = [other for other in queries if other["language"] == row["language"] and other is not row]
        others = [*same, *(other for other in queries if other["language"] != row["language"])]
        places = range(len(rows), len(rows) + _CANDIDATES)
        passages = [row["passage"], *(other["passage"] for other in others[: _CANDIDATES - 1])]
        rows += [Case(texts=(row["query"], passage), language=row["language"]) for passage in passages]
        rankings.append(Ranking(candidates=places, right=places[0]))
    return Cases(rows=rows, rankings=rankings)


def _of_spans(_config: Mapping[str, Any]) -> Cases:
    """Questions with their answers, then queries with their passages, and questions with contexts of others."""
    questions = own_rows("questions")
    right = [
        Case(texts=(row["question"], row["context"]), language=row["language"], right=row["answer"])
        for row in questions
    ]
    pairs = [(row["language"], row["query"], row["passage"]) for row in own_rows("queries")]
    for step in range(1, _OTHER_CONTEXTS + 1):
        others = [*questions[step:], *questions[:step]]
        pairs += [
            (one["language"], one["question"], other["context"]) for one, other in zip(questions, others, strict=True)
        ]
    return Cases(rows=[*right, *(Case(texts=(one, other), language=language) for language, one, other in pairs)])


def _of_entities(_config: Mapping[str, Any]) -> Cases:
    rights = {row["text"]: tuple(row["tags"]) for row in own_rows("entities")}
    return Cases(rows=[Case(texts=(text,), language=of, right=rights.get(text)) for of, text in all_texts()])


def _of_language(_config: Mapping[str, Any]) -> Cases:
    return Cases(rows=[Case(texts=(text,), language=language) for language, text in all_texts()])


def _of_rewriting(_config: Mapping[str, Any]) -> Cases:
    return Cases(
        rows=[Case(texts=(row["text"],), language=row["language"], right=row["target"]) for row in own_rows("rewrites")]
    )


_MAKERS = {
    "labels": _of_labels,
    "vectors": _of_vectors,
    "scores": _of_scores,
    "spans": _of_spans,
    "entities": _of_entities,
    "language": _of_language,
    "rewriting": _of_rewriting,
}
