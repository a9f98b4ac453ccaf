"""Locks between processes: there is one holder, waiting processes see its name, and a dead process holds no lock."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from file_lock_of_windows import FileLockOfWindows

from onnxbuild.store import locks
from onnxbuild.store.locking import file_lock, shared_lock
from onnxbuild.store.locking.shared_lock import SharedLock, hold_alone

TESTS = Path(__file__).parents[1]
HOLD = """
import sys, time
from pathlib import Path
from onnxbuild.store.locks import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
SHARE = """
import sys
from pathlib import Path
from onnxbuild.store.locking.shared_lock import SharedLock
lock = SharedLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["flock", "filelock"])
def mechanism(request, monkeypatch) -> str:
    if request.param == "flock" and file_lock.fcntl is None:
        pytest.skip("this system has no flock")
    if request.param == "filelock" and file_lock.fcntl is not None:
        monkeypatch.setattr(file_lock, "fcntl", None)
        monkeypatch.setattr(shared_lock, "fcntl", None)
        monkeypatch.setattr("filelock.FileLock", FileLockOfWindows)
    return request.param


class Other:
    """Another process, which runs a script until `end` or `kill`."""

    def __init__(self, script: str, path: Path, *, mechanism: str) -> None:
        code = f"import without_posix\n{script}" if mechanism == "filelock" else script
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, str(path)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "held\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> None:
        self.process.communicate("")
        assert self.process.returncode == 0


def test_a_holder_is_named_and_the_lock_goes_with_it(tmp_path: Path, mechanism: str) -> None:
    path = tmp_path / "lock"
    other = Other(HOLD, path, mechanism=mechanism)
    assert locks.is_held(path)
    with pytest.raises(locks.Waiting), locks.hold(path):
        pass
    assert locks.holder(path).pid == other.process.pid
    assert 0 <= time.time() - locks.holder(path).since < 60
    other.end()
    assert not locks.is_held(path)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_a_killed_process_is_free(tmp_path: Path, mechanism: str) -> None:
    path = tmp_path / "lock"
    other = Other(HOLD, path, mechanism=mechanism)
    other.kill()
    assert path.exists()
    assert not locks.is_held(path)
    with locks.hold(path):
        assert locks.holder(path).pid == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_waiting_process_learns_the_holder_once_and_gets_the_lock(tmp_path: Path, mechanism: str) -> None:
    path, waits = tmp_path / "lock", []
    other = Other(HOLD, path, mechanism=mechanism)
    threading.Timer(0.3, other.end).start()
    with locks.hold(path, on_wait=waits.append):
        assert [holder.pid for holder in waits] == [other.process.pid]


def test_a_wait_can_be_cancelled(tmp_path: Path, mechanism: str) -> None:
    path = tmp_path / "lock"
    other = Other(HOLD, path, mechanism=mechanism)
    with pytest.raises(locks.Waiting), locks.hold(path, on_wait=lambda _holder: None, cancelled=lambda: True):
        pass
    other.kill()


def test_threads_exclude_each_other(tmp_path: Path, mechanism: str) -> None:
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(3):
            with locks.hold(tmp_path / "lock", on_wait=lambda _holder: None):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.005)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert list(tmp_path.iterdir()) == []


def test_another_thread_may_release(tmp_path: Path, mechanism: str) -> None:
    held = ExitStack()
    thread = threading.Thread(target=lambda: held.enter_context(locks.hold(tmp_path / "lock")))
    thread.start()
    thread.join()
    held.close()
    assert not locks.is_held(tmp_path / "lock")


def test_lock_files_of_dead_processes_are_removed_and_others_stay(tmp_path: Path, mechanism: str) -> None:
    dead, alive = (Other(HOLD, tmp_path / name, mechanism=mechanism) for name in (f"out-{'d' * 64}", "a" * 64))
    dead.kill()
    (tmp_path / "notes.txt").write_text("no lock")
    (tmp_path / ("b" * 63)).write_text("no lock either")
    (tmp_path / ("c" * 64)).symlink_to(tmp_path / "notes.txt")
    locks.remove_unheld(tmp_path)
    names = {path.name for path in tmp_path.iterdir() if path.suffix != ".holder"}
    assert names == {"a" * 64, "b" * 63, "c" * 64, "notes.txt"}
    alive.end()


def test_several_share_and_one_that_wants_to_be_alone_waits(tmp_path: Path, mechanism: str) -> None:
    path, waits = tmp_path / "gc.lock", []
    other = Other(SHARE, path, mechanism=mechanism)
    mine = SharedLock(path)
    mine.acquire()
    mine.release()
    threading.Timer(0.3, other.end).start()
    with hold_alone(path, lambda: waits.append(time.monotonic())):
        assert len(waits) == 1
        assert other.process.wait(10) == 0
    mine.acquire()
    mine.close()


def test_who_shares_waits_for_one_that_is_alone(tmp_path: Path, mechanism: str) -> None:
    path, order = tmp_path / "gc.lock", []

    def share() -> None:
        lock = SharedLock(path)
        lock.acquire()
        order.append("shared")
        lock.close()

    thread = threading.Thread(target=share)
    with hold_alone(path, lambda: None):
        thread.start()
        time.sleep(0.2)
        order.append("alone")
    thread.join()
    assert order == ["alone", "shared"]


def test_a_killed_reader_blocks_no_other_process(tmp_path: Path, mechanism: str) -> None:
    path, waits = tmp_path / "gc.lock", []
    Other(SHARE, path, mechanism=mechanism).kill()
    with hold_alone(path, lambda: waits.append(1)):
        pass
    assert waits == []
