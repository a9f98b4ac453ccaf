"""Locks between processes: there is one holder, waiting processes see its name, and a dead process holds no lock."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from file_lock_of_windows import FileLockOfWindows
from hypothesis import given
from hypothesis import strategies as st
from toys import Bench, step

from onnxbuild.store import locks
from onnxbuild.store.collect import Limits, collect
from onnxbuild.store.locking import file_lock, lock_files, shared_lock
from onnxbuild.store.locking.shared_lock import SharedLock, hold_alone
from onnxbuild.store.store import Store

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


# A file system without `flock`: NFS without its lock service, for example.
NO_FLOCK = """
import errno, fcntl, os
def flock(descriptor, operation):
    raise OSError(errno.{number}, os.strerror(errno.{number}))
fcntl.flock = flock
"""
PRELUDES = {
    "flock": "",
    "filelock": "import without_posix\n",
    "soft": NO_FLOCK.format(number="ENOLCK"),
    "soft, ENOTSUP": NO_FLOCK.format(number="ENOTSUP"),
    "soft, ENOSYS": NO_FLOCK.format(number="ENOSYS"),
}


@pytest.fixture(params=PRELUDES)
def mechanism(request, monkeypatch) -> str:
    if request.param != "filelock" and not file_lock.HAS_FLOCK:
        pytest.skip("this system has no flock")
    if request.param == "filelock" and file_lock.HAS_FLOCK:
        monkeypatch.setattr(file_lock, "HAS_FLOCK", False)
        monkeypatch.setattr(shared_lock, "HAS_FLOCK", False)
        monkeypatch.setattr("filelock.FileLock", FileLockOfWindows)
    if request.param.startswith("soft"):
        monkeypatch.setattr(lock_files.fcntl, "flock", lock_files.fcntl.flock)  # so that it is restored
        exec(PRELUDES[request.param], {})
    return request.param


class Other:
    """Another process, which runs a script until `end` or `kill`."""

    def __init__(self, script: str, path: Path, *, mechanism: str) -> None:
        code = PRELUDES[mechanism] + script
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


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["/opt/a/long/path/.venv/bin/onnxbuild", "run", "m.yaml"], "onnxbuild run m.yaml"),
        (["/opt/lib/python3/site-packages/onnxbuild/__main__.py", "run"], "onnxbuild run"),
        (["-c"], "-c"),
    ],
)
def test_a_holder_is_named_without_the_path_of_its_program(tmp_path: Path, monkeypatch, words, shown) -> None:
    monkeypatch.setattr(sys, "argv", words)
    with locks.hold(tmp_path / "lock"):
        assert locks.holder(tmp_path / "lock").command == shown


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
    assert list(tmp_path.iterdir())
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
    names = {path.name.removesuffix(".soft") for path in tmp_path.iterdir() if path.suffix != ".holder"}
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


@pytest.mark.skipif(not file_lock.HAS_FLOCK, reason="this system has no flock")
class TestFlock:
    """What the lock on a file is worth if the file is replaced, and what stands in its place may be anything."""

    def test_a_lock_on_a_file_that_was_replaced_is_no_lock(self, tmp_path: Path, monkeypatch) -> None:
        """Another process removes the file between its opening and its locking, and a third one creates it again."""
        path, opened = tmp_path / "lock", []
        own = lock_files.try_flock

        def replaced_meanwhile(descriptor: int) -> bool:
            opened.append(os.fstat(descriptor).st_ino)
            if len(opened) == 1:
                path.rename(tmp_path / "before")  # still has its inode, so the next file has another one
                path.touch()
            return own(descriptor)

        monkeypatch.setattr(file_lock, "try_flock", replaced_meanwhile)
        lock = file_lock.take_lock(path)
        assert len(opened) == 2
        assert opened[1] == path.stat().st_ino != opened[0]
        lock.release()

    def test_a_lock_on_a_file_that_was_removed_is_no_lock(self, tmp_path: Path, monkeypatch) -> None:
        path, opened = tmp_path / "lock", []
        own = lock_files.try_flock

        def removed_meanwhile(descriptor: int) -> bool:
            opened.append(descriptor)
            if len(opened) == 1:
                path.unlink()
            return own(descriptor)

        monkeypatch.setattr(file_lock, "try_flock", removed_meanwhile)
        lock = file_lock.take_lock(path)
        assert (len(opened), path.exists()) == (2, True)
        lock.release()
        assert not path.exists()

    def test_the_file_is_removed_before_the_lock_is_given_up(self, tmp_path: Path, monkeypatch) -> None:
        path, order = tmp_path / "lock", []
        lock = file_lock.take_lock(path)
        close = os.close

        def closing(descriptor: int) -> None:
            order.append(path.exists())
            close(descriptor)

        monkeypatch.setattr(os, "close", closing)
        lock.release()
        assert order == [False]

    def test_a_link_is_no_lock_and_its_target_is_not_touched(self, tmp_path: Path) -> None:
        (tmp_path / "victim").write_text("precious")
        (tmp_path / "lock").symlink_to(tmp_path / "victim")
        with pytest.raises(OSError, match="is a symbolic link"):
            file_lock.take_lock(tmp_path / "lock")
        assert not locks.is_held(tmp_path / "lock")
        assert locks.holder(tmp_path / "lock") is None
        (tmp_path / "broken").symlink_to(tmp_path / "none")
        with pytest.raises(OSError, match="is a symbolic link"):
            file_lock.take_lock(tmp_path / "broken")
        assert (tmp_path / "victim").read_text() == "precious"
        assert not (tmp_path / "none").exists()

    def test_a_fifo_is_no_lock_and_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "lock")
        with pytest.raises(OSError, match="not a regular file"):
            file_lock.take_lock(tmp_path / "lock")
        assert not locks.is_held(tmp_path / "lock")
        assert locks.holder(tmp_path / "lock") is None

    def test_a_question_leaves_no_file(self, tmp_path: Path) -> None:
        assert not locks.is_held(tmp_path / "lock")
        assert not locks.is_held(tmp_path / "missing" / "lock")
        assert list(tmp_path.iterdir()) == []

    def test_a_lock_in_a_missing_folder_is_an_error_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            file_lock.take_lock(tmp_path / "missing" / "lock")

    def test_another_error_of_flock_is_not_hidden(self, tmp_path: Path, monkeypatch) -> None:
        def interrupted(_descriptor: int, _operation: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(lock_files.fcntl, "flock", interrupted)
        with pytest.raises(OSError, match="Input/output"):
            file_lock.take_lock(tmp_path / "lock")
        with pytest.raises(OSError, match="Input/output"):
            SharedLock(tmp_path / "gc.lock").acquire()


@given(text=st.binary(max_size=100))
def test_whatever_a_lock_file_holds_is_a_holder_or_none(tmp_path_factory, text: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.lock"
    path.write_bytes(text)
    holder = locks.holder(path)
    assert holder is None or isinstance(holder, locks.Holder)


@pytest.mark.skipif(not file_lock.HAS_FLOCK, reason="this system has no flock")
def test_the_file_of_a_shared_lock_is_never_removed(tmp_path: Path) -> None:
    """A run keeps it open between its sections: on another file, its next share would exclude nobody."""
    path = tmp_path / "gc.lock"
    mine = SharedLock(path)
    mine.acquire()
    mine.release()
    inode = path.stat().st_ino
    with hold_alone(path, lambda: None):
        assert path.stat().st_ino == inode
    assert path.stat().st_ino == inode
    mine.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["gc.lock"]


def test_two_that_share_do_not_wait_for_each_other(tmp_path: Path, mechanism: str) -> None:
    path = tmp_path / "gc.lock"
    other = Other(SHARE, path, mechanism=mechanism)
    mine = SharedLock(path)
    mine.acquire()  # would hang
    mine.close()
    other.end()


def test_who_shares_again_after_a_release_shares(tmp_path: Path, mechanism: str) -> None:
    path, waits = tmp_path / "gc.lock", []
    mine = SharedLock(path)
    for _ in range(3):
        mine.acquire()
        mine.release()
    mine.acquire()
    mine.release()
    with hold_alone(path, lambda: waits.append(1)):
        pass
    mine.close()
    assert waits == []


@pytest.mark.skipif(not file_lock.HAS_FLOCK, reason="this system has no flock")
def test_a_store_on_a_file_system_without_flock_builds_and_collects(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(lock_files.fcntl, "flock", lock_files.fcntl.flock)
    exec(PRELUDES["soft"], {})
    bench = Bench(tmp_path)
    (tmp_path / "m.yaml").touch()
    assert bench(step("a", text="a"), step("b", text="b"), scope=str(tmp_path / "m.yaml")) == {
        "a": "built",
        "b": "built",
    }
    assert bench(step("a", text="a"), scope=str(tmp_path / "m.yaml")) == {"a": "hit"}
    dead = tmp_path / "store" / "work" / "1-deadbeef"
    dead.mkdir()
    (dead / "owner.soft").write_text(f"{2**22 + 1}\n{socket.gethostname()}\n")  # no process has this id
    with Store(tmp_path / "store", claims=False) as store:
        assert collect(store, Limits()).kept == 2
    assert [path for path in (tmp_path / "store").rglob("*") if path.parent.name in {"work", "locks"}] == []
    assert not (tmp_path / "store" / "sweeping.soft").exists()


@pytest.mark.parametrize("mechanism", ["filelock", "soft"], indirect=True)
def test_the_lock_of_a_folder_that_is_removed_at_this_moment_is_held_by_nobody(
    mechanism: str, tmp_path: Path, monkeypatch
) -> None:
    """A collection asks for the owner of a run's folder, while the run ends and removes the folder."""
    path = tmp_path / "work" / "owner"
    path.parent.mkdir()
    path.with_name("owner.soft" if mechanism == "soft" else "owner").touch()
    own = os.mkdir

    def mkdir(folder: Path, *mode: int) -> None:
        if Path(folder) != path.parent:
            return own(folder, *mode)
        shutil.rmtree(folder)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))

    monkeypatch.setattr(os, "mkdir", mkdir)
    assert not file_lock.is_locked(path)
    assert not path.parent.exists()


