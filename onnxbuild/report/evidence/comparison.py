"""Two builds side by side: what changed in accuracy, size and speed, and whether that is more than noise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal

from msgspec import Struct

from onnxbuild.deliver.package_rows import PackageRow
from onnxbuild.report.evidence.compared_figures import TEXTS_PER_SECOND, Figure, figures, is_of_a_machine
from onnxbuild.report.evidence.evidence import Evidence, VariantEvidence
from onnxbuild.tables.regressions import Allowance, worse_way

Verdict = Literal["better", "worse", "equal", "undecided", "new", "gone"]
Breach = Literal["broken", "undecided", "incomparable"]

_EQUAL = 1e-9  # relative; the same file measured on the same rows gives the same number


class Change(Struct, frozen=True, kw_only=True):
    """One figure of one variant in two builds. `where`: the configuration, for latencies beyond the first one.

    `allowed`: the bound that it is judged by. `breach`: whether that is broken, or the interval does not decide it, or
    two machines measured.
    """

    variant: str
    figure: str
    where: str = ""
    before: Figure | None
    after: Figure | None
    verdict: Verdict
    allowed: str = ""
    breach: Breach | None = None

    @property
    def relative(self) -> float | None:
        """The change as a share of the earlier value."""
        if self.before is None or self.after is None or self.before.value == 0:
            return None
        return self.after.value / self.before.value - 1


class PackageChange(Struct, frozen=True, kw_only=True):
    """A package whose size or whose check with its client differs; None: that build does not have it."""

    name: str
    before: PackageRow | None
    after: PackageRow | None


class Comparison(Struct, frozen=True, kw_only=True):
    """Two builds. `gone` and `new`: variants that only the first or the second has.

    `in_common`: how many variants both have. `unjudged`: figures with a bound that neither build has. `absent`: by
    build, the actions whose results the store does not have. `packages`: those that differ.
    """

    before: str
    after: str
    changes: tuple[Change, ...]
    gone: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    machines_differ: bool = False
    unjudged: tuple[str, ...] = ()
    in_common: int = 0
    absent: Mapping[str, tuple[str, ...]] = {}
    packages: tuple[PackageChange, ...] = ()

    @property
    def broken(self) -> tuple[Change, ...]:
        """The changes that a bound forbids."""
        return tuple(change for change in self.changes if change.breach == "broken")


def compare(before: Evidence, after: Evidence, bounds: Mapping[str, Allowance] | None = None) -> Comparison:
    """Every figure of the variants that both builds have. `bounds`: by figure, how much worse it may become."""
    olds = {variant.name: variant for variant in before.variants}
    news = {variant.name: variant for variant in after.variants}
    bounds, apart = bounds or {}, _are_apart(before, after)
    both = [(olds[name], new) for name, new in news.items() if name in olds]
    changes = tuple(change for old, new in both for change in _changes(old, new, bounds, apart=apart))
    return Comparison(
        before=before.source,
        after=after.source,
        changes=changes,
        gone=tuple(name for name in olds if name not in news),
        new=tuple(name for name in news if name not in olds),
        machines_differ=apart,
        in_common=len(both),
        absent={build.source: build.absent for build in (before, after) if build.absent},
        packages=tuple(_packages(before, after)),
        unjudged=tuple(figure for figure in bounds if figure not in {change.figure for change in changes}),
    )


def _packages(before: Evidence, after: Evidence) -> Iterator[PackageChange]:
    """The packages that are not equal in both builds; one that was not built counts as absent."""
    olds, news = (
        {row.name: row for row in build.built_packages if row.size_bytes is not None or row.check == "failed"}
        for build in (before, after)
    )
    for name in dict.fromkeys([*olds, *news]):
        old, new = olds.get(name), news.get(name)
        if _what_counts(old) != _what_counts(new):
            yield PackageChange(name=name, before=old, after=new)


def _what_counts(row: PackageRow | None) -> tuple[object, ...]:
    """What is compared: folders do not say which targets are in them."""
    return () if row is None else (row.size_bytes, row.files, row.check, row.needs, row.client)


def _are_apart(before: Evidence, after: Evidence) -> bool:
    """Whether two machines measured."""
    return bool(before.machines and after.machines) and before.machines != after.machines


def _changes(
    old: VariantEvidence, new: VariantEvidence, bounds: Mapping[str, Allowance], *, apart: bool
) -> Iterator[Change]:
    befores, afters = dict(figures(old)), dict(figures(new))
    for key in dict.fromkeys([*befores, *afters]):
        before, after = befores.get(key), afters.get(key)
        allowed = bounds.get(key[0])
        yield Change(
            variant=new.name,
            figure=key[0],
            where=key[1],
            before=before,
            after=after,
            verdict=_verdict(key[0], before, after),
            allowed=allowed.text if allowed else "",
            breach=_breach(before, after, allowed, incomparable=apart and is_of_a_machine(key[0])),
        )


def _verdict(figure: str, before: Figure | None, after: Figure | None) -> Verdict:
    if before is None or after is None:
        return "new" if before is None else "gone"
    if math.isclose(before.value, after.value, rel_tol=_EQUAL, abs_tol=0):
        return "equal"
    if before.low <= after.high and after.low <= before.high:
        return "undecided"
    way = -1 if figure == TEXTS_PER_SECOND else worse_way(figure)
    return "worse" if (after.value - before.value) * way > 0 else "better"


def _breach(
    before: Figure | None, after: Figure | None, allowed: Allowance | None, *, incomparable: bool
) -> Breach | None:
    """A bound is broken if the whole interval is beyond it; an interval that crosses it decides nothing."""
    if before is None or allowed is None:
        return None
    if after is None:
        return "broken"  # what was measured before, and is not any more, shows nothing
    if after == before:
        return None  # the same measurement: a run measures again only what was built again
    if incomparable:
        return "incomparable"
    limit = allowed.limit(before.value)
    nearest, farthest = (after.low, after.high) if allowed.way > 0 else (after.high, after.low)
    if (nearest - limit) * allowed.way > 0 or math.isnan(after.value):
        return "broken"
    return "undecided" if (farthest - limit) * allowed.way > 0 else None
