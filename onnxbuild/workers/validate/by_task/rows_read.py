"""Rows that both sides have read, and what each side gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from onnxbuild.tables.bounds.row_metrics import RowKind
from onnxbuild.workers.validate.by_task.cases import Cases
from onnxbuild.workers.validate.by_task.encoded import Encoded
from onnxbuild.workers.validate.by_task.summaries import Summary


class Reading(Struct, frozen=True, kw_only=True):
    """The rows that both sides have read: what they are, their ids, and what each side gave."""

    name: str
    kind: RowKind
    cases: Cases
    encoded: Sequence[Encoded]
    rows: Sequence[Summary]
    of: int  # rows that there were

    @property
    def is_complete(self) -> bool:
        """Whether every row has outputs of both sides."""
        return len(self.rows) == len(self.encoded) == len(self.cases.rows) > 1

    def facts(self) -> dict[str, Any]:
        """Which rows were read."""
        languages = Counter(case.language for case in self.cases.rows if case.language)
        counts = {"languages": dict(sorted(languages.items()))} if languages else {}
        return {"name": self.name, "kind": self.kind, "count": len(self.cases.rows), "of": self.of, **counts}
