"""What checks with clients share: the report, a check that cannot run, and the comparison of a client's numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from onnxbuild.protocol import CheckFailed, Facts

REPORT = "client.json"


def skipped(needs: str, outputs: Mapping[str, Path]) -> Facts:
    """The facts of a check whose client is absent: `needs node`. It has neither passed nor failed."""
    return reported({"skipped": needs}, outputs)


def reported(facts: Facts, outputs: Mapping[str, Path]) -> Facts:
    """The facts, written to the report too."""
    (outputs["report"] / REPORT).write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return facts


def absent_module(*names: str) -> str | None:
    """The first of some Python modules that cannot be imported here."""
    return next((name for name in names if not _is_there(name)), None)


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that contains it
        return False


def largest_difference(client: np.ndarray, direct: np.ndarray, what: str) -> float:
    """The largest difference between a client's numbers and those of ONNX Runtime. Errors: CheckFailed OBE190."""
    if client.shape != direct.shape:
        raise unequal(f"{what}: the client returns the shape {list(client.shape)} instead of {list(direct.shape)}", {})
    difference = np.abs(client.astype(np.float64) - direct.astype(np.float64))
    return float(difference.max(initial=0.0))


def check_equal(differences: Mapping[str, float], bound: float, client: str) -> None:
    """Check that all differences are within a bound. Errors: CheckFailed OBE190."""
    wrong = {name: value for name, value in differences.items() if not value <= bound}  # NaN is wrong, too
    if wrong:
        name, value = max(wrong.items(), key=lambda item: item[1])
        message = f"{client} computes other numbers than ONNX Runtime with `{name}`: {value:.3g} is above {bound:g}"
        raise unequal(message, {"max_difference": dict(differences), "bound": bound})


def unequal(message: str, facts: Mapping[str, Any], notes: Sequence[tuple[str, str]] = ()) -> CheckFailed:
    """OBE190: a client does something else than ONNX Runtime does with the same file."""
    return CheckFailed("OBE190", message, notes=notes, facts=facts)


def unopened(client: str, name: str, error: Exception) -> CheckFailed:
    """OBE191: a client does not open the package."""
    reason = " ".join(str(error).split())[:500]
    return CheckFailed(
        "OBE191", f"{client} does not open `{name}`", notes=[("cause", f"{type(error).__name__}: {reason}")]
    )
