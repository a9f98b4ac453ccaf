"""Evidence that was saved: the JSON of a report, or `onnxbuild.json` of delivered folders."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.deliver.provenance import MEASURES, is_check, proofs_among
from onnxbuild.deliver.variant_rows import Metric
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import PACKAGES, Action, ActionGraph, OutputRef, Packed, Variant
from onnxbuild.report.evidence.evidence import Check, Evidence, Measurement, Ratio
from onnxbuild.report.evidence.gathering import gather
from onnxbuild.steps.packaging.package_kind import CLIENT
from onnxbuild.store.traces import Trace

# The figures of checks, of ratios and of measurements.
_NEVER_ABSENT = frozenset(
    field.name
    for struct in (Check, Metric, Ratio, Measurement)
    for field in msgspec.structs.fields(struct)
    if field.type is float
)


class _Step(Struct, frozen=True):
    id: str
    kind: str
    key: str
    params: Mapping[str, Any]
    packages: Mapping[str, str]
    toolchain: Mapping[str, Any]
    machine: Mapping[str, Any] | None
    facts: Mapping[str, Any]
    inputs: Mapping[str, str] = {}
    outputs: Mapping[str, str] = {}


class Delivered(Struct, frozen=True):
    """The part of `onnxbuild.json` that a comparison needs."""

    model: str
    target: str
    precision: str
    steps: tuple[_Step, ...]


def read_report(text: bytes) -> Evidence:
    """The evidence of a report in JSON. Errors: ValueError if the text is something else."""
    return msgspec.convert(_with_nan(msgspec.json.decode(text)), Evidence)


def _with_nan(value: Any) -> Any:
    """The value with NaN in place of null where a figure is never absent: JSON has no NaN."""
    if isinstance(value, dict):
        known = ((name, _with_nan(one)) for name, one in value.items())
        return {name: math.nan if one is None and name in _NEVER_ABSENT else one for name, one in known}
    return [_with_nan(one) for one in value] if isinstance(value, list) else value


def read_delivered(text: bytes) -> Delivered:
    """What `onnxbuild.json` says. Errors: ValueError if the text is something else."""
    return msgspec.json.decode(text, type=Delivered)


def evidence_of(delivered: Iterable[Delivered], source: str) -> Evidence:
    """The evidence of variants that were delivered; what a failed action measured is not in their descriptions."""
    delivered = list(delivered)
    steps = {step.id: step for one in delivered for step in one.steps}
    actions = {step.id: Action(id=step.id, kind=step.kind, params=step.params, inputs={}) for step in steps.values()}
    outcomes = {
        step.id: Outcome(id=step.id, kind=step.kind, outcome="hit", key=step.key, facts=step.facts)
        for step in steps.values()
    }
    traces = {step.key: _trace(step) for step in steps.values()}
    variants = tuple(_variant(one) for one in delivered if not _is_package(one))
    packages = tuple(_packed(one) for one in delivered if _is_package(one))
    graph = ActionGraph(actions, variants, packages=packages)
    return gather(graph, outcomes, traces.get, source=source, ended=None)


def _is_package(one: Delivered) -> bool:
    return one.target.startswith(f"{PACKAGES}/")


def _packed(one: Delivered) -> Packed:
    client = next((step.id for step in one.steps if step.kind.startswith(CLIENT)), None)
    return Packed(name=one.target.removeprefix(f"{PACKAGES}/"), variant=_variant(one), client=client)


def _variant(one: Delivered) -> Variant:
    builds = tuple(step.id for step in one.steps if not is_check(step.kind) and step.kind not in MEASURES)
    proofs = proofs_among(one.steps)
    return Variant(
        model=one.model,
        target=one.target,
        output=OutputRef(builds[-1] if builds else "", "model"),
        precision=one.precision,
        steps=builds,
        checks=tuple(step.id for step in one.steps if is_check(step.kind) and step.id not in proofs),
        measures=tuple(step.id for step in one.steps if step.kind in MEASURES),
        proofs=tuple(step.id for step in one.steps if step.id in proofs),
    )


def _trace(step: _Step) -> Trace:
    parts = {"packages": step.packages, "toolchain": step.toolchain, "machine": step.machine}
    return Trace(parts=parts, outputs={}, facts=step.facts, seconds=0.0, worker="")
