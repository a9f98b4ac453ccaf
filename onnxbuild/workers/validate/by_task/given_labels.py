"""What rows say is right: the class of a text or a picture, and how alike the two texts of a pair are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from onnxbuild.protocol import CheckFailed


def grade_of(value: Any, place: str) -> float:
    """How alike two texts are, on any scale. Errors: CheckFailed OBE143 if it is no number."""
    try:
        grade = float(value)
    except (TypeError, ValueError):
        grade = math.nan
    if not math.isfinite(grade) or isinstance(value, bool):
        raise CheckFailed("OBE143", f"{place} has the score `{value}`, which is no number")
    return grade


def class_of_label(value: Any, config: Mapping[str, Any], place: str) -> int:
    """The class of a label: its number, or its name in `id2label` of config.json, ignoring case.

    A model with one logit, which decides by its sign, has the classes 0 and 1. Errors: CheckFailed OBE68 otherwise.
    """
    names = {int(key): str(name) for key, name in (config.get("id2label") or _TWO).items()}
    if len(names) == 1:
        names = {0: "0", 1: "1"}
    exact = {name: number for number, name in names.items()}
    folded = {name.casefold(): number for number, name in names.items()}
    text = str(value).strip()
    for known, asked in ((exact, text), (folded, text.casefold())):
        if asked in known and not isinstance(value, bool):
            return known[asked]
    number = _whole(value)
    if number is not None and number in names:
        return number
    shown = list(names.items())[:_FEW]
    listed = ", ".join(f"`{name}`" if name == str(key) else f"`{name}` ({key})" for key, name in shown)
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    raise CheckFailed(
        "OBE68",
        f"{place} has the label `{value}`, which the model does not know",
        notes=[("hint", f"its labels are {listed}{more}")],
    )


_FEW = 8
_TWO: Mapping[str, str] = {"0": "LABEL_0", "1": "LABEL_1"}  # which transformers leaves out of config.json


def _whole(value: Any) -> int | None:
    """A whole number as files write it: 1, 1.0 and "1"; truth values are 0 and 1."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if number.is_integer() else None
