"""Searches the cheapest mix of forms that keeps a bound: int8 for all, then sensitive nodes are taken back.

How much each node costs in accuracy is measured once, with that node alone in int8. Then nodes are taken back in the
order of their loss per cost, to 8-bit weights or to fp32: as many as the bound needs, found by doubling and halving.
Before that much is given up, groups of products get ranges by row.
Which mix is cheaper comes from a table of ratios and never from a clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from onnx import ModelProto

from onnxbuild.protocol import CheckFailed, Tell
from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.steps.quantizing.bounds_of_search import all_reached, bounds, check_measured
from onnxbuild.workers.calibrate.feeds import Feeds
from onnxbuild.workers.folders.journal import Journal
from onnxbuild.workers.measuring.output_scores import WORST, fewest, loss_of, scores
from onnxbuild.workers.quantize.search.by_row import ByRow
from onnxbuild.workers.quantize.search.judged import outputs_of
from onnxbuild.workers.quantize.search.mixed import Form, Part, Plan, mixed, parts_of, spread
from onnxbuild.workers.quantize.search.trials import Judge, Trial, bounds_losses

_PROBES = 16  # passes on which the loss of one node is measured

# What sensitive nodes are taken back to.
_RECIPES: Mapping[str, Form] = {"int8, 8-bit weights": "q8", "int8, fp32": "fp32"}
ROWS = "int8 by row"


class Rows(NamedTuple):
    """The feeds on which nodes are compared, and those that judge a mix, with what the fp32 graph gives for them."""

    probes: Sequence[Feeds]
    judges: Sequence[Feeds]


def search(
    model: ModelProto,
    params: QuantizeParams,
    rows: Rows,
    scratch: Path,
    tell: Tell,
    journal: Journal,
    by_row: ByRow | None = None,
    together: Callable[[list[Part]], list[Part]] = lambda parts: parts,
) -> tuple[ModelProto, dict[str, Any]]:
    """The cheapest mix that keeps every bound, as a quantized copy of the model.

    What is measured is noted in the journal, and what it has already is not measured again.
    `model` has a name for each node, and is smoothed already. `together`: gives nodes the twins that share their form.
    Facts: `losses` by node, unless int8 keeps the bounds,
    `trials`, `chosen`, `taken_back` by form, `by_row`: the groups with ranges by row.
    Errors: CheckFailed OBE115 if no mix keeps the bounds, OBE116 for a bound
    on what the model does not have.
    """
    if not rows.probes or not rows.judges:
        raise CheckFailed("OBE116", "a search needs at least two rows of text: one to measure on, and one to judge by")
    parts = together(parts_of(model, params))
    exact = outputs_of(model, rows.judges, scratch, with_losses=bounds_losses(params))
    check_measured(bounds(params.subject_to), scores(exact, exact))
    judge = Judge(model, params, parts, rows.judges, exact, scratch, tell, journal, [], by_row)
    first = judge.of("int8", {})
    losses = {} if first.holds else _losses(model, params, parts, rows.probes[:_PROBES], scratch, tell, journal)
    trials = [first] if first.holds else _taking_back(judge, losses)
    chosen = min(trials, key=lambda trial: trial.cost, default=None)
    facts: dict[str, Any] = {"losses": spread(losses, parts), "trials": [trial.facts for trial in judge.trials]}
    if chosen is None:
        raise _nothing_holds(judge.trials, params, facts)
    plan = spread(chosen.plan, parts)
    taken_back = {form: sorted(name for name, one in plan.items() if one == form) for form in ("q8", "fp32")}
    facts |= {"chosen": chosen.facts, "taken_back": {form: names for form, names in taken_back.items() if names}}
    facts |= {"by_row": sorted(chosen.by_row)} if chosen.by_row else {}
    return mixed(judge.graph(chosen.by_row), plan, params), facts


def _taking_back(judge: Judge, losses: Mapping[str, float]) -> Iterator[Trial]:
    """The cheapest trial that holds of each recipe; with every node in fp32, nothing would be quantized."""
    for recipe, form in _RECIPES.items():
        trial = _back_to(judge, recipe, form, losses)
        if trial is not None and not _is_whole(judge.parts, trial.plan):
            yield trial
    if judge.by_row is not None:
        trial = _by_row(judge, judge.by_row, losses)
        if trial is not None:
            yield trial


def _is_whole(parts: Sequence[Part], plan: Plan) -> bool:
    """Whether a mix leaves every node in fp32."""
    return all(plan.get(part.name) == "fp32" for part in parts)


def _by_row(judge: Judge, by_row: ByRow, losses: Mapping[str, float]) -> Trial | None:
    """The trial that holds with the fewest groups by row; if all of them do not suffice, nodes are taken back too."""
    order = by_row.order(losses)
    trial = fewest(lambda count: judge.of(ROWS, {}, tuple(order[:count])), len(order)) if order else None
    if trial is not None or not order:
        return trial
    return _back_to(judge, f"{ROWS}, 8-bit weights", "q8", by_row.left(losses, order), tuple(order))


def _back_to(
    judge: Judge, recipe: str, form: Form, losses: Mapping[str, float], by_row: tuple[str, ...] = ()
) -> Trial | None:
    """The trial that holds with the fewest nodes taken back to a form."""
    order = _order(judge.parts, losses, form, judge.params.minimize or "latency")
    return fewest(lambda count: judge.of(recipe, dict(order[:count]), by_row), len(order))


def _order(parts: Sequence[Part], losses: Mapping[str, float], form: Form, minimize: str) -> list[tuple[str, Form]]:
    """The nodes with the form that each is taken back to, those first that lose most for what taking back costs."""

    def gain(part: Part) -> float:
        extra = part.cost(_taken_to(part, form), minimize=minimize) - part.cost("int8", minimize=minimize)
        return losses[part.name] / extra

    return [(part.name, _taken_to(part, form)) for part in sorted(parts, key=lambda one: (-gain(one), one.name))]


def _taken_to(part: Part, form: Form) -> Form:
    return form if form in part.forms else "fp32"


def _losses(
    model: ModelProto,
    params: QuantizeParams,
    parts: Sequence[Part],
    feeds: Sequence[Feeds],
    scratch: Path,
    tell: Tell,
    journal: Journal,
) -> dict[str, float]:
    """How far the outputs are from those of fp32 with each node alone in int8."""
    exact = outputs_of(model, feeds, scratch)

    def loss(number: int, part: Part) -> float:
        tell(f"sensitivity of {part.name}", number, len(parts))
        others: dict[str, Form] = {one.name: "fp32" for one in parts if one is not part}
        found = outputs_of(mixed(model, spread(others, parts), params), feeds, scratch)
        return noted_loss(loss_of(scores(exact, found)))

    return {
        part.name: journal.noted(f"loss of {part.name}", partial(loss, number, part))
        for number, part in enumerate(parts)
    }


def noted_loss(value: float) -> float:
    """A loss as the journal keeps it. NaN is the worst of all, and JSON has neither it nor infinity."""
    return WORST if math.isnan(value) else float(f"{min(max(0.0, value), WORST):.4g}")


def _nothing_holds(trials: Sequence[Trial], params: QuantizeParams, facts: dict[str, Any]) -> CheckFailed:
    wanted = bounds(params.subject_to)
    mixes = [trial for trial in trials if not trial.holds] or trials  # a trial that holds has every node in fp32
    best = max(mixes, key=lambda trial: (sum(b.holds(trial.found[b.figure]) for b in wanted), -loss_of(trial.found)))
    nearest = all_reached(params.subject_to, best.found)
    return CheckFailed(
        "OBE115",
        f"no mix of int8, 8-bit weights and fp32 keeps the bounds; the nearest of {len(mixes)} gives {nearest}",
        notes=[("hint", "loosen the bound, or name in `exclude` what must stay in fp32")],
        facts=facts,
    )