# -- what a lock says, and what its file may be ------------------------------------------------------------------------


def test_a_holder_is_the_command_of_the_process_and_since_when(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(locks.sys, "argv", ["onnxbuild", "run", "m.yaml"])
    monkeypatch.setattr(locks.time, "time", lambda: 1234.5)
    with locks.hold(tmp_path / "lock"):
        assert locks.holder(tmp_path / "lock") == locks.Holder(os.getpid(), "onnxbuild run m.yaml", 1234.5)
        with pytest.raises(locks.Waiting) as raised, locks.hold(tmp_path / "lock"):
            pass
    assert str(raised.value) == str(tmp_path / "lock")
    assert locks.holder(tmp_path / "lock") is None


def test_a_lock_is_given_back_whatever_ends_the_body(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locks.hold(tmp_path / "lock"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_whoever_waits_is_asked_before_each_try_whether_it_still_does(tmp_path: Path, monkeypatch) -> None:
    sleeps, asked = [], []
    monkeypatch.setattr(locks.time, "sleep", sleeps.append)
    with locks.hold(tmp_path / "lock"):
        with (
            pytest.raises(locks.Waiting) as raised,
            locks.hold(
                tmp_path / "lock", on_wait=lambda _holder: None, cancelled=lambda: asked.append(1) or len(asked) == 3
            ),
        ):
            pass
        assert (str(raised.value), sleeps) == (str(tmp_path / "lock"), [0.05, 0.05])


@pytest.mark.parametrize(
    ("name", "lock"),
    [
        ("abc", "abc"),
        ("abc.holder", "abc"),
        ("abc.soft", "abc"),
        ("abc.txt", "abc.txt"),
        ("abc.soft.holder", "abc.soft"),
    ],
)
def test_the_lock_that_a_file_belongs_to(name: str, lock: str) -> None:
    assert file_lock.lock_of(Path("folder", name)) == Path("folder", lock)


@pytest.mark.skipif(not file_lock.HAS_FLOCK, reason="this system has no flock")
class TestFiles:
    """The files of locks, which another user may have made."""

    def test_what_is_no_file_is_named(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "lock")
        with pytest.raises(OSError, match="is a FIFO") as raised:
            lock_files.open_lock_file(tmp_path / "lock")
        error = raised.value
        assert (error.errno, error.filename) == (22, str(tmp_path / "lock"))
        assert error.strerror == "is a FIFO, not a regular file"

    @pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
    def test_a_file_that_may_only_be_read_is_enough(self, tmp_path: Path, monkeypatch, number: int) -> None:
        (tmp_path / "lock").write_text("another user")
        own, flags = os.open, []

        def opening(path: Path, how: int, *mode: int) -> int:
            flags.append(how & (os.O_RDWR | os.O_CREAT))
            if how & os.O_RDWR and not how & os.O_CREAT:
                raise OSError(number, os.strerror(number))
            return own(path, how, *mode)

        monkeypatch.setattr(lock_files.os, "open", opening)
        lock = file_lock.take_lock(tmp_path / "lock")
        assert flags == [os.O_RDWR | os.O_CREAT, os.O_RDWR, os.O_RDONLY]
        lock.write(b"ours")  # cannot be written, and is no error
        assert (tmp_path / "lock").read_text() == "another user"
        lock.release()
        assert not (tmp_path / "lock").exists()

    def test_another_error_of_opening_is_one(self, tmp_path: Path, monkeypatch) -> None:
        (tmp_path / "lock").touch()
        own = os.open

        def opening(path: Path, how: int, *mode: int) -> int:
            if how & os.O_CREAT:
                return own(path, how, *mode)
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(lock_files.os, "open", opening)
        with pytest.raises(OSError, match="Too many open files"):
            lock_files.open_lock_file(tmp_path / "lock")

    def test_a_file_that_may_not_be_opened_yet_is_tried_for_a_moment(self, tmp_path: Path, monkeypatch) -> None:
        """Between its creation and its mode, another user's file is closed to all others."""
        clock, sleeps = [0.0], []

        def sleep(seconds: float) -> None:
            sleeps.append(seconds)
            clock[0] += seconds

        def denied(_path: Path) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(lock_files.time, "monotonic", lambda: clock[0])
        monkeypatch.setattr(lock_files.time, "sleep", sleep)
        monkeypatch.setattr(lock_files, "_existing", denied)
        with pytest.raises(PermissionError):
            lock_files.open_lock_file(tmp_path / "lock", create=False)
        assert set(sleeps) == {0.005}
        assert 40 <= len(sleeps) <= 42

    def test_a_file_that_is_removed_meanwhile_is_created_again(self, tmp_path: Path, monkeypatch) -> None:
        path, own = tmp_path / "lock", lock_files._existing
        path.touch()

        def removed(place: Path) -> int:
            place.unlink(missing_ok=True)
            return own(place)

        monkeypatch.setattr(lock_files, "_existing", removed)
        os.close(lock_files.open_lock_file(path))
        assert path.exists()
        with pytest.raises(FileNotFoundError):
            lock_files.open_lock_file(path, create=False)

    @pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS])
    def test_a_file_system_without_locks_says_so(self, monkeypatch, number: int) -> None:
        def refuse(_descriptor: int, _operation: int) -> None:
            raise OSError(number, "x")

        monkeypatch.setattr(lock_files.fcntl, "flock", refuse)
        for ask in (lock_files.try_flock, lock_files.share_flock, lock_files.release_flock):
            with pytest.raises(lock_files.NoLocks) as raised:
                ask(0)
            assert (raised.value.errno, raised.value.strerror) == (number, "the file system has no locks")

    def test_which_lock_is_asked_for(self, monkeypatch) -> None:
        asked = []
        monkeypatch.setattr(lock_files.fcntl, "flock", lambda *call: asked.append(call))
        assert lock_files.try_flock(7) is True
        lock_files.share_flock(8)
        lock_files.release_flock(9)
        fcntl = lock_files.fcntl
        assert asked == [(7, fcntl.LOCK_EX | fcntl.LOCK_NB), (8, fcntl.LOCK_SH), (9, fcntl.LOCK_UN)]


@pytest.mark.parametrize("gate_is_closed", [True, False])
def test_a_wait_for_the_gate_or_for_readers_pauses_between_two_tries(
    tmp_path: Path, monkeypatch, *, gate_is_closed: bool
) -> None:
    monkeypatch.setattr(shared_lock, "HAS_FLOCK", False)
    path = tmp_path / "gc.lock"
    reader = SharedLock(path)
    held = file_lock.take_lock(path) if gate_is_closed else reader
    if not gate_is_closed:
        reader.acquire()
    sleeps: list[float] = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        if len(sleeps) == 3:
            held.release()

    monkeypatch.setattr(shared_lock.time, "sleep", sleep)
    with hold_alone(path, lambda: None):
        assert sleeps == [0.02] * 3
