"""Damaged inputs: a part of what `make fuzz` tries, and that the harness itself finds what it looks for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("resource")
import fuzz

CI, THOROUGH = 5_000, 10_000  # and `make fuzz` as many as are asked for
QUICK = 400


def found(make: type[fuzz.Surface], total: int, seed: int) -> list[tuple[int, bytes, str]]:
    return fuzz.in_folder(make, fuzz.counts(total, None)[make.name], seed)


@pytest.mark.parametrize("make", fuzz.SURFACES, ids=lambda make: make.name)
def test_a_damaged_input_is_read_or_refused(make: type[fuzz.Surface]) -> None:
    assert found(make, QUICK, seed=2) == []


@pytest.mark.heavy
@pytest.mark.parametrize("make", fuzz.SURFACES, ids=lambda make: make.name)
def test_thousands_of_damaged_inputs_are_read_or_refused(make: type[fuzz.Surface], amount: Callable) -> None:
    assert found(make, amount(CI, THOROUGH), seed=1) == []


class Broken(fuzz.Surface):
    """Fails in each of the ways that are findings."""

    name = "broken"

    def seeds(self) -> list[bytes]:
        return [b"sound"]

    def read(self, data: bytes) -> None:
        if data == b"raise":
            raise KeyError("x")
        if data == b"recurse":
            self.read(data)
        if data == b"hang":
            time.sleep(60)
        if data == b"eat":
            self.held = bytearray(400 << 20)


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"raise", "KeyError"), (b"recurse", "RecursionError"), (b"hang", "took more than"), (b"eat", "MB")],
)
def test_the_harness_notices(data: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 0.1 if data == b"hang" else fuzz.SECONDS)
    assert words in (fuzz.finding(Broken(tmp_path), data) or "")
    assert fuzz.finding(Broken(tmp_path), b"sound") is None


def test_the_same_seed_gives_the_same_inputs() -> None:
    inputs = [fuzz.one_input([b"one", b"two words"], 3, number) for number in range(50)]
    assert inputs == [fuzz.one_input([b"one", b"two words"], 3, number) for number in range(50)]
    assert len(set(inputs)) > 30
