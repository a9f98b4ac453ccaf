"""What one manifest may use in total, with includes, references and matrices, so that refusing it never takes long."""

from __future__ import annotations

from typing import Any

from onnxbuild.diagnostics import DiagnosticError, Span, fault
from onnxbuild.manifest.document import Array, Table

MOST_FILES = 1000
DEEPEST_INCLUDES = 32
MOST_VALUES = 200_000  # written in all files, without what aliases repeat
MOST_FAULTS = 1000  # reading ends after so many; a report shows fewer
MOST_FILLED = 500_000  # what references, defaults and matrices make of them
MOST_VARIANTS = 25_000
MOST_STEPS = 2000  # of one target
_TEXT = 64  # characters that count as one value more


class Budget:
    """Counts what is made of a manifest, so that its total is bounded."""

    def __init__(self) -> None:
        self._filled = self._variants = 0

    def spend(self, values: int, at: Span) -> None:
        """Count values that a reference, a default or a point of a matrix adds. Errors: DiagnosticError OB021."""
        self._filled += values
        if self._filled > MOST_FILLED:
            message = f"references, defaults and matrices make more than {MOST_FILLED:,} values"
            raise DiagnosticError(fault("OB021", message, span=at, hint="split it up into several manifests"))

    def spend_variants(self, variants: int, at: Span) -> None:
        """Count the targets of a model. Errors: DiagnosticError OB021."""
        self._variants += variants
        if self._variants > MOST_VARIANTS:
            message = f"the models have more than {MOST_VARIANTS:,} targets together"
            raise DiagnosticError(fault("OB021", message, span=at, hint="split it up into several manifests"))


def weight_of(value: Any) -> int:
    """The number of values that a value counts as: those inside it, and its text."""
    if isinstance(value, Table | Array):
        return value.weight
    return 1 + (len(value) // _TEXT if isinstance(value, str) else 0)
