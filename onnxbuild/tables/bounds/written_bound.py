"""Bounds as a manifest writes them: a number, or text such as `>= fp32 - 0.01`."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from onnxbuild.tables.bounds.metric import Side

_NUMBER = r"\d+(?:\.\d+)?(?:e-?\d+)?"
_FORM = re.compile(rf"(>=|<=)\s*(?:(fp32)(?:\s*([+-])\s*({_NUMBER})(\s*%)?)?|(-?{_NUMBER}))")
_SIDES: Mapping[str, Side] = {">=": "min", "<=": "max"}

FORMS = "`>= 0.9`, `>= fp32 - 0.01` or `<= fp32 + 5%`"


class WrittenBound(Struct, frozen=True):
    """A bound that was written as text: `amount` by itself, or added to the reference's value (as a share of it)."""

    side: Side
    amount: float
    is_relative: bool = False
    is_share: bool = False

    def limit(self, reference: float | None) -> float | None:
        """The bound as a number; None for a relative one where the reference has no value."""
        if not self.is_relative:
            return self.amount
        if reference is None:
            return None
        return reference + self.amount * (abs(reference) if self.is_share else 1.0)


def written_bound(text: str) -> WrittenBound | None:
    """The bound that a text writes; None if it has another form."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        return None
    sign, fp32, direction, amount, share, plain = match.groups()
    if fp32 is None:
        return WrittenBound(_SIDES[sign], float(plain))
    size = float(f"{direction}{amount}") if amount else 0.0
    return WrittenBound(_SIDES[sign], size / 100 if share else size, is_relative=True, is_share=bool(share))
