"""Measures the metrics of a task over rows: those of a dataset, or those that come with onnxbuild."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec

from onnxbuild.tables.bounds.row_metrics import ROW_METRICS, RowKind
from onnxbuild.workers.inputs.own_rows import NAME, own_rows
from onnxbuild.workers.inputs.sample_source import Source
from onnxbuild.workers.validate.by_task.cases import Case
from onnxbuild.workers.validate.by_task.continuations import NEW_TOKENS, continued, rewritten
from onnxbuild.workers.validate.by_task.decided import of_labels, of_scores, of_vectors
from onnxbuild.workers.validate.by_task.encoded import encoded_case
from onnxbuild.workers.validate.by_task.marked import of_entities, of_spans
from onnxbuild.workers.validate.by_task.measured import Measured
from onnxbuild.workers.validate.by_task.rows_read import Reading
from onnxbuild.workers.validate.by_task.written import of_generated, of_language, of_texts
from onnxbuild.workers.validate.trial import Sides

_MODULES: Mapping[str, str] = {
    "scipy": "scipy", "scikit-learn": "sklearn", "seqeval": "seqeval", "sacrebleu": "sacrebleu",
    "rouge-score": "rouge_score", "jiwer": "jiwer",
}  # fmt: skip
# The packages that the metrics of a kind need. Intervals need scipy for all of them.
_NEEDED: Mapping[RowKind, tuple[str, ...]] = {
    "vectors": ("scipy",),
    "scores": ("scipy", "scikit-learn"),
    "entities": ("seqeval",),
    "rewriting": ("sacrebleu", "rouge-score"),
    "transcripts": ("jiwer",),
}
_MOST_PROMPTS = 20
_MOST_GENERATED = 2e12  # tokens × bytes of weights of one side, as for the rows


def lacking(kind: RowKind) -> list[tuple[str, tuple[str, ...]]]:
    """Packages of the extra `metrics` that are missing, each with the metrics that cannot be measured without it."""
    missing = [name for name in _NEEDED.get(kind, ()) if not is_installed(name)]
    return [(name, tuple(one for one, metric in ROW_METRICS.items() if metric.library == name)) for name in missing]


def is_installed(package: str) -> bool:
    """Whether a package that computes metrics can be imported."""
    return find_spec(_MODULES[package]) is not None


def measured(reading: Reading, sides: Sides, source: Source, weights_bytes: int) -> Iterator[Measured]:
    """Every metric that these rows give; those that need a missing package are left out."""
    if reading.kind != "rewriting" and not reading.is_complete:
        return
    missing = {metric for _, metrics in lacking(reading.kind) for metric in metrics}
    if reading.kind == "entities" and missing:
        return
    if reading.kind in {"language", "rewriting"}:
        found: Iterator[Measured] = _of_text(reading, sides, source, weights_bytes, writes=not missing)
    else:
        found = _of_decisions(reading, source, missing)
    yield from (one for one in found if one.metric not in missing)


def _of_decisions(reading: Reading, source: Source, missing: set[str]) -> Iterator[Measured]:
    cases, rows = reading.cases, reading.rows
    if reading.kind == "spans":
        return of_spans(cases, rows, reading.encoded, source.tokenizer)
    if reading.kind == "entities":
        names = {int(number): str(name) for number, name in (source.config.get("id2label") or {}).items()}
        known = all(one.words for one in reading.encoded) and names
        return of_entities(cases, rows, reading.encoded, names) if known else iter(())
    independent = source.config.get("problem_type") == "multi_label_classification"
    measure = {"labels": of_labels, "vectors": of_vectors, "scores": of_scores}[reading.kind]
    return measure(cases, rows, independent=independent, missing=missing)


def _of_text(reading: Reading, sides: Sides, source: Source, weights_bytes: int, *, writes: bool) -> Iterator[Measured]:
    if reading.kind == "language":
        yield from of_language(reading.rows)
        fitting = [one for one in _prompts(reading, source) if len(one) + NEW_TOKENS <= source.positions]
        prompts = _within(fitting, weights_bytes)
        stage = next((one for one in ("forward", "prefill") if one in sides.stages), None)
        if prompts and stage:
            yield of_generated(*(continued(side, source, prompts, stage) for side in sides[:2]))
        return
    step = next((one for one in ("decoder", "merged") if one in sides.stages), None)
    numbers = _spread(len(reading.encoded), len(_within([one.ids for one in reading.encoded], weights_bytes)))
    if step is None or not numbers:
        return
    sources = [reading.encoded[number].ids for number in numbers]
    wanted, actual = (rewritten(side, source, sources, step) for side in sides[:2])
    yield of_generated(wanted, actual)
    if writes:
        texts = [[source.tokenizer.decode(ids, skip_special_tokens=True) for ids in side] for side in (wanted, actual)]
        rights = [reading.cases.rows[number].right for number in numbers]
        yield from of_texts(texts[0], texts[1], None if None in rights else rights)


def _prompts(reading: Reading, source: Source) -> list[list[int]]:
    """Beginnings of texts for a language model: the prompts of onnxbuild, or half of each of some rows."""
    if reading.name == NAME:
        cases = [Case(texts=(row["prompt"],)) for row in own_rows("prompts")]
        return [ids for case in cases if (ids := _without_end(source, encoded_case(source, case, NEW_TOKENS * 4).ids))]
    numbers = _spread(len(reading.encoded), _MOST_PROMPTS)
    rows = [list(reading.encoded[number].ids) for number in numbers]
    return [ids[: len(ids) // 2] for ids in rows if len(ids) > 1]


def _without_end(source: Source, ids: Sequence[int]) -> list[int]:
    end = getattr(source.tokenizer, "eos_token_id", None)
    return list(ids[:-1]) if ids and ids[-1] == end else list(ids)


def _within(rows: Sequence[Sequence[int]], weights_bytes: int) -> list[list[int]]:
    """As many rows, spread over all of them, as a model of this size can continue in a few seconds."""
    if not rows:
        return []
    mean = sum(len(row) + NEW_TOKENS // 2 for row in rows) / len(rows)
    most = int(_MOST_GENERATED / (max(1, weights_bytes) * mean * NEW_TOKENS))
    return [list(rows[number]) for number in _spread(len(rows), min(_MOST_PROMPTS, most))]


def _spread(count: int, wanted: int) -> list[int]:
    """`wanted` numbers below `count`, evenly spread; all of them if there are no more."""
    return list(range(count)) if wanted >= count else [number * count // wanted for number in range(wanted)]
