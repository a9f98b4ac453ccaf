"""The parts of toolchains without an installation: what an interpreter reports, what is whole, what is removed."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onnxbuild.needs.step_needs import CODE_OF
from onnxbuild.planning.interpreters.site_folders import OUTSIDE
from onnxbuild.planning.toolchains import LockedPackage, LockedToolchain
from onnxbuild.protocol import Failure
from onnxbuild.runners.environments import Current, Unlocked, Unusable
from onnxbuild.runners.toolchains import existing_interpreter, unused_toolchains, whole
from onnxbuild.runners.toolchains.existing_interpreter import Interpreter
from onnxbuild.runners.toolchains.locked_environment import Locked, use_lock
from onnxbuild.runners.toolchains.unused_toolchains import FreedToolchains, free_toolchains
from onnxbuild.steps.kind import EVERYTHING
from onnxbuild.store.locking.shared_lock import SharedLock

posix = pytest.mark.skipif(sys.platform == "win32", reason="the layout of POSIX")
HINT = "name the interpreter of an environment that has its packages in its own site-packages"


# -- an interpreter that a manifest names ------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An environment by its folders alone, with `frob` 1.0 and `tool-box` 2.0."""
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name, version in (("Frob", "1.0"), ("tool_box", "2.0")):
        (packages / f"{name}-{version}.dist-info").mkdir(parents=True)
        (packages / f"{name}-{version}.dist-info" / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text("")
    (tmp_path / "pyvenv.cfg").write_text("version = 3.11.2")
    return tmp_path


@pytest.fixture
def reports(monkeypatch):
    """Sets what the interpreter reports when it is started; returns the commands that start it."""

    def set_(versions: dict[str, str] | None = None, implementation: str = "cpython-3.11", **more: Any) -> list[Any]:
        answer = {"implementation": implementation, "versions": versions or {}}
        commands: list[Any] = []

        def run(command: list[str], **options: Any) -> Any:
            commands.append((command, options))
            return SimpleNamespace(stdout=more.get("stdout", json.dumps(answer).encode()))

        monkeypatch.setattr(existing_interpreter, "subprocess", SimpleNamespace(
            run=run, SubprocessError=subprocess.SubprocessError))  # fmt: skip
        return commands

    return set_


ALL = {"frob": "1.0", "Tool.Box": "2.0"}


def started(there: Interpreter) -> str:
    return there.interpreter(lambda _text: None, lambda _command, _on_line: (0, ""))


def refusal(there: Interpreter) -> Failure:
    with pytest.raises(Unusable) as caught:
        started(there)
    return caught.value.failure


@posix
def test_an_interpreter_is_started_once_isolated_and_for_a_limited_time(place: Path, reports) -> None:
    commands = reports(ALL)
    there = Interpreter("t", str(place / "bin" / "python"))
    assert (there.version("frob"), there.version("tool.box"), there.version("other")) == ("1.0", "2.0", "absent")
    assert there.identity() == {"python": "cpython-3.11"}
    assert commands == []
    assert started(there) == started(there) == str(place / "bin" / "python")
    ((command, options),) = commands
    assert command[:3] == [str(place / "bin" / "python"), "-I", "-c"]
    assert options == {"capture_output": True, "timeout": 60, "check": True}


@posix
def test_what_an_interpreter_is_asked_is_what_it_has(reports) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", existing_interpreter._PROBE], capture_output=True, check=True, text=True
    )
    answer = json.loads(done.stdout)
    assert answer["implementation"] == f"cpython-3.{sys.version_info.minor}"
    assert answer["versions"]["pytest"] == pytest.__version__


@posix
@pytest.mark.parametrize(
    ("asked", "reported", "message"),
    [
        (["frob"], {"frob": "1.1"}, "frob is 1.1, not 1.0"),
        (["frob"], {}, "frob is absent, not 1.0"),
        (["other"], {"other": "3"}, "other is 3, not absent"),
        (["tool.box", "Frob"], {}, "frob is absent, not 1.0, tool-box is absent, not 2.0"),
        ([EVERYTHING], {"frob": "1.0"}, "tool-box is absent, not 2.0"),
        ([EVERYTHING], {**ALL, "more": "4"}, "more is 4, not absent"),
        (["a", "b", "c", "d"], dict.fromkeys("abcd", "1"),
         "a is 1, not absent, b is 1, not absent, c is 1, not absent"),
    ],
)  # fmt: skip
def test_other_packages_than_the_folders_have_are_a_failure(place: Path, reports, asked, reported, message) -> None:
    reports(reported)
    there = Interpreter("t", str(place / "bin" / "python"))
    for name in asked:
        there.version(name)
    assert refusal(there) == Failure(
        code="OBE70",
        message=f"toolchain `t` has other packages than its folders: {message}",
        notes=(
            ("found", "what a plan cannot see: `sitecustomize`, or a script that starts another Python"),
            ("hint", HINT),
        ),
    )


