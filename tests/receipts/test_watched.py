"""One row for each thing that a receipt watches: without the row's event it answers, after it the engine decides."""

import contextlib
import json
import os
import platform
import sys
import time
import zlib
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxbuild.receipts import receipt
from onnxbuild.receipts.new_receipt import Stored, write_receipt
from onnxbuild.receipts.receipt import receipt_path, standing
from onnxbuild.store.files import settled_signature

# Hypothesis imports it where there is numpy, and the path of `world` leads to no library.
with contextlib.suppress(ImportError):
    import numpy.random  # noqa: F401

QUESTION = {"selectors": ["m"], "define": [], "out": None}


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A receipt of a build that never was: it watches one file of each sort."""
    packages = tmp_path / "lib" / "site-packages"
    packages.mkdir(parents=True)
    (tmp_path / "path" / "tool-1.0.dist-info").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(packages), str(tmp_path / "path")])
    own = tmp_path / "own" / "receipts" / "receipt.py"
    own.parent.mkdir(parents=True)
    own.write_text("")
    (tmp_path / "own" / "older.py").write_text("")
    os.utime(tmp_path / "own" / "older.py", ns=(5, 5))
    monkeypatch.setattr(receipt, "__file__", str(own))
    monkeypatch.setenv("SECRET", "one")
    monkeypatch.delenv("UNSET", raising=False)
    for name in ("manifest.yaml", "generation", "source", "output", "traces.db", "python"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    blob = tmp_path / "blobs" / "ab" / "abcd"
    blob.parent.mkdir(parents=True)
    blob.write_text("blob")
    time.sleep(0.05)
    return tmp_path


def leave(world, **changes):
    given = {
        "read": [str(world / "manifest.yaml"), str(world / "missing.lock")],
        "began_ns": time.time_ns(),
        "made": [str(world / "generation")],
        "parts": [{str(world / name): settled_signature(world / name)} for name in ("source", "output")],
        "stored": Stored(str(world / "blobs"), str(world / "traces.db"), {"abcd": 4}),
        "environment": ["UNSET", "SECRET"],
        "answer": "up to date\n",
    }
    write_receipt(str(world), QUESTION, **{**given, **changes})


def touched(name):
    """A change that keeps size and mtime, as `touch -r` and careful damage do."""

    def event(world, _monkeypatch):
        place = world / name
        status = place.stat()
        time.sleep(0.03)
        place.write_text("X" * status.st_size)
        os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))

    return event


def replaced(name):
    def event(world, _monkeypatch):
        content = (world / name).read_bytes()
        (world / f"{name}.new").write_bytes(content)
        (world / f"{name}.new").replace(world / name)

    return event


def removed(name):
    return lambda world, _monkeypatch: (world / name).unlink()


def patched(place, name, value):
    return lambda _world, monkeypatch: monkeypatch.setattr(place, name, value)


WATCHED = {
    "a file that planning read": touched("manifest.yaml"),
    "such a file, replaced": replaced("manifest.yaml"),
    "such a file, removed": removed("manifest.yaml"),
    "a file that planning did not find": lambda world, _: (world / "missing.lock").write_text(""),
    "a file that all parts need": touched("generation"),
    "a variable of the environment": lambda _world, monkeypatch: monkeypatch.setenv("SECRET", "two"),
    "a variable that is set no longer": lambda _world, monkeypatch: monkeypatch.delenv("SECRET"),
    "a variable that is set now": lambda _world, monkeypatch: monkeypatch.setenv("UNSET", ""),
    "a package that was installed": lambda world, _: (world / "lib" / "site-packages" / "new").mkdir(),
    "a package in another folder": lambda world, _: (world / "path" / "tool-1.0.dist-info").rename(
        world / "path" / "tool-2.0.dist-info"
    ),
    "another path of packages": lambda _world, monkeypatch: monkeypatch.setattr(sys, "path", sys.path[::-1]),
    "our own code": lambda world, _: (world / "own" / "receipts" / "new.py").write_text(""),
    "our own code, by an older file": lambda world, _: os.utime(world / "own" / "receipts" / "receipt.py", ns=(1, 1)),
    "our own code, by a missing file": lambda world, _: (world / "own" / "older.py").unlink(),
    "the interpreter": lambda world, _: os.utime(world / "python", ns=(1, 1)),
    "another interpreter": lambda world, monkeypatch: (
        (world / "python3").write_text(""), monkeypatch.setattr(sys, "executable", str(world / "python3"))
    ),
    "the name of the machine": patched(receipt, "_name_and_architecture", lambda: ("other", platform.machine())),
    "the cores of the machine": patched(receipt, "_cores", lambda: 1000),
    "a stored file": removed("blobs/ab/abcd"),
    "a stored file that was cut short": lambda world, _: (world / "blobs" / "ab" / "abcd").write_text("b"),
    "the database": removed("traces.db"),
    "the database, replaced": replaced("traces.db"),
    "the database, cut off": lambda world, _: (world / "traces.db").write_text("traces"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "moved", "holds"), [("/a:/b", True, True), ("/a:b", False, True), ("/a:b", True, False), ("", True, True),
                                 ("/a::/b", True, False), ("/a:/b:", True, False)],
)  # fmt: skip
def test_a_path_with_a_relative_folder_holds_only_in_the_same_working_folder(world, monkeypatch, path, moved, holds):
    monkeypatch.chdir(world)
    monkeypatch.setenv("LOOK_PATH", path.replace(":", os.pathsep))
    leave(world, environment=["LOOK_PATH", "SECRET"])
    found = standing(str(world), QUESTION)
    assert found.environment == ["LOOK_PATH", "SECRET"]
    if moved:
        monkeypatch.chdir(world / "blobs")
    assert (standing(str(world), QUESTION) is not None) == holds


def test_without_a_change_the_receipt_answers(world):
    leave(world)
    found = standing(str(world), QUESTION)
    assert (found.answer, found.moved) == ("up to date\n", frozenset())


@pytest.mark.parametrize("what", WATCHED)
def test_a_change_of_what_the_plan_needs_ends_the_receipt(world, monkeypatch, what):
    leave(world)
    assert standing(str(world), QUESTION) is not None
    WATCHED[what](world, monkeypatch)
    assert standing(str(world), QUESTION) is None


@pytest.mark.parametrize(("event", "part"), [
    (touched("source"), 0), (replaced("source"), 0), (removed("source"), 0),
    (touched("output"), 1), (replaced("output"), 1), (removed("output"), 1),
])  # fmt: skip
def test_a_change_of_a_source_or_an_output_moves_its_part_alone(world, monkeypatch, event, part):
    leave(world)
    event(world, monkeypatch)
    assert standing(str(world), QUESTION).moved == {part}


@pytest.mark.parametrize("other", [
    {**QUESTION, "out": "elsewhere"}, {**QUESTION, "selectors": []}, {**QUESTION, "more": 1}, {"selectors": ["m"]},
])  # fmt: skip
def test_another_question_has_no_answer(world, other):
    """Also if both have one file: its name is a checksum of 32 bits."""
    leave(world)
    assert standing(str(world), other) is None
    os.rename(receipt_path(str(world), QUESTION), receipt_path(str(world), other))
    assert standing(str(world), other) is None


def test_values_are_on_the_disk_only_as_digests(world):
    leave(world)
    text = Path(receipt_path(str(world), QUESTION)).read_bytes()
    assert b'"SECRET":"' in text
    assert b"one" not in text


# -- what a receipt says, exactly ------------------------------------------------------------------------------------


def stamp(path):
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def test_a_receipt_has_one_line_of_json_and_the_memory(world):
    leave(world, memory=b"the memory\nof two lines")
    line, _, memory = Path(receipt_path(str(world), QUESTION)).read_bytes().partition(b"\n")
    assert memory == b"the memory\nof two lines"
    database = (world / "traces.db").stat()
    value = {
        "question": QUESTION,
        "format": 4,
        "environment": {"SECRET": blake2b(b"one", digest_size=16).hexdigest(), "UNSET": None},
        "installed": receipt.installed(),
        "read": [[str(world / "manifest.yaml"), *stamp(world / "manifest.yaml")]],
        "absent": [str(world / "missing.lock")],
        "folders": sorted(
            {
                *map(str, [world, *world.parents]),
                *(
                    str(world / name)
                    for name in ("blobs", "blobs/ab", "work", "locks", "toolchains", "gc.lock.readers", "journals")
                ),
            }
        ),
        "links": {},
        "made": [[str(world / "generation"), *stamp(world / "generation")]],
        "store": [str(world / "blobs"), str(world / "traces.db"), database.st_ino, database.st_size, "abcd 4"],
        "parts": [[[str(world / name), *stamp(world / name)]] for name in ("source", "output")],
        "answer": "up to date\n",
        "memory": blake2b(memory, digest_size=16).hexdigest(),
    }
    assert line == json.dumps(value, separators=(",", ":")).encode()


def test_a_receipt_says_what_it_watches(world):
    leave(world)
    found = standing(str(world), QUESTION)
    assert found.read == [str(world / "manifest.yaml")]
    assert found.absent == [str(world / "missing.lock")]
    assert found.parts == [[[str(world / name), *stamp(world / name)]] for name in ("source", "output")]
    assert found.memory() == b""


def test_a_part_of_an_earlier_receipt_is_passed_on(world):
    leave(world)
    parts = standing(str(world), QUESTION).parts
    leave(world, parts=[parts[0], {str(world / "output"): settled_signature(world / "output")}])
    assert standing(str(world), QUESTION).parts == parts


def test_several_files_are_kept_in_the_order_in_which_they_were_read(world):
    names = ["traces.db", "manifest.yaml", "python"]
    leave(world, read=[str(world / name) for name in [*names, "z", "a"]], made=[str(world / "source")])
    found = standing(str(world), QUESTION)
    assert found.read == [str(world / name) for name in names]
    assert found.absent == [str(world / "a"), str(world / "z")]


def test_the_name_of_a_receipt_is_a_checksum_of_the_question_in_any_order(tmp_path):
    expected = zlib.crc32(b'{"a": [1, null], "b": "x"}')
    assert receipt_path(str(tmp_path), {"b": "x", "a": (1, None)}) == str(
        tmp_path / "receipts" / f"{expected:08x}.json"
    )


def test_a_question_may_have_tuples(world):
    os.rename(_left(world, {"selectors": ("m", "n")}), receipt_path(str(world), {"selectors": ("m", "n")}))
    assert standing(str(world), {"selectors": ("m", "n")}) is not None


def _left(world, question):
    """A receipt for a question, in the file of another one."""
    leave(world)
    place = Path(receipt_path(str(world), QUESTION))
    edited(question=json.loads(json.dumps(question)))(place, place.read_bytes())
    return place


@pytest.mark.parametrize("field", ["read", "made"])
@pytest.mark.parametrize("number", range(4))
def test_each_number_of_a_stamp_counts(world, field, number):
    """Size, mtime, ctime and inode."""
    leave(world)
    place = Path(receipt_path(str(world), QUESTION))
    (file,) = json.loads(place.read_bytes().partition(b"\n")[0])[field]
    for change in (1, -1):
        file[1 + number] += change
        edited(**{field: [file]})(place, place.read_bytes())
        assert standing(str(world), QUESTION) is None
        file[1 + number] -= change
    edited(**{field: [file]})(place, place.read_bytes())
    assert standing(str(world), QUESTION) is not None


def test_each_file_of_a_part_counts(world):
    two = {str(world / name): settled_signature(world / name) for name in ("source", "output")}
    leave(world, parts=[{}, two, {str(world / "python"): settled_signature(world / "python")}])
    (world / "source").unlink()
    assert standing(str(world), QUESTION).moved == {1}


def test_a_database_may_grow(world):
    leave(world)
    with (world / "traces.db").open("a") as file:
        file.write("more results")
    assert standing(str(world), QUESTION) is not None


@pytest.mark.parametrize("sizes", [{}, {"abcd": 4}, {"abcd": 4, "ff00": 3}])
def test_every_stored_file_counts_with_its_size(world, sizes):
    (world / "blobs" / "ff").mkdir()
    (world / "blobs" / "ff" / "ff00").write_text("ff!")
    stored = Stored(str(world / "blobs"), str(world / "traces.db"), sizes)
    leave(world, stored=stored)
    assert standing(str(world), QUESTION) is not None
    for digest, size in sizes.items():
        for other in (size - 1, size + 1):
            leave(world, stored=stored._replace(sizes={**sizes, digest: other}))
            assert standing(str(world), QUESTION) is None


def test_a_receipt_is_read_up_to_its_limit(world, monkeypatch):
    leave(world, memory=b"memory")
    size = os.path.getsize(receipt_path(str(world), QUESTION))
    monkeypatch.setattr(receipt, "_LARGEST", size)
    found = standing(str(world), QUESTION)
    assert found.memory() == b"memory"
    monkeypatch.setattr(receipt, "_LARGEST", size - 1)
    assert found.memory() == b""
    assert standing(str(world), QUESTION) is None


def test_a_memory_with_a_wrong_byte_is_none(world):
    leave(world, memory=b"memory")
    found = standing(str(world), QUESTION)
    place = Path(receipt_path(str(world), QUESTION))
    place.write_bytes(place.read_bytes().replace(b"memory", b"Memory")[:-6] + b"memorY")
    assert found.memory() == b""


def test_the_memory_of_a_receipt_that_is_gone_is_an_error(world):
    leave(world)
    found = standing(str(world), QUESTION)
    os.remove(receipt_path(str(world), QUESTION))
    with pytest.raises(FileNotFoundError):
        found.memory()


# -- what is installed ------------------------------------------------------------------------------------------------


def test_what_is_installed_is_packages_our_code_the_interpreter_and_the_machine(world, monkeypatch):
    """The standard library, archives and the working folder say nothing about packages."""
    for name in (f"python{sys.version_info.major}.{sys.version_info.minor}", "lib-dynload"):
        (world / name).mkdir()
    (world / "archive.zip").write_text("")
    for name in ("z-2.0.dist-info", "a.egg-info", "module", "info"):
        (world / "path" / name).mkdir()
    monkeypatch.setattr(sys, "path", ["", *(str(path) for path in sorted(world.iterdir())), *sys.path])
    monkeypatch.setattr(receipt, "_machine", lambda: ("otter", "x86_64", 8))
    folders = [place for place in sys.path[1:-2] if os.path.basename(place) in {"blobs", "lib", "own", "path"}]
    packages = world / "lib" / "site-packages"
    code = sum(
        zlib.crc32(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
        for path in (world / "own" / "older.py", world / "own" / "receipts" / "receipt.py")
    )
    infos = ["a.egg-info", "tool-1.0.dist-info", "z-2.0.dist-info"]
    assert receipt.installed() == [
        *([place, infos if place.endswith("path") else []] for place in folders),
        [str(packages), packages.stat().st_mtime_ns],
        [str(world / "path"), infos],
        [str(world / "own"), code],
        [sys.executable, os.stat(sys.executable).st_mtime_ns],
        ["otter", "x86_64", 8],
    ]


OWN_CODE = {
    "a module": ("own/receipts/receipt.py", True),
    "a new module": ("own/receipts/deep/new.py", True),
    "a text": ("own/receipts/notes.md", False),
    "a compiled module": ("own/receipts/__pycache__/receipt.py", False),
}


@pytest.mark.parametrize("what", OWN_CODE)
def test_of_our_own_code_only_modules_count(world, what):
    name, counts = OWN_CODE[what]
    before = receipt.installed()
    (world / name).parent.mkdir(exist_ok=True)
    (world / name).write_text("changed")
    assert (receipt.installed() != before) == counts


def test_a_machine_is_known_by_its_name_its_architecture_and_the_cores_of_this_process(monkeypatch):
    uname = type("Uname", (), {"nodename": "otter", "machine": "riscv64"})
    monkeypatch.setattr(os, "uname", lambda: uname, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5} if process == 0 else set(), raising=False)
    assert receipt.installed()[-1] == ["otter", "riscv64", 2]


def test_a_digest_is_the_same_with_another_python(monkeypatch):
    expected = blake2b(b"x", digest_size=16).hexdigest()
    assert (receipt.digest_of(b"x"), receipt.fingerprint("x"), receipt.fingerprint(None)) == (expected, expected, None)
    monkeypatch.setitem(sys.modules, "_blake2", None)
    assert receipt.digest_of(b"x") == expected


# -- when none is written ---------------------------------------------------------------------------------------------


def test_a_manifest_that_was_edited_during_the_run_leaves_none(world):
    began = time.time_ns()
    time.sleep(0.03)
    (world / "manifest.yaml").write_text("edited")
    leave(world, began_ns=began)
    assert not (world / "receipts").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")
def test_a_link_that_was_made_during_the_run_leaves_none(world):
    """Planning looked at the folder that was there before; nobody has judged where the link leads."""
    (world / "way").mkdir()
    (world / "way" / "file").write_text("")
    time.sleep(0.03)
    began = time.time_ns()
    (world / "way").rename(world / "elsewhere")
    (world / "way").symlink_to("elsewhere")
    leave(world, read=[str(world / "way" / "file")], began_ns=began)
    assert not (world / "receipts").exists()
    time.sleep(0.03)
    leave(world, read=[str(world / "way" / "file")], began_ns=time.time_ns())
    assert standing(str(world), QUESTION) is not None


@pytest.mark.parametrize(("later_ns", "leaves"), [(-1, False), (0, False), (1, True)])
def test_a_file_that_changed_within_a_tick_of_the_beginning_leaves_none(world, later_ns, leaves):
    for name in ("manifest.yaml", "python"):
        while stamp(world / name)[2] % 10**9 == 0:  # once in a billion times: such a stamp may be rounded
            (world / name).touch()
    changed = max(stamp(world / name)[2] for name in ("manifest.yaml", "python"))
    read = [str(world / name) for name in ("manifest.yaml", "python")]
    leave(world, read=read, began_ns=changed + 20_000_000 + later_ns)
    assert (world / "receipts").exists() == leaves


def whole_seconds(monkeypatch, path, second):
    """A file system that stores whole seconds, and rounds down."""
    real = os.stat

    def stat(place, *given, **more):
        status = real(place, *given, **more)
        if os.fspath(place) != str(path):
            return status
        fields = {name: getattr(status, name) for name in ("st_size", "st_ino", "st_mode")}
        stamp = second * 10**9
        return type("Status", (), {**fields, "st_mtime_ns": stamp, "st_ctime_ns": stamp})

    monkeypatch.setattr(os, "stat", stat)


@pytest.mark.parametrize(("seconds", "leaves"), [(0.3, False), (1.5, False), (2.5, True)])
def test_an_edit_in_the_second_in_which_the_run_began_is_not_missed(world, monkeypatch, seconds, leaves):
    """The file was stamped `seconds` before the run began, and may have been edited up to 2 s after its stamp."""
    second = int(time.time()) - 10
    whole_seconds(monkeypatch, world / "manifest.yaml", second)
    leave(world, began_ns=int((second + seconds) * 10**9))
    assert (world / "receipts").exists() == leaves


def test_a_file_of_a_read_only_image_leaves_none(world, monkeypatch):
    second = int(time.time()) - 1000
    whole_seconds(monkeypatch, world / "manifest.yaml", second)
    flags = {"flag": 0}
    monkeypatch.setattr(os, "statvfs", lambda _path: type("Mounted", (), {"f_flag": flags["flag"]}), raising=False)
    monkeypatch.setattr(os, "ST_RDONLY", 1, raising=False)
    flags["flag"] = 1
    leave(world)
    assert not (world / "receipts").exists()
    flags["flag"] = 0
    leave(world)
    assert (world / "receipts").exists()


def test_a_receipt_needs_the_database(world):
    (world / "traces.db").unlink()
    with pytest.raises(FileNotFoundError):
        leave(world)
    assert not (world / "receipts").exists()


# -- a receipt that somebody damaged or made --------------------------------------------------------------------------


def edited(**changes):
    def edit(place, text):
        line, _, rest = text.partition(b"\n")
        place.write_bytes(json.dumps({**json.loads(line), **changes}).encode() + b"\n" + rest)

    return edit


DAMAGED = {
    "empty": lambda place, _text: place.write_bytes(b""),
    "cut short": lambda place, text: place.write_bytes(text[: len(text) // 2]),
    "not JSON": lambda place, text: place.write_bytes(b"\xff" + text),
    "nested": lambda place, _text: place.write_bytes(b"[" * 200_000),
    "a list": lambda place, _text: place.write_bytes(b"[]"),
    "null": lambda place, _text: place.write_bytes(b"null"),
    "of an older format": edited(format=1),
    "of a newer format": edited(format=receipt.FORMAT + 1),
    "without a format": edited(format=None),
    "without an answer": edited(answer=None),
    "with an answer that is no text": edited(answer=["up to date"]),
    "that watches no file": edited(read=[]),
    "whose environment is a list": edited(environment=["SECRET"]),
    "whose files are numbers": edited(read=[1, 2]),
    "whose store is short": edited(store=["blobs"]),
    "whose stored files have no size": edited(store=["blobs", "traces.db", 1, "abcd"]),
    "whose parts are a number": edited(parts=7),
    "whose folders are numbers": edited(folders=[[]]),
    "whose links are a list": edited(links=["link"]),
    "whose absent files are numbers": edited(absent=[[]]),
    "with NUL in a path": edited(read=[["a\0b", 1, 1, 1, 1]]),
    "huge": lambda place, _text: os.truncate(place, 1 << 40),
}
if sys.platform != "win32":
    DAMAGED |= {
        "a link": lambda place, _text: (place.rename(f"{place}.real"), place.symlink_to(f"{place}.real")),
        "a FIFO": lambda place, _text: (place.unlink(), os.mkfifo(place)),
        "a folder": lambda place, _text: (place.unlink(), place.mkdir()),
        "a device": lambda place, _text: (place.unlink(), place.symlink_to("/dev/zero")),
    }


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_receipt_is_none(world, what):
    leave(world)
    place = Path(receipt_path(str(world), QUESTION))
    DAMAGED[what](place, place.read_bytes())
    assert standing(str(world), QUESTION) is None


def test_the_memory_is_that_of_the_receipt(world):
    leave(world, memory=b"a\nb")
    found = standing(str(world), QUESTION)
    assert found.memory() == b"a\nb"
    (world / "manifest.yaml").touch()
    time.sleep(0.05)
    leave(world, memory=b"of the next receipt")
    assert found.memory() == b""


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(
    field=st.sampled_from(
        ["format", "environment", "installed", "read", "made", "absent", "folders", "links", "store", "parts", "memory"]
    ),
    value=_VALUES,
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_receipt_with_any_value_is_used_or_not_and_never_an_error(world, field, value):
    place = Path(receipt_path(str(world), QUESTION))
    if not place.exists():
        leave(world)
        place.with_suffix(".whole").write_bytes(place.read_bytes())
    line = json.loads(place.with_suffix(".whole").read_bytes())
    place.write_bytes(json.dumps({**line, field: value}).encode() + b"\n")
    found = standing(str(world), QUESTION)
    # Nothing that is moved, and no text that could be taken for a memory.
    assert found is None or (found.answer == "up to date\n" and (field != "memory" or found.memory() == b""))
