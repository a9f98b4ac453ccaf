"""The colours of a drawing: of outcomes and of step kinds. Words say the same, so that nothing depends on colour."""

from __future__ import annotations

from collections.abc import Mapping

# Fill and stroke by outcome.
OUTCOMES: Mapping[str, tuple[str, str]] = {
    "hit": ("#e8f5e9", "#2e7d32"),
    "built": ("#e3f2fd", "#1565c0"),
    "unchanged": ("#e0f2f1", "#00695c"),
    "run": ("#fff8e1", "#f9a825"),
    "failed": ("#ffebee", "#c62828"),
    "blocked": ("#f5f5f5", "#757575"),
    "skipped": ("#f5f5f5", "#757575"),
}
UNKNOWN = ("#ffffff", "#555555")  # fill and stroke if the outcome is not known

KINDS: Mapping[str, str] = {
    "fetch": "#607d8b",
    "prepare": "#00796b",
    "export": "#1976d2",
    "optimize": "#7b1fa2",
    "quantize": "#ef6c00",
    "precision": "#8d6e63",
    "validate": "#388e3c",
    "load": "#9e9d24",
    "benchmark": "#0097a7",
    "generate": "#c2185b",
}
OTHER_KIND = "#212121"  # of a plugin
