"""Trials of a search: a mix of forms, what it costs, and what it gives on the rows that judge."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from onnx import ModelProto

from onnxbuild.protocol import Tell
from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.steps.quantizing.bounds_of_search import bounds
from onnxbuild.workers.calibrate.feeds import Feeds
from onnxbuild.workers.folders.journal import Journal
from onnxbuild.workers.measuring.output_scores import Outputs, noted_scores, scores
from onnxbuild.workers.quantize.search.by_row import ByRow
from onnxbuild.workers.quantize.search.judged import outputs_of
from onnxbuild.workers.quantize.search.mixed import Part, Plan, cost_of, mixed, spread


def bounds_losses(params: QuantizeParams) -> bool:
    """Whether a search has a bound for which the losses of tokens are needed."""
    return any(bound.figure == "perplexity_ratio" for bound in bounds(params.subject_to))


class Trial(NamedTuple):
    """One mix of forms, and what it gives on the rows that judge."""

    recipe: str
    plan: Plan
    cost: float
    found: Mapping[str, float]
    holds: bool
    by_row: tuple[str, ...] = ()  # groups of products with ranges by row

    @property
    def facts(self) -> dict[str, Any]:
        """The trial as facts: what was taken back is counted by form."""
        counts = {form: sum(one == form for one in self.plan.values()) for form in ("q8", "fp32")}
        numbers = {name: float(f"{value:.6g}") for name, value in self.found.items()}
        counts |= {"by_row": len(self.by_row)} if self.by_row else {}
        return {"recipe": self.recipe, **counts, "cost": round(self.cost, 3), **numbers, "holds": self.holds}


class Judge(NamedTuple):
    """Makes trials, and keeps them."""

    model: ModelProto
    params: QuantizeParams
    parts: list[Part]
    feeds: Sequence[Feeds]
    exact: Outputs
    scratch: Path
    tell: Tell
    journal: Journal
    trials: list[Trial]
    by_row: ByRow | None = None

    def of(self, recipe: str, plan: Plan, by_row: tuple[str, ...] = ()) -> Trial:
        """The trial of one mix."""
        name = json.dumps([sorted(plan.items()), sorted(by_row)] if by_row else sorted(plan.items()))
        found = noted_scores(self.journal.noted(f"scores of {name}", partial(self._scores, recipe, plan, by_row)))
        holds = all(bound.holds(found[bound.figure]) for bound in bounds(self.params.subject_to))
        self.trials.append(Trial(recipe, plan, self._cost(plan, by_row), found, holds, by_row))
        return self.trials[-1]

    def graph(self, by_row: tuple[str, ...]) -> ModelProto:
        """The smoothed fp32 graph whose named groups have ranges by row."""
        return self.by_row.made(by_row) if self.by_row is not None and by_row else self.model

    def _cost(self, plan: Plan, by_row: tuple[str, ...]) -> float:
        minimize = self.params.minimize or "latency"
        cost = cost_of(self.parts, plan, minimize=minimize)
        if self.by_row is None or minimize == "size":
            return cost
        return cost + self.by_row.cost(by_row) / sum(part.cost("int8", minimize=minimize) for part in self.parts)

    def _scores(self, recipe: str, plan: Plan, by_row: tuple[str, ...]) -> dict[str, float]:
        changed = f"{len(plan)} of {len(self.parts)} nodes taken back"
        self.tell(f"trial {len(self.trials) + 1}: {recipe}, {changed}, {len(by_row)} groups by row")
        model = mixed(self.graph(by_row), spread(plan, self.parts), self.params)
        return scores(self.exact, outputs_of(model, self.feeds, self.scratch, with_losses=bounds_losses(self.params)))
