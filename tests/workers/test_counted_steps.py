"""Progress moves with each step that is known, and never says more than is done."""

from __future__ import annotations

from typing import Any

from onnxbuild.workers.model_folder.counted_steps import CountedSteps


def counted(expected: int) -> tuple[CountedSteps, list[tuple[Any, ...]]]:
    told: list[tuple[Any, ...]] = []
    return CountedSteps(lambda *step: told.append(step), expected), told


def test_a_step_that_begins_is_not_done() -> None:
    steps, told = counted(2)
    steps.begin("one")
    steps.begin("two")
    assert told == [("one", 0, 2), ("two", 1, 2)]


def test_rows_are_steps_of_their_own() -> None:
    steps, told = counted(2)
    steps.begin("reading")
    assert [*steps.reading("abc", "row {row}", expected=5)] == ["a", "b", "c"]
    steps.begin("running")
    # Three of the five rows that were expected were there.
    assert told == [("reading", 0, 2), ("row 1", 1, 7), ("row 2", 2, 7), ("row 3", 3, 7), ("running", 4, 5)]


def test_more_rows_than_expected_and_none_at_all() -> None:
    steps, told = counted(1)
    assert [*steps.reading("ab", "row {row}", expected=1)] == ["a", "b"]
    assert [*steps.reading("", "row {row}", expected=3)] == []
    steps.begin("running")
    steps.begin("unforeseen")
    assert told == [("row 1", 0, 2), ("row 2", 1, 3), ("running", 2, 3), ("unforeseen", 3, 4)]
