"""The record of delivered folders: what it holds, which of them are left over, and what pruning removes."""

import json
import os
import sys

import pytest
from blake3 import blake3
from outs import write

from onnxbuild.deliver import delivered
from onnxbuild.deliver.delivered import Pruned, left_over, prune, record
from onnxbuild.deliver.provenance import PROVENANCE
from onnxbuild.store.store import Store

FILES = {"model.onnx": b"model", "sub/deep/a.bin": b"a"}
MINE = "/somewhere/m.yaml"
posix = pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need a privilege there")


@pytest.fixture
def state(tmp_path):
    return tmp_path / ".onnxbuild"


@pytest.fixture
def two(outs, state):
    """`m/t` and `m/u`, delivered and recorded."""
    record(state, MINE, outs.out, [outs.deliver(FILES), outs.deliver(FILES, target="u")])
    return outs


def records(state):
    return sorted((state / "delivered").iterdir())


def content(state):
    (path,) = records(state)
    return json.loads(path.read_bytes())


def digest_of_description(outs, target):
    return blake3((outs.out / "m" / target / PROVENANCE).read_bytes()).hexdigest()


# -- what is recorded -------------------------------------------------------------------------------------------------


def test_a_record_names_each_folder_with_the_digest_of_its_description(two, state):
    folders = {f"m/{target}": digest_of_description(two, target) for target in "tu"}
    assert content(state) == {"manifest": MINE, "out": str(two.out), "folders": folders}
    (path,) = records(state)
    assert (
        path.name == f"{blake3(json.dumps([MINE, str(two.out)], separators=(',', ':')).encode()).hexdigest()[:16]}.json"
    )


def test_each_manifest_and_each_output_folder_has_a_record(two, state, tmp_path):
    delivery = two.deliver(FILES)
    record(state, "/somewhere/other.yaml", two.out, [delivery])
    record(state, MINE, tmp_path / "elsewhere", [delivery])
    assert len(records(state)) == 3


def test_a_folder_that_other_values_of_variables_name_is_not_left_over(two, state):
    both = [two.deliver(FILES), two.deliver(FILES, target="u")]
    record(state, MINE, two.out, both[:1], defines=[("a", "1"), ("b", "2")])
    record(state, MINE, two.out, both, defines=[("a", "2")])
    assert left_over(state, MINE, two.out, {"m/u"}, defines=[("a", "2")]) == []
    assert left_over(state, MINE, two.out, (), defines=[("b", "2"), ("a", "1")]) == []
    assert left_over(state, MINE, two.out, {"m/u"}) == []


def test_the_order_of_variables_does_not_matter_for_a_record(outs, state):
    record(state, MINE, outs.out, [outs.deliver(FILES)], defines=[("a", "1"), ("b", "2")])
    assert left_over(state, MINE, outs.out, (), defines=[("b", "2"), ("a", "1")]) == ["m/t"]
    assert left_over(state, MINE, outs.out, (), defines=[("a", "1")]) == []


def test_a_later_run_adds_to_the_record_and_forgets_folders_that_are_gone(two, state):
    for name in FILES:
        (two.out / "m" / "t" / name).unlink()
    (two.out / "m" / "t").rename(two.out / "m" / "moved")
    record(state, MINE, two.out, [two.deliver(FILES, target="v")])
    assert content(state)["folders"].keys() == {"m/u", "m/v"}


def test_a_new_result_replaces_the_digest_of_its_folder(two, state):
    before = content(state)["folders"]
    record(state, MINE, two.out, [two.deliver({"model.onnx": b"other"}), two.deliver(FILES, target="u")])
    after = content(state)["folders"]
    assert after == {"m/t": digest_of_description(two, "t"), "m/u": before["m/u"]}
    assert after["m/t"] != before["m/t"]


def test_a_variant_that_was_not_delivered_keeps_its_entry_and_the_file(two, state):
    (path,) = records(state)
    inode, before = path.stat().st_ino, content(state)
    record(state, MINE, two.out, [two.deliver(FILES, outcome="failed"), two.deliver(FILES, target="u")])
    assert (path.stat().st_ino, content(state)) == (inode, before)


def test_a_record_that_cannot_be_written_fails_no_run(outs, state):
    state.mkdir()
    (state / "delivered").write_text("a file in its place")
    record(state, MINE, outs.out, [outs.deliver(FILES)])
    assert left_over(state, MINE, outs.out, ()) == []


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"[" * 100_000, b'{"manifest": 1, "out": "", "folders": {}}'])
def test_a_damaged_record_is_none_and_is_replaced(two, state, text):
    (path,) = records(state)
    whole = content(state)
    path.write_bytes(text)
    assert left_over(state, MINE, two.out, ()) == []
    record(state, MINE, two.out, [two.deliver(FILES), two.deliver(FILES, target="u")])
    assert content(state) == whole


def test_a_record_that_is_too_large_is_not_read(two, state, monkeypatch):
    (path,) = records(state)
    monkeypatch.setattr(delivered, "_LARGEST", path.stat().st_size)
    assert left_over(state, MINE, two.out, ()) == ["m/t", "m/u"]
    monkeypatch.setattr(delivered, "_LARGEST", path.stat().st_size - 1)
    assert left_over(state, MINE, two.out, ()) == []


