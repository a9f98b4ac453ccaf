"""The choice of a model's best variant, from what was measured. Nothing is built to choose."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, structs

from onnxbuild.deliver.compiled_states import is_prepared
from onnxbuild.deliver.variant_rows import Row, rows
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import ActionGraph, Variant
from onnxbuild.tables.choices import BEST, THROUGHPUT, Choice, Condition, plain_number

_TIMED = frozenset({"latency.p50", "speedup"})  # figures of the benchmark that says whether it was contended


class Candidate(Struct, frozen=True):
    """A variant with its figures; `broken`: the conditions that it does not fulfil.

    `contended`: other programs used the cores while its latency was measured.
    `unproven`: why it cannot be chosen whatever its figures are, such as `skipped: needs onnxruntime-gpu`.
    """

    variant: Variant
    figures: Mapping[str, float]
    broken: tuple[Condition, ...]
    unproven: str | None = None
    contended: bool = False


class Chosen(Struct, frozen=True):
    """A choice, and every variant that it is made among; `best` is None if none can be chosen."""

    choice: Choice
    candidates: tuple[Candidate, ...]
    best: Candidate | None

    @property
    def variant(self) -> Variant:
        """The best variant under the name of its folder."""
        assert self.best is not None, "BUG: nothing was chosen"
        return structs.replace(self.best.variant, target=BEST)

    def as_json(self) -> Mapping[str, Any]:
        """How it was chosen, for the description of the folder."""
        assert self.best is not None, "BUG: nothing was chosen"
        return {
            "target": self.best.variant.target,
            "largest" if self.choice.largest else "smallest": self.choice.figure,
            "subject_to": list(map(str, self.choice.conditions)),
            "among": {one.variant.target: self.figures_of(one) for one in self.candidates if one.unproven is None},
        }

    def figures_of(self, one: Candidate) -> Mapping[str, float]:
        """What was measured of the figures that the choice goes by."""
        return {name: one.figures[name] for name in sorted(self._names) if name in one.figures}

    def is_contended(self, one: Candidate) -> bool:
        """Whether the choice goes by a figure of this variant that was measured while other programs ran."""
        return one.contended and not _TIMED.isdisjoint(self.figures_of(one))

    @property
    def _names(self) -> set[str]:
        return {self.choice.figure, *(condition.figure for condition in self.choice.conditions)}


class CandidateRow(Struct, frozen=True, kw_only=True):
    """A variant of a choice. `figures`: those that the choice goes by; `excluded`: why it cannot be the best.

    `contended`: some of the figures were measured while other programs used the cores.
    """

    target: str
    figures: Mapping[str, float | None]
    excluded: str | None = None
    contended: bool = False


class ChoiceRow(Struct, frozen=True, kw_only=True):
    """A choice as reports show it: by which figure and bounds, among which variants, and in words.

    `best`: the chosen target; None if no variant can be chosen, or if the choice waits for variants (`waits_for`).
    """

    model: str
    goal: str  # `smallest latency.p50`
    subject_to: tuple[str, ...]
    best: str | None
    text: str
    candidates: tuple[CandidateRow, ...] = ()
    waits_for: tuple[str, ...] = ()


def choice_rows(graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> tuple[ChoiceRow, ...]:
    """Every choice all of whose variants are in the graph, whether it could be made or not."""
    made = {chosen.choice.model: _row_of(chosen) for chosen in chosen_variants(graph, outcomes)}
    variants = {variant.name: variant for variant in graph.variants}
    found: list[ChoiceRow] = []
    for choice in graph.choices:
        names = [f"{choice.model}/{target}" for target in choice.targets]
        if all(name in variants for name in names):
            waits_for = tuple(name for name in names if not _is_finished(variants[name], outcomes))
            found.append(made.get(choice.model) or _waiting(choice, waits_for))
    return tuple(found)


def _row_of(chosen: Chosen) -> ChoiceRow:
    choice, best = chosen.choice, chosen.best
    return ChoiceRow(
        model=choice.model,
        goal=_goal(choice),
        subject_to=tuple(map(str, choice.conditions)),
        best=None if best is None else best.variant.target,
        text=in_words(chosen),
        candidates=tuple(
            CandidateRow(
                target=one.variant.target,
                figures=chosen.figures_of(one),
                excluded=None if _can_be_best(choice, one) else _reason(choice, one),
                contended=chosen.is_contended(one),
            )
            for one in chosen.candidates
        ),
    )


def _waiting(choice: Choice, waits_for: tuple[str, ...]) -> ChoiceRow:
    lacking = ", ".join(f"`{name}`" for name in waits_for)
    text = f"best of {choice.model}: not chosen, because not every action of {lacking} has a result"
    subject_to = tuple(map(str, choice.conditions))
    return ChoiceRow(
        model=choice.model, goal=_goal(choice), subject_to=subject_to, best=None, text=text, waits_for=waits_for
    )


def _goal(choice: Choice) -> str:
    return f"{'largest' if choice.largest else 'smallest'} {choice.figure}"


def chosen_variants(graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> Iterator[Chosen]:
    """Every choice whose variants were all built, checked and measured; others wait for a run that does that."""
    known = dict(zip((variant.name for variant in graph.variants), rows(graph, outcomes), strict=True))
    variants = {variant.name: variant for variant in graph.variants}
    for choice in graph.choices:
        names = [f"{choice.model}/{target}" for target in choice.targets]
        if all(name in variants and _is_finished(variants[name], outcomes) for name in names):
            yield choose(choice, [(variants[name], known[name]) for name in names])


def _is_finished(variant: Variant, outcomes: Mapping[str, Outcome]) -> bool:
    return all(name in outcomes and outcomes[name].outcome in SUCCEEDED for name in variant.members)


def choose(choice: Choice, among: Sequence[tuple[Variant, Row]]) -> Chosen:
    """The best of some variants. Of equal ones, the first in the manifest wins.

    A variant that is only prepared, or whose checks were skipped here, is not among them.
    """
    candidates = tuple(_candidate(choice, variant, row) for variant, row in among)
    fitting = [one for one in candidates if _can_be_best(choice, one)]
    sign = -1 if choice.largest else 1
    best = min(fitting, key=lambda one: sign * one.figures[choice.figure], default=None)
    return Chosen(choice, candidates, best)


def _can_be_best(choice: Choice, one: Candidate) -> bool:
    # NaN is neither smaller nor larger than a number: the first variant would be the best, whatever the others have.
    has_figure = not math.isnan(one.figures.get(choice.figure, math.nan))
    return one.unproven is None and not one.broken and has_figure


def _candidate(choice: Choice, variant: Variant, row: Row) -> Candidate:
    figures = figures_of(row)
    broken = (one for one in choice.conditions if one.figure not in figures or not one.holds(figures[one.figure]))
    return Candidate(variant, figures, tuple(broken), _unproven(row), row.contended)


def _unproven(row: Row) -> str | None:
    if row.skipped is not None:
        return f"skipped: {row.skipped}"
    return "it is only prepared" if is_prepared(row.state) else None


def figures_of(row: Row) -> Mapping[str, float]:
    """What a choice can go by, as far as it was measured."""
    measured = {
        "size_mb": row.size_bytes / 1e6 if row.size_bytes is not None else None,
        "latency.p50": row.latency_ms,
        "speedup": row.speedup,
        THROUGHPUT: row.texts_per_second,
        "tokens_per_second": row.tokens_per_second,
        "first_token": row.first_token_ms,
        "generation_speedup": row.generation_speedup,
        **{name: metric.value for name, metric in row.metrics.items()},
    }
    return {name: value for name, value in measured.items() if value is not None}


def in_words(chosen: Chosen) -> str:
    """`best of minilm: int8, the smallest latency.p50 (18.1)`, or why there is none."""
    choice = chosen.choice
    if chosen.best is None:
        reasons = "; ".join(_why_not(choice, one) for one in chosen.candidates)
        return f"no variant of `{choice.model}` can be the best: {reasons}"
    value = chosen.best.figures[choice.figure]
    others = [str(condition) for condition in choice.conditions]
    subject = f" where {' and '.join(others)}" if others else ""
    text = f"best of {choice.model}: {chosen.best.variant.target}, the {_goal(choice)} ({value:.3g}){subject}"
    return text + _contention(chosen)


def _contention(chosen: Chosen) -> str:
    """Which variants were measured beside other programs, also others than the best: the choice is among all."""
    names = [one.variant.target for one in chosen.candidates if chosen.is_contended(one)]
    return f"; measured while other programs used the cores: {', '.join(names)}" if names else ""


def broken_by_all(chosen: Chosen) -> tuple[str, ...]:
    """The figures whose conditions no variant fulfils, as the manifest orders them."""
    conditions = chosen.choice.conditions
    return tuple(one.figure for one in conditions if all(one in other.broken for other in chosen.candidates))


def _why_not(choice: Choice, one: Candidate) -> str:
    return f"`{one.variant.target}` ({_reason(choice, one)})"


def _reason(choice: Choice, one: Candidate) -> str:
    if one.unproven is not None:
        return one.unproven
    if not one.broken:
        value = one.figures.get(choice.figure)
        return f"{choice.figure} {'was not measured' if value is None else f'is {value}'}"
    broken = one.broken[0]
    value = one.figures.get(broken.figure)
    if value is None:
        return f"no {broken.figure}"
    return f"{broken.figure} is {broken.beside(value)}, not {broken.operator} {plain_number(broken.bound)}"
