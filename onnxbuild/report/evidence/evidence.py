"""The evidence of a build: every verdict, every measured configuration and every step of each variant.

It is made from the outcomes of actions, and nothing in it is computed by a renderer: a page, a table and a comparison
that are made from the same evidence show the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from onnxbuild.deliver.best_variant import ChoiceRow
from onnxbuild.deliver.package_rows import PackageRow
from onnxbuild.deliver.variant_rows import Row
from onnxbuild.report.wording import counted
from onnxbuild.tables.bounds.metric import Side


class Check(Struct, frozen=True, kw_only=True):
    """One metric of a validation. `bound` is None if the validation does not judge by it.

    `data`: what both models read, `measured_on`: how much of it this metric was measured on, such as `60 rows`.
    `worst_at`: the output and the input with the worst value. `ran_on`: what ran in place of the device.

    Intervals are of 95 %, and None if they are not known. `interval`: what a bound is compared with; where both sides
    are compared with labels, that of the difference added to the reference's value. `value_interval`: that of the value
    by itself. `difference_interval`: that of the difference to the reference's value.
    """

    action: str
    metric: str
    value: float
    bound: float | None
    side: Side
    passed: bool
    data: str = ""
    worst_at: str = ""
    interval: tuple[float, float] | None = None
    value_interval: tuple[float, float] | None = None
    difference_interval: tuple[float, float] | None = None
    measured_on: str = ""
    ran_on: str = ""


class Ratio(Struct, frozen=True, kw_only=True):
    """How many times faster than a baseline: the median over rounds, and the range of the rounds."""

    baseline: str
    median: float
    least: float
    most: float


class RanAs(Struct, frozen=True, kw_only=True):
    """The calls that a program of fixed sizes has run for one sample, and their size."""

    batch: int
    sequence: int
    calls: int = 1

    @property
    def words(self) -> str:
        """`1×128`, or `4 calls of 2×128`."""
        shape = f"{self.batch}×{self.sequence}"
        return shape if self.calls == 1 else f"{self.calls} calls of {shape}"


class Measurement(Struct, frozen=True, kw_only=True):
    """One engine in one configuration. Latencies are in milliseconds per call, rates per second.

    `past`: tokens in the key-value cache. `own`: it runs the variant itself.
    `ratios`: only for that one, one for each baseline. `ran_as`: only for that one, where it ran another shape.
    `ran_on`: only for that one, what ran in place of the device.
    """

    action: str
    engine: str
    own: bool = False
    stage: str
    batch: int
    sequence: int
    threads: int
    past: int = 0
    calls: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    min_ms: float
    max_ms: float
    stdev_ms: float
    samples_per_second: float
    tokens_per_second: float | None = None
    contended: bool = False
    ratios: tuple[Ratio, ...] = ()
    ran_as: RanAs | None = None
    ran_on: str = ""

    @property
    def configuration(self) -> tuple[str, int, int, int]:
        """What was fed, and with how many threads: engines are comparable if this is equal."""
        return self.stage, self.batch, self.sequence, self.threads

    @property
    def fed(self) -> str:
        """`batch 8, 128 tokens, 1 thread`."""
        return f"batch {self.batch}, {self.sequence} tokens, {counted(self.threads, 'thread')}"


class Throughput(Struct, frozen=True, kw_only=True):
    """One engine in one setting of `throughput:`. Rates are per second: the median over passes, and their range.

    `texts` and `tokens`: of one pass, without padding. `padding_ratio`: tokens that were computed over real ones.
    `best`: the engine is fastest in this setting. `own`: it runs the variant itself.
    `ratios`: only for that one, one for each baseline.
    """

    action: str
    engine: str
    own: bool = False
    longer_than: int
    tokenized: str
    order: str
    batch: int
    workers: int
    threads: int
    texts: int
    tokens: int
    padding_ratio: float
    texts_per_second: float
    least_per_second: float
    most_per_second: float
    tokens_per_second: float
    contended: bool = False
    best: bool = False
    ratios: tuple[Ratio, ...] = ()

    @property
    def place(self) -> tuple[int, str, str, int]:
        """What is read, and how: settings that differ in nothing else have other numbers of workers or threads."""
        return self.longer_than, self.tokenized, self.order, self.batch

    @property
    def setting(self) -> tuple[int, str, str, int, int, int]:
        """Engines are comparable if this is equal."""
        return *self.place, self.workers, self.threads

    @property
    def fed(self) -> str:
        """`batch 8, sorted`, and what else is said about the texts."""
        longer = f"over {self.longer_than} characters" if self.longer_than else ""
        within = "with the tokenizer" if self.tokenized == "within" else ""
        return ", ".join(filter(None, (f"batch {self.batch}", self.order, longer, within)))


class Step(Struct, frozen=True, kw_only=True):
    """One action. `seconds`: how long it took when it ran, None if unknown. `failure`: its code and message."""

    id: str
    kind: str
    outcome: str
    seconds: float | None = None
    params: Mapping[str, Any] = {}
    packages: Mapping[str, str] = {}
    toolchain: Mapping[str, Any] = {}
    machine: Mapping[str, Any] | None = None
    key: str | None = None
    facts: Mapping[str, Any] = {}
    failure: str | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the step warned of; a worker may have written anything there."""
        texts = self.facts.get("warnings")
        return tuple(one for one in texts if isinstance(one, str)) if isinstance(texts, list | tuple) else ()


class VariantEvidence(Struct, frozen=True, kw_only=True):
    """Everything about one variant; `steps` go from fetch to its last measurement.

    `outdated`: what has changed in the manifest or its sources since these results, empty if nothing has.
    """

    model: str
    target: str
    precision: str
    row: Row
    checks: tuple[Check, ...]
    measurements: tuple[Measurement, ...]
    steps: tuple[Step, ...]
    throughputs: tuple[Throughput, ...] = ()
    outdated: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether a validation failed, or a step or a measurement."""
        return self.row.verdict == "failed" or any(step.failure is not None for step in self.steps)

    @property
    def name(self) -> str:
        """`model/target`."""
        return self.row.name


class Evidence(Struct, frozen=True, kw_only=True):
    """A build. `ended`: when the last of its results was noted, in Unix time, None if nothing has been run.

    `absent`: the actions whose results were looked for by key, and are not in the store.
    """

    onnxbuild: str
    source: str
    ended: float | None
    variants: tuple[VariantEvidence, ...]
    absent: tuple[str, ...] = ()
    choices: tuple[ChoiceRow, ...] = ()
    built_packages: tuple[PackageRow, ...] = ()  # folders for clients; `packages` are those of Python

    @property
    def machines(self) -> tuple[Mapping[str, Any], ...]:
        """The machines that measured, each once."""
        found: list[Mapping[str, Any]] = []
        for variant in self.variants:
            for step in variant.steps:
                if step.machine is not None and step.machine not in found:
                    found.append(step.machine)
        return tuple(found)

    @property
    def warned(self) -> tuple[Step, ...]:
        """The steps with warnings, each once."""
        steps = (step for variant in self.variants for step in variant.steps if step.warnings)
        return tuple({step.id: step for step in steps}.values())

    @property
    def packages(self) -> Mapping[str, tuple[str, ...]]:
        """The versions of each package that took part in a result."""
        found: dict[str, list[str]] = {}
        for variant in self.variants:
            for step in variant.steps:
                for name, version in step.packages.items():
                    if version not in found.setdefault(name, []):
                        found[name].append(version)
        return {name: tuple(found[name]) for name in sorted(found)}