# -- what is left over ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "expected"), [(("m/t", "m/u"), []), (("m/u",), ["m/t"]), ((), ["m/t", "m/u"]), (("m/x",), ["m/t", "m/u"])]
)
def test_folders_that_the_manifest_no_longer_names_are_left_over(two, state, named, expected):
    assert left_over(state, MINE, two.out, named) == expected


def test_without_a_record_nothing_is_left_over(two, state, tmp_path):
    assert left_over(state, "/somewhere/other.yaml", two.out, ()) == []
    assert left_over(tmp_path / "no state", MINE, two.out, ()) == []


def edited(place):
    place.write_bytes(place.read_bytes() + b"\n")


def of_another(**changes):
    return lambda place: place.write_text(json.dumps({**json.loads(place.read_bytes()), **changes}))


@pytest.mark.parametrize(
    "change", [edited, of_another(model="n"), of_another(target="u"), lambda place: place.unlink()]
)
def test_a_folder_that_does_not_have_the_recorded_description_is_not_left_over(two, state, change):
    change(two.out / "m" / "t" / PROVENANCE)
    assert left_over(state, MINE, two.out, ()) == ["m/u"]


@posix
@pytest.mark.parametrize("name", ["m", "m/t"])
def test_a_link_in_the_place_of_a_folder_is_not_left_over(two, state, name):
    place = two.out / name
    place.rename(two.root / "moved")
    place.symlink_to(two.root / "moved")
    assert left_over(state, MINE, two.out, ["m/u"]) == []


OTHERS = {
    "another manifest": ({}, ["m/u"]),
    "one that does not exist any more": ({"manifest": "gone.yaml"}, ["m/t", "m/u"]),
    "another output folder": ({"out": "/elsewhere"}, ["m/t", "m/u"]),
    "the same manifest with other values of -D": ({"manifest": MINE}, ["m/u"]),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_folder_that_another_manifest_delivers_too_is_not_left_over(two, state, tmp_path, what):
    changes, expected = OTHERS[what]
    (tmp_path / "other.yaml").write_text("")
    (state / "delivered" / "broken.json").write_text("{")
    other = {"manifest": str(tmp_path / "other.yaml"), "out": str(two.out), "folders": {"m/t": "0" * 64}, **changes}
    (state / "delivered" / "other.json").write_text(json.dumps(other))
    assert left_over(state, MINE, two.out, ()) == expected


# -- what is pruned ---------------------------------------------------------------------------------------------------


def pruned(outs, variant):
    with Store(outs.root / "store") as store:
        return prune(outs.out, variant, store)


def test_pruning_removes_our_files_and_the_folders_that_are_empty_then(two):
    assert pruned(two, "m/t") == Pruned(str(two.out / "m" / "t"), ())
    assert two.beside() == ["u"]
    assert pruned(two, "m/u") == Pruned(str(two.out / "m" / "u"), ())
    assert os.listdir(two.out) == []  # the folder that the user named stays


def test_pruning_keeps_edited_files_and_those_of_others(two):
    write(two.folder, {"sub/notes": b"mine", "sub/deep/a.bin": b"edited", "model.onnx": b"edited, too"})
    assert pruned(two, "m/t") == Pruned(str(two.folder), ("model.onnx", "sub/deep/a.bin"), others=True)
    assert two.files() == {"sub/notes": b"mine", "sub/deep/a.bin": b"edited", "model.onnx": b"edited, too"}
    assert not (two.folder / PROVENANCE).exists()


def test_a_file_that_is_missing_was_not_edited(two):
    (two.folder / "model.onnx").unlink()
    (two.folder / "notes").write_bytes(b"mine")
    assert pruned(two, "m/t") == Pruned(str(two.folder), (), others=True)
    assert two.files() == {"notes": b"mine"}


@pytest.mark.parametrize("variant", ["m/x", "m", "../out/m/t", "m/t/", "/m/t", ""])
def test_what_does_not_describe_itself_as_the_variant_is_not_pruned(two, variant):
    assert pruned(two, variant) is None
    assert two.files() == FILES


def test_a_folder_that_was_renamed_is_not_pruned(two):
    two.folder.rename(two.out / "m" / "x")
    assert pruned(two, "m/x") is None
    assert (two.out / "m" / "x" / "model.onnx").exists()


def test_the_description_is_removed_last_so_that_pruning_can_be_repeated(two, monkeypatch):
    real = delivered.remove_file

    def dies(path):
        if path.name == "a.bin":
            raise OSError(5, "Input/output error", str(path))
        real(path)

    monkeypatch.setattr(delivered, "remove_file", dies)
    with pytest.raises(OSError, match="Input/output error"):
        pruned(two, "m/t")
    assert two.files() == {"sub/deep/a.bin": b"a"}
    monkeypatch.undo()
    assert pruned(two, "m/t") == Pruned(str(two.folder), ())
    assert two.beside() == ["u"]


def test_no_other_run_writes_to_a_folder_while_it_is_pruned(two, monkeypatch):
    """Pruning takes the lock under which a delivery writes."""
    locks = []
    lock = Store.lock

    def noted(store, name, *given):
        locks.append(name)
        return lock(store, name, *given)

    monkeypatch.setattr(Store, "lock", noted)
    pruned(two, "m/t")
    assert locks == [f"out-{blake3(bytes(two.folder)).hexdigest()}"]
    two.deliver(FILES)
    assert locks == [locks[0]] * 2
