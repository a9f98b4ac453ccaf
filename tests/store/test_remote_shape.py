"""Results that somebody else wrote: each is refused before anything on this machine changes, and costs one warning."""

from __future__ import annotations

import json
import os
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sharing import Machine
from toys import InlineRunner, step

from onnxbuild.digest import digest_value
from onnxbuild.regular_files import is_safe_name
from onnxbuild.store.content import File, Tree
from onnxbuild.store.remote import shape
from onnxbuild.store.remote.parcel import parcel_from, parcel_of, plain_object, trace_name
from onnxbuild.store.remote.remote_errors import DamagedObject
from onnxbuild.store.remote.shape import flaw_in
from onnxbuild.store.traces import Trace

WORLD = (step("a", text="spam"),)
BLOB = "0" * 64


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return tmp_path / "shared"


def machine(tmp_path: Path, name: str, shared: Path, **more: Any) -> Machine:
    return Machine(tmp_path / name, f"file://{shared}", InlineRunner(), **more)


def the_trace(shared: Path) -> Path:
    return next((shared / "traces").rglob("*.json"))


def forge(shared: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the trace, and keep the digests of its trees right, as somebody would who knows the format."""
    parcel = json.loads(the_trace(shared).read_bytes())
    change(parcel)
    digests = {}
    for old, files in parcel["trees"].items():
        digests[old] = digest_value([(one["name"], one["digest"], one["size"]) for one in files])
    parcel["trees"] = {digests[old]: files for old, files in parcel["trees"].items()}
    parcel["trace"]["outputs"] = {port: digests.get(old, old) for port, old in parcel["trace"]["outputs"].items()}
    the_trace(shared).write_text(json.dumps(parcel))


def files_of(parcel: dict[str, Any]) -> list[dict[str, Any]]:
    return next(iter(parcel["trees"].values()))


def ports_of(parcel: dict[str, Any]) -> dict[str, Any]:
    return parcel["trace"]["outputs"]


def add(*names: str) -> Callable[[dict[str, Any]], None]:
    """More files with the content of the first."""
    return lambda parcel: files_of(parcel).extend({**files_of(parcel)[0], "name": name} for name in names)


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"x": value}
    return value


def other_size(parcel: dict[str, Any]) -> None:
    files_of(parcel).append({**files_of(parcel)[0], "name": "twice", "size": 5})


OTHER_PORTS, ODD_RECORD = "its outputs are not those of `cat`", "its record of who built it is not plausible"
NOT_A_PLACE, SAME_PLACE = "a tree does not match its name", "two files of a tree need the same place"
FORGED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "file-and-folder": (add("x", "x/y"), SAME_PLACE),
    "file-and-folder-apart": (add("x/y", "x-1", "x"), SAME_PLACE),
    "the-same-name-twice": (add("x", "x"), SAME_PLACE),
    "long-name": (add("x" * 256), NOT_A_PLACE),
    "long-name-in-bytes": (add("é" * 128), NOT_A_PLACE),
    "long-path": (add("/".join(["x" * 200] * 21)), NOT_A_PLACE),
    "deep-path": (add("/".join(["x"] * 65)), NOT_A_PLACE),
    "out-of-the-folder": (add("../../escaped"), NOT_A_PLACE),
    "absolute": (add("/etc/escaped"), NOT_A_PLACE),
    "nul": (add("a\0b"), NOT_A_PLACE),
    "newline": (add("a\nb"), NOT_A_PLACE),
    "escape": (add("a\x1b[2J"), NOT_A_PLACE),
    "no-name": (add(""), NOT_A_PLACE),
    "dot": (add("."), NOT_A_PLACE),
    "empty-part": (add("a//b"), NOT_A_PLACE),
    "trailing-slash": (add("a/"), NOT_A_PLACE),
    "upper-case-digest": (lambda parcel: files_of(parcel)[0].update(digest="A" * 64), NOT_A_PLACE),
    "path-as-digest": (lambda parcel: files_of(parcel)[0].update(digest="../" * 21 + "x"), NOT_A_PLACE),
    "negative-size": (lambda parcel: files_of(parcel)[0].update(size=-1), NOT_A_PLACE),
    "two-sizes": (other_size, "a file has two sizes"),
    "no-files": (lambda parcel: files_of(parcel).clear(), "a tree is empty"),
    "no-outputs": (lambda parcel: parcel["trace"]["outputs"].clear(), OTHER_PORTS),
    "another-port": (lambda parcel: ports_of(parcel).update(model=ports_of(parcel).pop("out")), OTHER_PORTS),
    "one-port-more": (lambda parcel: ports_of(parcel).update(more=ports_of(parcel)["out"]), OTHER_PORTS),
    "nested-facts": (lambda parcel: parcel["trace"].update(facts=nested(65)), "its values are nested too deeply"),
    "large-number": (lambda parcel: parcel["trace"].update(facts={"n": 1 << 63}), "a number in it is too large"),
    "negative-time": (lambda parcel: parcel["trace"].update(seconds=-1.0), ODD_RECORD),
    "long-worker": (lambda parcel: parcel["trace"].update(worker="x" * 201), ODD_RECORD),
    "worker-with-escapes": (lambda parcel: parcel["trace"].update(worker="\x1b]0;x\a"), ODD_RECORD),
    "many-files": (add(*(f"f{number}" for number in range(10_000))), "it has more than 10000 files"),
}  # fmt: skip


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_trace_changes_nothing_here_and_is_one_warning(tmp_path, shared, case) -> None:
    change, why = FORGED[case]
    machine(tmp_path, "one", shared)(*WORLD)
    forge(shared, change)
    second = machine(tmp_path, "two", shared, readonly=True)
    assert second.plan(*WORLD) == {"a": "run"}
    assert second.blobs() == []
    assert second(*WORLD) == {"a": "built"}
    assert [warning.split(": ")[2] for warning in second.warnings] == [why]
    assert second(*WORLD) == {"a": "hit"}  # and the local store works as before
    assert not (tmp_path / "escaped").exists()


DEEP = b'{"layout": 1, "trees": {}, "trace": {"facts": {"x": ' + b"[" * 90_000


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is not a trace (Input data was truncated)"),
        (b"\xff", "it is not a trace (JSON is malformed: invalid character (byte 0))"),
        (DEEP, "it is not a trace (maximum recursion depth exceeded while deserializing an object)"),
        (b"[" * 100_001, "it has too many parts"),
        (b"{}," * 5_000_000, "it has too many parts"),
        (b"1," * 8_000_000, "it has too many parts"),
        (b" " * (16 << 20) + b" ", "it is larger than 16 MB"),
        (b'{"layout": 1e999}', None),
        (b'{"layout": 1, "trace": {}, "trees": {}}', None),
        (b'{"layout": 1, "trace": [], "trees": []}', None),
    ],
    ids=lambda value: None if isinstance(value, bytes) else value,
)
def test_what_is_not_a_trace_takes_little_memory_and_is_refused(data, why) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DamagedObject) as raised:
            parcel_from(BLOB, data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert raised.value.name == trace_name(BLOB)
    assert why is None or str(raised.value) == why
    assert peak < 64 << 20


def test_a_trace_just_below_the_limits_takes_less_than_a_hundred_megabytes() -> None:
    facts = ",".join(f'"{number:07}":{number}.5' for number in range(499_000))
    trace = f'{{"parts":{{}},"outputs":{{}},"facts":{{{facts}}},"seconds":1,"worker":"x"}}'
    data = f'{{"layout":1,"trace":{trace},"trees":{{}}}}'
    tracemalloc.start()
    with pytest.raises(DamagedObject):
        parcel_from(BLOB, data.encode())
    assert tracemalloc.get_traced_memory()[1] < 100 << 20
    tracemalloc.stop()


def test_a_trace_that_never_ends_is_not_read_to_its_end(tmp_path, shared) -> None:
    """A sparse file of a terabyte: what is read is bounded, not what exists."""
    machine(tmp_path, "one", shared)(*WORLD)
    os.truncate(the_trace(shared), 1 << 40)
    second = machine(tmp_path, "two", shared, readonly=True)
    assert second(*WORLD) == {"a": "built"}
    assert second.warnings[0].endswith("it is larger than 16 MB")


def claim_size(size: int) -> Callable[[dict[str, Any]], None]:
    return lambda parcel: files_of(parcel)[0].update(size=size)


def test_a_size_that_the_object_does_not_have_takes_neither_time_nor_memory(tmp_path, shared, monkeypatch) -> None:
    """Eight exabytes in parts of 8 MB are a trillion parts."""
    monkeypatch.setattr("onnxbuild.store.remote.remote_store.shutil.disk_usage", lambda _path: Space(1 << 62))
    machine(tmp_path, "one", shared)(*WORLD)
    forge(shared, claim_size(1 << 61))
    second = machine(tmp_path, "two", shared, readonly=True)
    assert second(*WORLD) == {"a": "built"}
    assert second.warnings[0].endswith("it is missing or cut short")


class Space:
    def __init__(self, free: int) -> None:
        self.free = free


def test_a_result_that_is_larger_than_the_disk_is_not_fetched(tmp_path, shared) -> None:
    machine(tmp_path, "one", shared)(*WORLD)
    forge(shared, claim_size(1 << 61))
    second = machine(tmp_path, "two", shared, readonly=True)
    assert second(*WORLD) == {"a": "built"}
    assert second.warnings == [f"the remote store file://{shared} has a result of 2305843009.2 GB"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
@pytest.mark.parametrize("kind", ["traces", "blobs"])
@pytest.mark.parametrize("what", ["fifo", "link", "folder"])
def test_what_is_no_file_in_a_shared_folder_is_neither_waited_for_nor_followed(tmp_path, shared, kind, what) -> None:
    machine(tmp_path, "one", shared)(*WORLD)
    place = next(path for path in (shared / kind).rglob("*") if path.is_file())
    content = place.read_bytes()
    place.unlink()
    if what == "fifo":
        os.mkfifo(place)
    elif what == "folder":
        place.mkdir()
    else:
        (tmp_path / "elsewhere").write_bytes(content)
        place.symlink_to(tmp_path / "elsewhere")
    second = machine(tmp_path, "two", shared, readonly=True, patience=60.0)
    done = threading.Event()
    threading.Thread(target=lambda: (second(*WORLD), done.set()), daemon=True).start()
    assert done.wait(30), "it waits for a FIFO"
    assert not [one for one in second.runner.ran if one != "a"]
    assert len(second.warnings) == 1
    assert place.relative_to(shared).as_posix() in second.warnings[0]


def test_a_result_that_no_machine_would_take_is_not_written(tmp_path, shared) -> None:
    def odd(params: Any, inputs: Any, outputs: Any, tell: Any) -> dict[str, Any]:
        (outputs["out"] / "a\nb").write_bytes(b"x")
        return {}

    first = Machine(tmp_path / "one", f"file://{shared}", InlineRunner({"cat": odd}))
    assert first(*WORLD) == {"a": "built"}
    assert first.warnings == ["a result of kind `cat` cannot be shared: a tree does not match its name"]
    assert not shared.exists()


# -- names on other systems -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["con", "NUL.txt", "a/COM1", "x.", "x ", "a:b", "a*", "a?b", 'a"b', "a|b"])
def test_names_that_windows_does_not_give_are_refused_there_alone(name, monkeypatch) -> None:
    assert is_safe_name(name) is (sys.platform != "win32")
    monkeypatch.setattr(shape.sys, "platform", "win32")
    assert not is_safe_name(name)
    assert is_safe_name("console/come.txt")


def test_names_that_differ_only_in_case_are_refused_where_case_does_not_count(monkeypatch) -> None:
    trees = tree_of("README", "readme")
    monkeypatch.setattr(shape, "_FOLDS_CASE", False)
    assert flaw_in(trace_of(trees), trees) is None
    monkeypatch.setattr(shape, "_FOLDS_CASE", True)
    assert flaw_in(trace_of(trees), trees) == SAME_PLACE
    composed = tree_of("é", "e\u0301")
    assert flaw_in(trace_of(composed), composed) == SAME_PLACE


def tree_of(*names: str) -> dict[str, tuple[File, ...]]:
    files = tuple(File(name, BLOB, 1) for name in names)
    return {Tree(files).digest: files}


def trace_of(trees: dict[str, tuple[File, ...]]) -> Trace:
    return Trace(parts={}, outputs=dict.fromkeys(["out"], next(iter(trees))), facts={}, seconds=1.0, worker="local")


def test_the_longest_sound_names_are_taken() -> None:
    assert is_safe_name("x" * 255)
    assert is_safe_name("/".join(["x" * 62] * 64))
    trees = tree_of("x", "x-1", "x.y", "y/x", "y/x-1")
    assert flaw_in(trace_of(trees), trees) is None


# -- fuzz -------------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


def sound_parcel() -> dict[str, Any]:
    files = (File("a", BLOB, 1), File("b/c", "1" * 64, 2))
    parts = {"kind": "cat", "n": 1}
    trace = Trace(parts=parts, outputs={"out": Tree(files).digest}, facts={"x": 1}, seconds=1.0, worker="local")
    return msgspec.json.decode(plain_object(parcel_of(trace, [Tree(files)])))


KEY = digest_value(sound_parcel()["trace"]["parts"])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, one in inner for place in places(one, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def arrives(data: bytes) -> None:
    """Either a sound parcel, or DamagedObject: nothing else may leave the check."""
    try:
        parcel = parcel_from(KEY, data, {"cat": ("out",)})
    except DamagedObject:
        return
    assert parcel.flaw is None
    assert all(is_safe_name(file.name) for file in parcel.files.values())
    assert parcel.tree("out").files


def test_the_parcel_that_is_changed_below_is_taken_as_it_is() -> None:
    parcel = parcel_from(KEY, msgspec.json.encode(sound_parcel()), {"cat": ("out",)})
    assert [file.name for file in parcel.tree("out").files] == ["a", "b/c"]


FUZZ = settings(max_examples=int(os.environ.get("ONNXBUILD_FUZZ", "500")), deadline=5000,
                suppress_health_check=[HealthCheck.too_slow])  # fmt: skip


@FUZZ
@given(st.data(), json_values)
def test_fuzz_any_value_anywhere_in_a_parcel(data, value) -> None:
    parcel = sound_parcel()
    path = data.draw(st.sampled_from(places(parcel)))
    text = json.dumps(replaced(parcel, path, value))  # NaN and Infinity as Python writes them
    arrives(text.encode("utf-8", "surrogatepass"))


@FUZZ
@given(st.integers(0, 1 << 30), st.binary(max_size=8), st.integers(0, 16))
def test_fuzz_any_bytes_in_a_parcel(position, new, cut) -> None:
    data = msgspec.json.encode(sound_parcel())
    at = position % len(data)
    arrives(data[:at] + new + data[at + cut :])


@FUZZ
@given(st.binary(max_size=200))
def test_fuzz_any_bytes(data) -> None:
    arrives(data)


@FUZZ
@given(st.lists(st.text(max_size=12), min_size=1, max_size=6))
def test_fuzz_names_that_are_taken_can_be_written(names) -> None:
    """Sound names are written by the file system itself, each to a place of its own."""
    import tempfile

    trees = tree_of(*names)
    if flaw_in(trace_of(trees), trees) is not None:
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            place = Path(folder, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            assert not place.exists()
            place.write_text(name, encoding="utf-8", errors="surrogatepass")
        assert all(Path(folder, name).read_text(encoding="utf-8", errors="surrogatepass") == name for name in names)


# -- bounds -----------------------------------------------------------------------------------------------------------

TOO_LARGE, TOO_DEEP = "a number in it is too large", "its values are nested too deeply"


@pytest.mark.parametrize(
    ("facts", "flaw"),
    [
        ({"n": (1 << 63) - 1}, None), ({"n": 1 << 63}, TOO_LARGE), ({"n": -(1 << 63)}, None),
        ({"n": -(1 << 63) - 1}, TOO_LARGE), ({"n": float("inf")}, TOO_LARGE), ({"n": float("nan")}, TOO_LARGE),
        ({"n": 1e300}, None), ({"n": [1, [2, (1 << 63)]]}, TOO_LARGE), ({"n": ["x", None, True, 0.5]}, None),
        (nested(63), None), (nested(64), TOO_DEEP),
    ],
)  # fmt: skip
def test_which_values_are_taken(facts: dict[str, Any], flaw: str | None) -> None:
    trees = tree_of("x")
    trace = msgspec.structs.replace(trace_of(trees), facts=facts)
    assert flaw_in(trace, trees) == flaw
    assert flaw_in(msgspec.structs.replace(trace_of(trees), parts=facts), trees) == flaw


@pytest.mark.parametrize(
    ("record", "is_sound"),
    [
        ({"seconds": 0.0}, True), ({"seconds": -0.1}, False), ({"seconds": float("inf")}, False),
        ({"created": 0.0}, True), ({"created": -0.1}, False), ({"created": float("nan")}, False),
        ({"worker": "x" * 200}, True), ({"worker": "x" * 201}, False), ({"worker": ""}, True),
        ({"worker": "a\nb"}, False),
    ],
)  # fmt: skip
def test_which_records_are_plausible(record: dict[str, Any], *, is_sound: bool) -> None:
    trees = tree_of("x")
    flaw = flaw_in(msgspec.structs.replace(trace_of(trees), **record), trees)
    assert flaw == (None if is_sound else ODD_RECORD)


@pytest.mark.parametrize(
    ("kind", "outputs", "flaw"),
    [
        ("cat", {"out"}, None), ("cat", {"model"}, OTHER_PORTS), ("cat", {"out", "model"}, OTHER_PORTS),
        ("cat", set(), OTHER_PORTS), ("unknown", {"model"}, None), (7, {"model"}, None),
        ("unknown", set(), "its outputs are not those of `unknown`"),
    ],
)  # fmt: skip
def test_the_outputs_are_those_of_the_kind(kind: object, outputs: set[str], flaw: str | None) -> None:
    trees = tree_of("x")
    trace = msgspec.structs.replace(
        trace_of(trees), parts={"kind": kind}, outputs=dict.fromkeys(outputs, next(iter(trees)))
    )
    assert flaw_in(trace, trees, {"cat": ("out",)}) == flaw


def test_each_output_has_its_tree_and_each_tree_its_output() -> None:
    one, two = tree_of("x"), tree_of("y")
    assert flaw_in(trace_of(one), {**one, **two}) == "its outputs and its trees differ"
    assert flaw_in(trace_of(one), two) == "its outputs and its trees differ"
    assert flaw_in(trace_of(one), {next(iter(one)): next(iter(two.values()))}) == NOT_A_PLACE


@pytest.mark.parametrize(
    ("name", "is_safe"),
    [
        ("x" * 255, True), ("x" * 256, False), ("é" * 127, True), ("é" * 128, False), ("/".join(["x"] * 64), True),
        ("/".join(["x"] * 65), False), ("/".join(["x" * 200] * 20), True), ("/".join(["x" * 255] * 16), True),
        ("/".join(["x" * 255] * 16) + "y", False), ("a/..b/c..", True), ("a/../b", False), ("./a", False),
        ("a/.", False), ("a\x7fb", False), ("a\x9fb", False), ("a\xa0b", True), ("", False), ("/", False),
    ],
)  # fmt: skip
def test_which_names_are_safe(name: str, *, is_safe: bool) -> None:
    assert is_safe_name(name) is is_safe


def test_the_limits_of_a_text_are_inclusive(monkeypatch) -> None:
    for name, limit in (("MOST_TRACE_BYTES", 6), ("_MOST_BRACKETS", 2), ("_MOST_COMMAS", 2)):
        monkeypatch.setattr(shape, name, limit)
    for sound in (b"[{    ", b"[[", b"{{", b",,"):
        assert shape.flaw_in_text(sound) is None
    for parts in (b"[[[", b"{{{", b"[{[", b",,,"):
        assert shape.flaw_in_text(parts) == "it has too many parts"
    assert shape.flaw_in_text(b"       ") == "it is larger than 0 MB"


def test_the_number_and_the_sizes_of_files_are_limited(monkeypatch) -> None:
    monkeypatch.setattr(shape, "MOST_FILES", 2)
    assert flaw_in(trace_of(tree_of("a", "b")), tree_of("a", "b")) is None
    assert flaw_in(trace_of(tree_of("a", "b", "c")), tree_of("a", "b", "c")) == "it has more than 2 files"
    for size, flaw in ((0, None), ((1 << 63) - 1, None), (1 << 63, NOT_A_PLACE), (-1, NOT_A_PLACE)):
        files = (File("x", BLOB, size),)
        trees = {Tree(files).digest: files}
        assert flaw_in(trace_of(trees), trees) == flaw
