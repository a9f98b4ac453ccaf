"""The table of tuned sessions: what each variant's server should set, and what it gains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onnxbuild.deliver.tuned_sessions import in_words
from onnxbuild.report.evidence.evidence import Evidence, Step
from onnxbuild.report.evidence.figure_tables import Table
from onnxbuild.report.result.figures import NONE
from onnxbuild.report.result.table_layout import Cell
from onnxbuild.steps.checks.tune import TUNE
from onnxbuild.tables.sessions.session_settings import in_words as settings_in_words

_NUMBERS = ("median", "min", "max")
_HEAD = ("variant", "session", "goal", "gain", "tried", "found")


def session_table(evidence: Evidence) -> Table:
    """One row per tuned variant."""
    tuned = ((variant.name, step) for variant in evidence.variants for step in variant.steps if step.kind == TUNE.name)
    return Table(_HEAD, tuple(_row(name, step) for name, step in tuned if step.facts))


def _row(name: str, step: Step) -> tuple[Cell, ...]:
    facts = step.facts
    tried = facts.get("tried")
    count = str(len(tried)) if isinstance(tried, list | tuple) else NONE
    settings = facts.get("settings")
    session = settings_in_words(settings) if isinstance(settings, Mapping) else NONE
    texts = (name, session, str(facts.get("goal", NONE)), _gain(facts.get("gain")), count, in_words(facts))
    return tuple(map(Cell, texts))


def _gain(gain: Any) -> str:
    numbers = [gain.get(name) for name in _NUMBERS] if isinstance(gain, Mapping) else []
    texts = [f"{one:.2f}" for one in numbers if isinstance(one, int | float)]
    return f"{texts[0]}× ({texts[1]} to {texts[2]})" if len(texts) == len(_NUMBERS) else NONE
