"""A journal: what is known is not found again, whatever a kill has left of the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onnxbuild.steps.quantizing.bounds_of_search import bounds
from onnxbuild.workers.folders.journal import Journal
from onnxbuild.workers.measuring.output_scores import noted_scores


def never() -> float:
    raise AssertionError("it is known")


def test_a_value_is_found_once_and_read_as_it_was(tmp_path: Path) -> None:
    values = {"third": 1 / 3, "small": 5e-324, "named": {"a": [1, None, "é"]}}
    for name, value in values.items():
        assert Journal(tmp_path).noted(name, lambda value=value: value) == value  # type: ignore[misc]
    again = Journal(tmp_path)
    assert {name: again.noted(name, never) for name in values} == values


def test_what_is_found_is_what_would_be_read(tmp_path: Path) -> None:
    assert Journal(tmp_path).noted("pair", lambda: (1, 2)) == [1, 2]


def test_without_a_folder_it_lasts_as_long_as_the_process() -> None:
    journal = Journal()
    assert [journal.noted("a", lambda: 1), journal.noted("a", never)] == [1, 1]


@pytest.mark.parametrize("cut", range(1, 28))
def test_a_line_that_was_cut_short_is_found_again(tmp_path: Path, cut: int) -> None:
    first = Journal(tmp_path)
    first.noted("a", lambda: 1.5)
    first.noted("b", lambda: 2.5)
    (file,) = tmp_path.iterdir()
    data = file.read_bytes()
    assert data == b'{"name":"a","value":1.5}\n{"name":"b","value":2.5}\n'
    file.write_bytes(data[: len(data) - min(cut, 25)] + (b"\0" * 3 if cut > 25 else b""))
    again = Journal(tmp_path)
    assert again.noted("a", never) == 1.5
    assert again.noted("b", lambda: 3.5) == 3.5
    assert Journal(tmp_path).noted("b", never) == 3.5
    assert file.read_bytes().count(b"\n") == 2


def test_a_file_that_cannot_be_written_is_left_alone(tmp_path: Path) -> None:
    os.mkdir(tmp_path / "found.jsonl")  # as good as a file of another user, also for root
    journal = Journal(tmp_path)
    assert [journal.noted("a", lambda: 1), journal.noted("a", never)] == [1, 1]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_keep_no_bound(tmp_path: Path, value: float) -> None:
    noted = [Journal(tmp_path).noted("scores", lambda: {"cosine_mean": value, "top1": 0.5}) for _ in range(2)]
    found = [noted_scores(one) for one in noted]
    assert [one.holds(again["cosine_mean"]) for again in found for one in bounds({"cosine_mean": ">= 0.9"})] == [
        False
    ] * 2
    assert [again["top1"] for again in found] == [0.5, 0.5]
