"""How far a compiled variant has come: prepared, compiled, executed, verified; and where, in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from onnxbuild.deliver.package_rows import skipped_because
from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import Variant
from onnxbuild.printable import printable
from onnxbuild.steps.checks.load_check import LOAD
from onnxbuild.steps.compiling.backend_kind import HOST_DOUBLE
from onnxbuild.steps.validate import VALIDATE

PREPARED, COMPILED = "prepared", "compiled"


def state_of(variant: Variant, outcomes: Mapping[str, Outcome]) -> str | None:
    """`prepared`, `compiled`, `executed on CPU`, `verified on CPU`; None if the variant is not compiled at all.

    The last two name an emulator or a host double as such: `verified on emulator of HTP`. What was not compiled says
    so: `prepared, verified on host double of Cloud AI 100`.
    """
    made = outcomes.get(variant.output.action)
    if not variant.backend or made is None or made.outcome not in SUCCEEDED:
        return None
    ended = [outcomes[one] for one in (*variant.checks, *variant.measures) if one in outcomes]
    verified = [place for one in ended if _proves(one) and (place := _place(one.facts))]
    # To load a file runs nothing of it.
    executed = [place for one in ended if one.kind != LOAD.name and (place := _place(one.facts))]
    state = PREPARED if made.facts.get("state") != COMPILED else COMPILED
    reached = f"verified on {verified[0]}" if verified else f"executed on {executed[0]}" if executed else state
    # Only a host double runs what is not compiled.
    return reached if state in {COMPILED, reached} else f"{state}, {reached}"


def is_prepared(state: str | None) -> bool:
    """Whether a state is that of a variant that nothing has compiled."""
    return state is not None and state.partition(",")[0] == PREPARED


def is_double(facts: Mapping[str, Any]) -> bool:
    """Whether an action has run a variant on a host double of its device."""
    return _is_at(HOST_DOUBLE, facts)


def is_emulated(facts: Mapping[str, Any]) -> bool:
    """Whether an action has run a variant in an emulator of its device."""
    return _is_at("emulator", facts)


def stand_in(facts: Mapping[str, Any]) -> str:
    """What has run in place of the device: `host double of Cloud AI 100`; empty if the device itself has."""
    return (_place(facts) or "") if is_double(facts) or is_emulated(facts) else ""


def _is_at(place: str, facts: Mapping[str, Any]) -> bool:
    where = facts.get("executed_on")
    return isinstance(where, Mapping) and where.get("place") == place


def skipped_checks(variant: Variant, outcomes: Mapping[str, Outcome]) -> str | None:
    """What the checks and measurements of a compiled variant lack here: `needs qaic-compile`; None if they ran."""
    return next(_reasons(outcomes[one] for one in (*variant.checks, *variant.measures) if one in outcomes), None)


def _reasons(outcomes: Iterable[Outcome]) -> Any:
    return (reason for one in outcomes if (reason := skipped_because(one)) is not None)


def _proves(outcome: Outcome) -> bool:
    return outcome.kind == VALIDATE.name and outcome.outcome in SUCCEEDED and outcome.facts.get("passed") is True


def _place(facts: Mapping[str, Any]) -> str | None:
    where = facts.get("executed_on")
    if not isinstance(where, Mapping) or not isinstance(where.get("name"), str):
        return None
    name, place = printable(where["name"]), where.get("place")
    return name if place == "device" else f"{printable(str(place))} of {name}"
