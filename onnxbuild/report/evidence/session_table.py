"""The table of tuned sessions: what each variant's server should set, and what it gains."""

from __future__ import annotations

from onnxbuild.deliver.tuned_sessions import in_words
from onnxbuild.report.evidence.evidence import Evidence, Step
from onnxbuild.report.evidence.figure_tables import Table
from onnxbuild.report.result.table_layout import Cell
from onnxbuild.steps.checks.tune import TUNE
from onnxbuild.tables.session_settings import in_words as settings_in_words

_HEAD = ("variant", "session", "goal", "gain", "tried", "found")


def session_table(evidence: Evidence) -> Table:
    """One row per tuned variant."""
    tuned = ((variant.name, step) for variant in evidence.variants for step in variant.steps if step.kind == TUNE.name)
    return Table(_HEAD, tuple(_row(name, step) for name, step in tuned if step.facts.get("because")))


def _row(name: str, step: Step) -> tuple[Cell, ...]:
    facts = step.facts
    gain = facts.get("gain")
    shown = f"{gain['median']:.2f}× ({gain['min']:.2f} to {gain['max']:.2f})" if gain else "none"
    tried = str(len(facts.get("tried") or ()))
    texts = (name, settings_in_words(facts["settings"]), facts["goal"], shown, tried, in_words(facts))
    return tuple(map(Cell, texts))
