"""How far a variant holds: the shapes that it was asked for, and those that its model chose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from onnxbuild.tables.thresholds import side_of
from onnxbuild.workers.inputs.picture_sizes import is_other_picture
from onnxbuild.workers.inputs.sample_source import Source
from onnxbuild.workers.validate.bounds import broken_bounds
from onnxbuild.workers.validate.compare import Task
from onnxbuild.workers.validate.lengths import of_length
from onnxbuild.workers.validate.trial import Sides, Trial, tried_chosen
from onnxbuild.workers.validate.worst import Worst, worst_of

_MOST_TEXT = 300


# Means and shares over rows. A sample has as few as one row, and quantization costs some rows more than others.
_OVER_ROWS = frozenset({"cosine_mean", "mean_abs", "top1", "top5", "kl_mean", "perplexity_ratio"})
_SPREAD = 4.0


class Partly(Struct, frozen=True, kw_only=True):
    """What to say of a variant that holds in part."""

    message: str
    notes: Sequence[tuple[str, str]] = ()


class Judge(Struct, frozen=True, kw_only=True):
    """Says of single samples whether they keep the bounds; `usual` is what the samples that hold gave."""

    sides: Sides
    source: Source
    task: Task
    thresholds: Mapping[str, float]
    usual: Mapping[str, Worst]

    def fault(self, trial: Trial) -> str | None:
        """What is wrong with a trial by itself, None if it keeps every bound that it can be measured by."""
        if trial.error is not None:
            return " ".join(str(trial.error).split())[:_MOST_TEXT]
        worst = worst_of(trial.records, trial.text)
        bounds = {name: of_few_rows(name, bound) for name, bound in self.thresholds.items() if name in worst}
        if bounds.get("top1", 1.0) < 1.0 and _is_as_usual(worst, self.usual):
            del bounds["top1"]
        broken = broken_bounds(worst, bounds)
        return broken[0] if broken else None

    def partly(self, given: Sequence[Trial], chosen: Sequence[Trial]) -> Partly | None:
        """Up to where the variant holds, for samples of which the given ones hold and a chosen one does not."""
        for trial in chosen:
            fault = self.fault(trial)
            if fault is None:
                continue
            if is_other_picture(trial.sample):
                message = f"the graph leaves the size of pictures free, and fails for another one: {fault}"
                return Partly(message=message)
            if "input_ids" not in self.source.inputs:
                return Partly(message=f"the graph leaves the length of audio free, and fails for another one: {fault}")
            wrong = trial.sample.length
            shorter = (one.sample.length for one in (*given, *chosen) if one.sample.length < wrong)
            limit = holds_up_to(self._holds, max(shorter, default=1), wrong)
            message = f"the graph holds up to {limit} tokens, and fails with {wrong}: {fault}"
            hint = f"`export: {{max_length: {limit}}}` accepts this limit; another exporter may have none"
            return Partly(message=message, notes=(("hint", hint),))
        return None

    def _holds(self, length: int) -> bool:
        trial = tried_chosen(self.sides, of_length(self.source, length), self.task)
        return trial is None or self.fault(trial) is None


def tried_below(sides: Sides, source: Source, task: Task, *, taken: int, refused: int) -> Trial | None:
    """The longest sample that the reference takes below one that it refuses, to about a 32nd of its length.

    Without it, a model that refuses its own last positions (BigBird pads a text beyond them) would be compared with
    short texts only.
    """
    longest = None
    while refused - taken > max(1, refused // 32):
        middle = (taken + refused) // 2
        trial = tried_chosen(sides, of_length(source, middle), task)
        if trial is None:
            refused = middle
        else:
            taken, longest = middle, trial
    return longest


def _is_as_usual(worst: Mapping[str, Worst], usual: Mapping[str, Worst]) -> bool:
    """Whether class probabilities differ as they do elsewhere: another label of one row is then no more than a tie."""
    here, elsewhere = worst.get("max_probability"), usual.get("max_probability")
    return here is not None and elsewhere is not None and here.value <= _SPREAD * elsewhere.value


def of_few_rows(metric: str, bound: float) -> float:
    """The bound for one sample: where it is one on a mean, a few rows may be `_SPREAD` times as far from agreement."""
    if metric not in _OVER_ROWS:
        return bound
    agreement = 1.0 if side_of(metric) == "min" or metric == "perplexity_ratio" else 0.0
    return agreement + _SPREAD * (bound - agreement)


def holds_up_to(holds: Callable[[int], bool], right: int, wrong: int) -> int:
    """The largest length that holds, found by halving between one that does and one that does not."""
    while wrong - right > 1:
        middle = (right + wrong) // 2
        if holds(middle):
            right = middle
        else:
            wrong = middle
    return right
