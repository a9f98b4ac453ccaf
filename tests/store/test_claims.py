"""Claims and working folders: what a run marks as its own, and what becomes of that when it ends or dies."""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from pathlib import Path

import pytest

from onnxbuild.regular_files import NotRegular
from onnxbuild.store import claims as module
from onnxbuild.store import locks
from onnxbuild.store.claims import Claims, alone, claimed_now
from onnxbuild.store.locking.lock_files import HAS_FLOCK
from onnxbuild.store.store import Store
from onnxbuild.store.working_folders import WorkingFolder, sweep, working_folders

ONE, TWO = "1" * 64, "2" * 64


@pytest.fixture
def work(tmp_path: Path):
    folder = WorkingFolder(tmp_path)
    yield folder
    folder.remove()


@pytest.fixture
def claims(tmp_path: Path, work: WorkingFolder):
    opened = Claims(tmp_path, work.path)
    yield opened
    opened.close()


def nobody_is_inside(root: Path) -> bool:
    """Whether a collection would not have to wait."""
    waits = threading.Event()

    def collect() -> None:
        with alone(root, waits.set):
            pass

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    while thread.is_alive() and not waits.is_set():
        thread.join(0.005)
    return not waits.is_set()


def nobody_stays_inside(root: Path) -> bool:
    """The same, after the threads of earlier questions, which waited, have had their turn."""
    end = time.monotonic() + 30
    while not (free := nobody_is_inside(root)) and time.monotonic() < end:
        time.sleep(0.01)
    return free


def test_claims_are_the_keys_of_living_runs(tmp_path: Path, claims: Claims, work: WorkingFolder) -> None:
    assert claimed_now(tmp_path) == frozenset()
    with claims.section():
        claims.add(ONE)
        claims.add(TWO)
    assert (work.path() / "claims").read_bytes() == f"{ONE}\n{TWO}\n".encode()
    other = WorkingFolder(tmp_path)
    other.path()  # a run that has claimed nothing
    with alone(tmp_path) as claimed:
        assert claimed == {ONE, TWO}
    other.remove()
    claims.close()
    assert claimed_now(tmp_path) == {ONE, TWO}
    work.remove()
    assert claimed_now(tmp_path) == frozenset()


def test_claims_of_a_dead_run_and_of_what_is_no_run_do_not_count(tmp_path: Path) -> None:
    for name in ("1-deadbeef", "notes"):
        (tmp_path / "work" / name).mkdir(parents=True)
        (tmp_path / "work" / name / "claims").write_text(ONE)
    assert claimed_now(tmp_path) == frozenset()


def test_damaged_claims_are_read_as_far_as_they_are_keys(tmp_path: Path, work: WorkingFolder, monkeypatch) -> None:
    (work.path() / "claims").write_bytes(f"{ONE}\n\xff\n{TWO[:3]}".encode("latin-1"))
    assert {ONE, TWO[:3]} < claimed_now(tmp_path)
    monkeypatch.setattr(module, "_MOST_BYTES", 60)
    with pytest.raises(NotRegular, match="is larger than 60 bytes"):  # better no collection than a wrong one
        claimed_now(tmp_path)


def test_sections_of_several_threads_share_one_lock(tmp_path: Path, claims: Claims) -> None:
    assert nobody_stays_inside(tmp_path)
    with claims.section():
        assert not nobody_is_inside(tmp_path)
        with claims.section():
            assert not nobody_is_inside(tmp_path)
        assert not nobody_is_inside(tmp_path)
    assert nobody_stays_inside(tmp_path)
    with pytest.raises(KeyError), claims.section():
        raise KeyError
    assert nobody_stays_inside(tmp_path)


def test_after_the_end_nothing_is_held_whatever_was_open(tmp_path: Path, claims: Claims, monkeypatch) -> None:
    def full(_path: Path) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_opened", full)
        with claims.section():
            claims.add(ONE)  # cannot be written: the section stays open
    assert not nobody_is_inside(tmp_path)
    claims.close()
    assert nobody_stays_inside(tmp_path)
    with claims.section():
        claims.add(TWO)
    assert nobody_stays_inside(tmp_path)
    assert claimed_now(tmp_path) == {TWO}


def test_the_file_of_claims_is_opened_once_and_closed(tmp_path: Path, claims: Claims, monkeypatch) -> None:
    opened, own = [], module._opened

    def opening(path: Path) -> int:
        opened.append(own(path))
        return opened[-1]

    monkeypatch.setattr(module, "_opened", opening)
    with claims.section():
        claims.add(ONE)
        claims.add(TWO)
    assert len(opened) == 1
    claims.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes of POSIX")