@posix
def test_another_implementation_than_the_folders_say_is_a_failure(place: Path, reports) -> None:
    reports({}, "pypy-3.10")
    message = "toolchain `t` has other packages than its folders: python is pypy-3.10, not cpython-3.11"
    assert refusal(Interpreter("t", str(place / "bin" / "python"))).message == message


@posix
@pytest.mark.parametrize("asked", [[], [CODE_OF + "frob"], ["frob"]])
def test_what_no_key_contains_may_differ(place: Path, reports, asked: list[str]) -> None:
    reports({"frob": "1.0", "tool-box": "9", "more": "4"})
    there = Interpreter("t", str(place / "bin" / "python"))
    for name in asked:
        there.version(name)
    assert started(there) == str(place / "bin" / "python")


@posix
def test_the_places_that_a_plan_cannot_see_are_named(place: Path, reports) -> None:
    packages = place / "lib" / "python3.11" / "site-packages"
    for name in "abcd":
        (packages / f"{name}.pth").write_text(f"import {name}\n")
    reports({})
    there = Interpreter("t", str(place / "bin" / "python"))
    there.version("frob")
    seen = ", ".join(str(packages / f"{name}.pth") for name in "abc")
    assert refusal(there).notes == (("found", f"what a plan cannot see: {seen}"), ("hint", HINT))


@posix
def test_a_folder_that_may_not_be_read_can_be_permitted(place: Path, reports) -> None:
    elsewhere = place.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    (place / "lib" / "python3.11" / "site-packages" / "a.pth").write_text(f"{elsewhere}\n")
    reports({"frob": "2"})
    inside = os.path.realpath(place)
    there = Interpreter("t", str(place / "bin" / "python"), lambda folder: folder.startswith(inside))
    there.version("frob")
    notes = dict(refusal(there).notes)
    assert OUTSIDE in notes["found"]
    assert notes["hint"] == f"permit the folder with `--allow-path`, or {HINT}"


@posix
def test_an_interpreter_that_answers_something_else_is_named(place: Path, reports) -> None:
    reports(stdout=b"Python 3")
    path = str(place / "bin" / "python")
    failure = refusal(Interpreter("t", path))
    assert (failure.code, failure.message) == ("OBE65", f"the interpreter of toolchain `t` cannot be started: {path}")
    assert dict(failure.notes)["hint"].startswith("DecodeError: JSON is malformed")


def test_an_interpreter_that_is_missing_is_named() -> None:
    with pytest.raises(Unusable) as caught:
        Interpreter("t", "/nowhere/python").identity()
    message = "the interpreter of toolchain `t` cannot be started: /nowhere/python"
    assert caught.value.failure == Failure(code="OBE65", message=message, notes=(("hint", "no such file"),))


# -- the current interpreter, and a toolchain that is not locked -------------------------------------------------------


def test_of_the_current_interpreter_the_code_of_others_is_watched(monkeypatch) -> None:
    current = Current()
    monkeypatch.setattr(current, "_installed", SimpleNamespace(
        editable=lambda: ["onnxbuild", "a", "b"], watched=lambda name: [f"/{name}", "/both"],
        names=lambda: ["z", "onnxbuild"],
        watched_shadows=lambda names: [f"/hides/{name}" for name in names if name in {"onnxbuild", "optimum", "z"}],
    ))  # fmt: skip
    assert current.watched() == ("/a", "/both", "/b", "/hides/optimum", "/hides/z")


def test_the_current_interpreter(monkeypatch) -> None:
    current = Current()
    assert current.interpreter(lambda _text: None, lambda _command, _on_line: (0, "")) == sys.executable
    assert current.identity() == {"python": f"{sys.implementation.name}-3.{sys.version_info.minor}"}
    assert current.version("pytest") == pytest.__version__
    assert current.version("no-such-distribution") == "absent"
    assert current.version(CODE_OF + "no_such_module") == "absent"
    assert len(current.version(CODE_OF + "onnxbuild")) == 32


def test_a_toolchain_that_is_not_locked_says_what_locks_it() -> None:
    unlocked = Unlocked("new")
    with pytest.raises(Unusable) as caught:
        unlocked.interpreter(lambda _text: None, lambda _command, _on_line: (0, ""))
    assert caught.value.failure == Failure(
        code="OBE65",
        message="toolchain `new` is not locked",
        notes=(("hint", "`onnxbuild lock MANIFEST` resolves it"),),
    )
    assert str(caught.value) == "toolchain `new` is not locked"
    assert (unlocked.identity(), unlocked.watched()) == (Current().identity(), ())


# -- environments in a store -------------------------------------------------------------------------------------------

LOCKED = LockedToolchain((LockedPackage("frob", "1.0", "0" * 64),))


