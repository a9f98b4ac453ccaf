"""A delivery is killed at every change that it makes to the disk: nothing is lost, and the next run completes it."""

import os
import sys

import pytest
from forked import started
from outs import write

from onnxbuild.deliver import replacement

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process at a chosen step")

OLD = {"model.onnx": b"old", "sub/a.bin": b"old a", "gone/b.bin": b"old b"}
NEW = {"model.onnx": b"new", "sub/a.bin": b"new a", "more/c.bin": b"new c"}
MINE = {"notes": b"mine", "sub/notes": b"mine in sub", "gone/notes": b"mine in gone", "mine/a/b": b"a whole folder"}
# A file that has the name of a new one, under the names that it may have afterwards.
CLASH = {"more": b"mine"}
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.truncate", "os.link"}
KILLED = 99
MOST_STEPS = 400


def _die_at(step):
    """End this process as a SIGKILL would, just before its change of this number."""
    count = 0

    def count_down(*_given):
        nonlocal count
        count += 1
        if count > step:
            os._exit(KILLED)

    def hook(event, arguments):
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (event in _CHANGES or writes) and "/out/" in str(arguments[0]):
            count_down()

    exchange = replacement._exchange
    replacement._exchange = lambda one, other: (count_down(), exchange(one, other))[1]
    sys.addaudithook(hook)


def killed(outs, files, step):
    """Deliver in a process that dies at a step; whether it did."""

    def work():
        _die_at(step)
        return 0 if outs.deliver(files).error is None else 2

    code = started(work)()
    assert code in {0, KILLED}
    return code == KILLED


def world(outs):
    outs.deliver(OLD)
    write(outs.folder, {**MINE, **CLASH})
    (outs.folder / "link").symlink_to("nowhere")
    (outs.folder / "empty").mkdir()


def everything_is_there(outs):
    found = outs.files()
    assert {name: found[name] for name in {**NEW, **MINE}} == {**NEW, **MINE}
    clash = {name: content for name, content in found.items() if name not in {**NEW, **MINE}}
    assert list(clash.values()) == [b"mine"]
    assert next(iter(clash)).startswith("more.kept")
    assert os.readlink(outs.folder / "link") == "nowhere"
    assert (outs.folder / "empty").is_dir()
    assert outs.is_whole()
    assert outs.beside() == ["t"]


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_delivery_killed_at_any_step_is_completed_by_the_next(outs, monkeypatch, exchanges):
    if not exchanges:
        monkeypatch.setattr(replacement, "_exchange", lambda _one, _other: False)
    reader_found_none = 0
    for step in range(MOST_STEPS):
        outs.out = outs.root / "out" / str(step)
        outs.folder = outs.out / "m" / "t"
        world(outs)
        was_killed = killed(outs, NEW, step)
        if outs.folder.exists():
            assert outs.is_whole(), step
        else:
            reader_found_none += 1
        # A build that fails restores the last output, too.
        if step % 2:
            assert outs.deliver(NEW, outcome="failed").error is None
            assert outs.is_whole()
        outs.deliver(NEW)
        everything_is_there(outs)
        if not was_killed:
            break
    assert 20 < step < MOST_STEPS - 1
    assert reader_found_none == (0 if exchanges else 1)


def test_a_recovery_killed_at_any_step_is_completed_by_the_next(outs, monkeypatch):
    monkeypatch.setattr(replacement, "_exchange", lambda _one, _other: False)
    for first in (17, 19, 21, 23):
        for second in range(0, MOST_STEPS, 3):
            outs.out = outs.root / "out" / f"{first}-{second}"
            outs.folder = outs.out / "m" / "t"
            world(outs)
            assert killed(outs, NEW, first)
            was_killed = killed(outs, NEW, second)
            outs.deliver(NEW)
            everything_is_there(outs)
            if not was_killed:
                break
        assert second > 3