def test_claims_are_appended_and_never_written_through_a_link(
    tmp_path: Path, claims: Claims, work: WorkingFolder
) -> None:
    place = work.path() / "claims"
    place.write_text(f"{ONE}\n")
    with claims.section():
        claims.add(TWO)
    assert place.read_text() == f"{ONE}\n{TWO}\n"
    claims.close()
    place.unlink()
    (tmp_path / "victim").write_text("precious")
    place.symlink_to(tmp_path / "victim")
    with claims.section():
        claims.add(TWO)
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes of POSIX")
def test_claims_in_a_shared_store_can_be_read_by_the_group(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    root.chmod(0o775)
    before = os.umask(0o077)
    try:
        folder = WorkingFolder(root)
        shared = Claims(root, folder.path)
        with shared.section():
            shared.add(ONE)
    finally:
        os.umask(before)
    modes = {path.relative_to(root).parts[-1]: stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*")}
    assert (modes["claims"], modes["work"], modes["gc.lock"] if HAS_FLOCK else 0o664) == (0o664, 0o775, 0o664)
    shared.close()
    folder.remove()


# -- working folders --------------------------------------------------------------------------------------------------


def test_a_working_folder_is_made_on_first_use_under_a_name_of_its_own(tmp_path: Path) -> None:
    one, two = WorkingFolder(tmp_path), WorkingFolder(tmp_path)
    assert list(tmp_path.iterdir()) == []
    one.remove()  # nothing to remove
    assert one.path() == one.path() != two.path()
    assert one.path().parent == tmp_path / "work"
    assert one.path().name.startswith(f"{os.getpid()}-")
    assert set(working_folders(tmp_path)) == {one.path(), two.path()}
    assert locks.is_held(one.path() / "owner")
    (one.path() / "file").touch()
    one.remove()
    assert working_folders(tmp_path) == [two.path()]
    assert one.path().is_dir()  # it can be used again
    one.remove()
    two.remove()
    assert list((tmp_path / "work").iterdir()) == []


def test_whoever_makes_a_working_folder_sweeps_those_of_dead_runs(tmp_path: Path) -> None:
    living = WorkingFolder(tmp_path)
    living.path()
    (tmp_path / "work" / "1-deadbeef").mkdir()
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / ONE).touch()
    other = WorkingFolder(tmp_path)
    other.path()
    assert set(working_folders(tmp_path)) == {living.path(), other.path()}
    assert list((tmp_path / "locks").iterdir()) == []
    other.remove()
    living.remove()


@pytest.mark.parametrize("left", ["work/1-deadbeef", f"locks/{ONE}"])
def test_one_process_sweeps_at_a_time(tmp_path: Path, left: str) -> None:
    with locks.hold(tmp_path / "sweeping"):
        sweep(tmp_path, wait=False)  # there is nothing to sweep, so it asks for no lock
    place = tmp_path / left
    place.parent.mkdir()
    place.mkdir() if "work" in left else place.touch()
    with locks.hold(tmp_path / "sweeping"):
        with pytest.raises(locks.Waiting):
            sweep(tmp_path, wait=False)
        assert place.exists()
    sweep(tmp_path, wait=False)
    assert not place.exists()


def test_a_sweep_waits_for_another_one(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "work" / "1-deadbeef").mkdir(parents=True)
    sleeps = []
    held = locks.hold(tmp_path / "sweeping")
    held.__enter__()

    def end(seconds: float) -> None:
        sleeps.append(seconds)
        held.__exit__(None, None, None)

    monkeypatch.setattr(locks.time, "sleep", end)
    sweep(tmp_path)
    assert (sleeps, working_folders(tmp_path)) == ([0.05], [])


def test_a_run_that_made_nothing_sweeps_when_it_ends_and_one_that_reads_does_not(tmp_path: Path) -> None:
    Store(tmp_path / "store").close()
    dead = tmp_path / "store" / "work" / "1-deadbeef"
    for settings, swept in (({"readonly": True}, False), ({"claims": False}, False), ({}, True)):
        dead.mkdir(parents=True, exist_ok=True)
        Store(tmp_path / "store", **settings).close()
        assert dead.exists() is not swept, settings
    dead.mkdir()
    with locks.hold(tmp_path / "store" / "sweeping"):
        Store(tmp_path / "store").close()  # neither waits nor fails
    assert dead.exists()