def test_a_locked_toolchain_is_known_without_its_installation(tmp_path: Path) -> None:
    locked = Locked("t", LOCKED, tmp_path)
    assert (locked.version("frob"), locked.version("other")) == ("1.0", "absent")
    assert locked.version(EVERYTHING) == locked.version(CODE_OF + "frob") == LOCKED.digest
    assert (locked.identity(), locked.watched()) == (Current().identity(), ())
    assert list(tmp_path.iterdir()) == []


@posix
def test_the_files_of_an_environment_are_those_that_stay(tmp_path: Path) -> None:
    (tmp_path / "lib" / "__pycache__").mkdir(parents=True)
    for name in ("lib/a.py", "lib/__pycache__/a.pyc", "b", ".whole"):
        (tmp_path / name).write_text(name)
        os.utime(tmp_path / name, (5, 1.75))
    (tmp_path / "link").symlink_to("b")
    os.mkfifo(tmp_path / "fifo")
    assert sorted(whole._files(tmp_path)) == [("b", 1, 1), ("lib/a.py", 8, 1), ("link", 0, 0)]
    assert whole._stamp(tmp_path / "missing") is None
    assert whole._stamp(tmp_path / "lib") is None


@posix
@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("missing", "it is missing"),
        ("file", "something else stands in its place"),
        ("link", "something else stands in its place"),
        ("unmarked", "its creation was interrupted"),
        ("damaged", "its creation was interrupted"),
        ("folder", "its creation was interrupted"),
        ("without an interpreter", "it has no interpreter"),
    ],
)
def test_what_is_wrong_with_an_environment(tmp_path: Path, kind: str, wrong: str) -> None:
    place = tmp_path / "place"
    if kind == "file":
        place.write_text("")
    elif kind == "link":
        place.symlink_to(tmp_path)
    elif kind != "missing":
        place.mkdir()
        if kind == "folder":
            (place / ".whole").mkdir()
        elif kind != "unmarked":
            (place / ".whole").write_text({"damaged": '[["a"]]'}.get(kind, "[]"))
    assert whole.what_is_wrong(place, LOCKED) == wrong


@posix
def test_a_marker_is_written_once_and_only_for_what_is_whole(place: Path) -> None:
    marker = place / ".whole"
    marker.write_text("")
    more = LockedToolchain((*LOCKED.packages, LockedPackage("absent", "1.0", "1" * 64)))
    assert whole.what_is_wrong(place, more) == "absent is missing"
    assert marker.read_text() == ""
    assert whole.what_is_wrong(place, LOCKED) is None
    listed = marker.read_text()
    assert "pyvenv.cfg" in listed
    (place / "later.txt").write_text("")
    assert whole.what_is_wrong(place, LOCKED) is None
    assert marker.read_text() == listed


def environment(store: Path, digit: str, *sizes: int) -> Path:
    place = store / "toolchains" / (digit * 64)
    (place / "lib").mkdir(parents=True)
    for number, size in enumerate(sizes):
        (place / "lib" / str(number)).write_bytes(b"x" * size)
    return place


@posix
def test_environments_that_nobody_needs_are_counted_and_removed(tmp_path: Path) -> None:
    places = [environment(tmp_path, digit, 100, 11) for digit in "abc"]
    (tmp_path / "toolchains" / ("d" * 64)).write_text("a file")
    (tmp_path / "toolchains" / ("e" * 65)).mkdir()
    share = SharedLock(use_lock(places[1]))
    share.acquire()
    needed = frozenset({"c" * 64})
    assert free_toolchains(tmp_path, needed, dry_run=True) == FreedToolchains(2, 222, 0)
    assert all(place.exists() for place in places)
    assert free_toolchains(tmp_path, needed, dry_run=False) == FreedToolchains(1, 111, 1)
    assert [place.exists() for place in places] == [False, True, True]
    share.close()
    assert free_toolchains(tmp_path, needed, dry_run=False) == FreedToolchains(1, 111, 0)
    assert sorted(path.name[0] for path in (tmp_path / "toolchains").iterdir() if path.suffix != ".use") == list("cde")
    assert free_toolchains(tmp_path / "missing", needed, dry_run=False) == FreedToolchains()


@posix
def test_an_environment_whose_removal_is_killed_counts_as_interrupted(tmp_path: Path, monkeypatch) -> None:
    place = environment(tmp_path, "a", 1)
    (place / ".whole").write_text("[]")

    def killed(_place: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(unused_toolchains, "remove_tree", killed)
    with pytest.raises(KeyboardInterrupt):
        free_toolchains(tmp_path, frozenset(), dry_run=False)
    assert whole.what_is_wrong(place, LOCKED) == "its creation was interrupted"


@posix
def test_a_removal_leaves_the_locks_of_a_shared_store_to_its_group(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    environment(tmp_path, "a", 1)
    assert free_toolchains(tmp_path, frozenset(), dry_run=False).count == 1
    assert stat.S_IMODE((tmp_path / "locks").stat().st_mode) == 0o2775
