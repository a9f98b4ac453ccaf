"""Bounds that a search keeps, as a manifest writes them: `cosine_mean: ">= 0.999"`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from msgspec import UnsetType

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.kind import Context, Fault
from onnxbuild.tables.choices import Condition, bound_hint, condition

Metric = Literal["cosine_mean", "cosine_min", "top1", "kl_mean", "perplexity_ratio"]

# A bound for each metric, which shows which way it is bounded.
_EXAMPLES: Mapping[str, str] = {
    "cosine_mean": ">= 0.999", "cosine_min": ">= 0.99", "top1": ">= 0.99", "kl_mean": "<= 0.001",
    "perplexity_ratio": "<= 1.005",
}  # fmt: skip


def bounds(subject_to: Mapping[Metric, str] | UnsetType) -> tuple[Condition, ...]:
    """The bounds of a checked block."""
    texts = {} if isinstance(subject_to, UnsetType) else subject_to
    read = (condition(metric, text) for metric, text in texts.items())
    return tuple(one for one in read if one is not None)


def check_bounds(subject_to: Mapping[Metric, str], context: Context) -> Iterator[Fault]:
    """OB667 for a bound that is none, points the wrong way, cannot be fulfilled, or is of another kind of model."""
    for metric, text in subject_to.items():
        read = condition(metric, text)
        if read is None or read.operator[0] != _EXAMPLES[metric][0]:
            yield Fault(
                code="OB667",
                field="subject_to",
                message=f"`{metric}` expects a bound such as `{_EXAMPLES[metric]}`, found `{text}`",
                hint=bound_hint(metric, text),
            )
        elif not read.can_hold:
            yield Fault(code="OB667", field="subject_to", message=f"no variant can fulfil `{read}`")
    if "perplexity_ratio" in subject_to and context.task and context.family == "encoder":
        message = f"`perplexity_ratio` is of models that generate text, and the task is `{context.task}`"
        hint = "bound `cosine_mean`, or `kl_mean` if the model has logits"
        yield Fault(code="OB667", field="subject_to", message=message, hint=hint)


def check_measured(wanted: Iterable[Condition], known: Mapping[str, float]) -> None:
    """Check that every bound is on a metric that was measured. Errors: CheckFailed OBE116."""
    for bound in wanted:
        if bound.figure not in known:
            hint = f"bound one of {', '.join(f'`{name}`' for name in known)}"
            raise CheckFailed(
                "OBE116", f"the model has no `{bound.figure}`: it gives no logits", notes=[("hint", hint)]
            )


def all_reached(subject_to: Mapping[Metric, str] | UnsetType, found: Mapping[str, float]) -> str:
    """What a trial gives for each bound, in words."""
    texts: Mapping[Any, str] = {} if isinstance(subject_to, UnsetType) else subject_to
    each = (f"{_reached(one, found[one.figure])} for `{one.figure} {texts[one.figure]}`" for one in bounds(subject_to))
    return ", ".join(each)


def _reached(bound: Condition, value: float) -> str:
    """A value with enough digits to see on which side of the bound it is."""
    short = f"{value:.6f}"
    return short if bound.holds(float(short)) == bound.holds(value) else repr(value)
