"""The log of an action is a regular file: what stands in its place is neither followed nor waited for nor written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from plugin.world import World

from onnxbuild.workers.action_context import open_log

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither FIFOs nor links for everybody")


def link(path: Path) -> None:
    path.with_name("victim").write_text("precious")
    path.symlink_to(path.with_name("victim"))


PLANTED = {"link": link, "fifo": os.mkfifo, "folder": os.mkdir, "device": lambda path: path.symlink_to("/dev/null")}


@pytest.mark.parametrize("what", PLANTED)
def test_only_a_regular_file_is_a_log(tmp_path: Path, what: str) -> None:
    PLANTED[what](tmp_path / "log")
    with pytest.raises(OSError) as caught:  # noqa: PT011 - a system chooses the number
        open_log(str(tmp_path / "log"))
    assert caught.value.filename == str(tmp_path / "log")


def test_a_log_is_created_and_an_old_one_is_kept_until_it_is_emptied(tmp_path: Path) -> None:
    os.close(open_log(str(tmp_path / "new")))
    (tmp_path / "old").write_text("before")
    os.close(open_log(str(tmp_path / "old")))
    assert [(tmp_path / name).read_text() for name in ("new", "old")] == ["", "before"]


@pytest.mark.parametrize("kind", ["friend", "stranger"])
@pytest.mark.parametrize("what", ["link", "fifo"])
def test_an_action_whose_log_is_planted_fails_and_harms_nothing(tmp_path: Path, kind: str, what: str) -> None:
    world = World(tmp_path)
    world.manifest({"a": [{"code": "print('harm')"}]}, kind=kind)
    logs = tmp_path / ".onnxbuild" / "logs"
    logs.mkdir(parents=True)
    PLANTED[what](logs / f"m+a+{kind}.txt")
    ended = world.run("--json")
    assert ended.code != 0
    victim = logs / "victim"
    assert not victim.exists() or victim.read_text() == "precious"
    assert world.wait_for_silence() == []
