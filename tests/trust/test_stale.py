"""Edits at random, each followed by a build that must equal one from nothing: a part of what `make stale` does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("the worlds of toys start processes of POSIX", allow_module_level=True)
import stale


@pytest.mark.heavy
def test_a_hundred_edits(tmp_path: Path) -> None:
    done, wrong = stale.edited(tmp_path, seed=0, count=100)
    assert wrong == []
    assert done.keys() == stale.EDITS.keys()


def test_a_few_edits(tmp_path: Path) -> None:
    assert stale.edited(tmp_path, seed=3, count=4)[1] == []


def test_a_stale_build_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build that leaves everything as it was is what the program looks for."""
    monkeypatch.setattr(stale.EditedWorld, "edit", lambda world: stale.EDITS["source_rewritten"](world) or "edit")
    built = stale.EditedWorld.built

    def once(world: stale.EditedWorld) -> object:
        if not hasattr(world, "kept"):
            world.kept = built(world)
        return world.kept

    monkeypatch.setattr(stale.EditedWorld, "built", once)
    assert len(stale.edited(tmp_path, seed=1, count=1)[1]) == 1
