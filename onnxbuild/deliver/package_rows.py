"""The packages of a build as data: one row per package, taken from the facts of its actions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from onnxbuild.execute.events import SUCCEEDED, Outcome
from onnxbuild.planning.action_graph import ActionGraph, Packed
from onnxbuild.printable import printable

PackageCheck = Literal["passed", "failed", "skipped", "off"]


class PackageRow(Struct, frozen=True, kw_only=True):
    """One package as far as it was built and checked; None means that it was not.

    `check`: `skipped` where the client is absent, with the reason in `needs`; `off` where the manifest has switched it
    off. `client`: what loaded the package. `max_difference`: the largest one from ONNX Runtime on the same file.
    `states`: `compiled` or `prepared` for each folder of a package of compiled targets.
    `targets`: whose graphs are in it.
    """

    name: str  # MODEL/packages/NAME
    size_bytes: int | None = None
    files: int | None = None
    check: PackageCheck | None = None
    needs: str | None = None
    client: str | None = None
    max_difference: float | None = None
    states: Mapping[str, str] = {}
    targets: tuple[str, ...] = ()


def package_rows(graph: ActionGraph, outcomes: Mapping[str, Outcome]) -> tuple[PackageRow, ...]:
    """One row per package of the graph, in the order of the manifest."""
    return tuple(_row(one, outcomes) for one in graph.packages)


def skipped_because(outcome: Outcome) -> str | None:
    """What a check with a client needs and does not find, as its worker says; None for any other outcome."""
    needs = outcome.facts.get("skipped")
    is_skipped = outcome.outcome in SUCCEEDED and isinstance(needs, str)
    return printable(" ".join(str(needs).split())) if is_skipped else None


def _row(packed: Packed, outcomes: Mapping[str, Outcome]) -> PackageRow:
    written = outcomes.get(packed.variant.output.action)
    facts: Mapping[str, Any] = written.facts if written is not None else {}
    checked = outcomes.get(packed.client) if packed.client is not None else None
    return PackageRow(
        name=packed.variant.name,
        size_bytes=_count(facts.get("bytes")),
        files=_count(facts.get("files")),
        check="off" if packed.client is None else _check(checked),
        needs=skipped_because(checked) if checked is not None else None,
        client=_text(checked.facts.get("client")) if checked is not None else None,
        max_difference=_largest(checked),
        states=_states(facts.get("states")),
        targets=packed.targets,
    )


def _states(written: Any) -> dict[str, str]:
    named = written.items() if isinstance(written, Mapping) else ()
    return {printable(str(name)): printable(str(state)) for name, state in named}


def _check(outcome: Outcome | None) -> PackageCheck | None:
    if outcome is not None and outcome.outcome in SUCCEEDED:
        return "skipped" if skipped_because(outcome) is not None else "passed"
    return "failed" if outcome is not None and outcome.outcome == "failed" else None


def _largest(outcome: Outcome | None) -> float | None:
    found = outcome.facts.get("max_difference") if outcome is not None else None
    values = found.values() if isinstance(found, Mapping) else (found,)
    numbers = [float(one) for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
    return max(numbers, default=None)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return printable(" ".join(value.split())) if isinstance(value, str) else None
