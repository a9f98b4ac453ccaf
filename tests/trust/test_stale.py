"""Edits at random, each followed by a build that must equal one from nothing: a part of what `make stale` does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("the worlds of toys start processes of POSIX", allow_module_level=True)
import stale


@pytest.mark.heavy
def test_every_edit(tmp_path: Path, amount: Callable) -> None:
    """Each once; a hundred when thorough."""
    done, wrong = stale.edited(tmp_path, seed=0, count=amount(len(stale.EDITS), 100))
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


@pytest.mark.heavy
def test_every_word_of_an_exporter_and_of_a_dataset_is_in_the_result(tmp_path: Path) -> None:
    """Otherwise an edit of it could not be stale."""
    world = stale.EditedWorld(tmp_path, seed=1)
    before = world.built()
    changed = {}
    for name, path in {
        "exporter": world.exported.code, "helper": world.exported.package / "words.py", "dataset": world.dataset(),
        "beside": world.exported.code.with_name("beside.py"),
    }.items():  # fmt: skip
        text = path.read_text()
        path.write_text("".join(text.replace(word, "other") for word in stale.WORDS if word in text))
        after = world.built()
        changed[name] = {place for place in after if after[place] != before[place]}
        before = after
    assert changed == {
        "exporter": {"exports/file/t/model.onnx"},
        "helper": {"exports/package/t/model.onnx"},
        "dataset": {"m/filed/model.onnx", "m/filed/config.json"},
        "beside": set(),
    }
