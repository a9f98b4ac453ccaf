"""What a delivery does to the output folder, to files of others in it, and to what stands in its place."""

import contextlib
import ctypes
import errno
import json
import os
import re
import shutil
import socket
import stat
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from blake3 import blake3
from msgspec import structs
from outs import write

from onnxbuild import regular_files
from onnxbuild.deliver import copies, foreign_files, out_folder, replacement
from onnxbuild.deliver.out_folder import deliver
from onnxbuild.deliver.provenance import PROVENANCE
from onnxbuild.execute.events import Outcome
from onnxbuild.store import outside_files
from onnxbuild.store.content import DamagedBlob
from onnxbuild.store.store import Store

OLD = {"model.onnx": b"old", "stale.json": b"stale", "sub/a.bin": b"old a", "gone/b.bin": b"old b"}
NEW = {"model.onnx": b"new", "config.json": b"{}", "sub/a.bin": b"new a", "sub/deep/c.bin": b"new c"}
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such file")


def test_a_new_result_replaces_the_old_one_and_leaves_no_stale_file(outs):
    assert outs.deliver(OLD).state == "written"
    assert outs.files() == OLD
    assert outs.deliver(OLD).state == "intact"
    assert outs.deliver(NEW).state == "written"
    assert outs.files() == NEW
    assert outs.beside() == ["t"]
    assert sorted(os.listdir(outs.folder)) == ["config.json", "model.onnx", PROVENANCE, "sub"]


def test_a_delivered_file_shares_nothing_with_the_store(outs):
    outs.deliver(OLD)
    with Store(outs.root / "store") as store:
        inodes = {status.st_ino for _, status in store.content.blobs()}
    placed = [(outs.folder / name).stat() for name in OLD]
    assert [status.st_nlink for status in placed] == [1] * len(OLD)
    assert not inodes & {status.st_ino for status in placed}
    assert all(os.access(outs.folder / name, os.W_OK) for name in OLD)


def test_a_failed_build_leaves_the_last_output(outs):
    outs.deliver(OLD)
    delivery = outs.deliver(NEW, outcome="failed")
    assert (delivery.state, delivery.files) == ("withheld", {})
    assert outs.files() == OLD


def test_an_edited_and_a_removed_file_are_restored(outs):
    outs.deliver(OLD)
    (outs.folder / "model.onnx").write_bytes(b"edited")
    (outs.folder / "sub" / "a.bin").unlink()
    delivery = outs.deliver(OLD)
    assert (delivery.state, delivery.edited) == ("repaired", ("model.onnx", "sub/a.bin"))
    assert outs.files() == OLD


def test_a_delivery_names_the_digest_of_every_file(outs):
    files = outs.deliver(NEW).files
    assert {os.path.relpath(path, outs.folder) for path in files} == {*NEW, PROVENANCE}
    assert all(blake3(Path(path).read_bytes()).hexdigest() == digest for path, digest in files.items())


# -- files of others --------------------------------------------------------------------------------------------------


def _link(target):
    return lambda place: place.symlink_to(target)


def _socket(place):
    with socket.socket(socket.AF_UNIX) as one:
        here = os.open(place.parent, os.O_RDONLY)
        one.bind(f"/proc/self/fd/{here}/{place.name}")  # a path of a socket has at most 107 bytes
        os.close(here)


FOREIGN = {
    "a file": ("notes.txt", lambda place: place.write_bytes(b"mine")),
    "a file in a folder of ours": ("sub/notes.txt", lambda place: place.write_bytes(b"mine")),
    "a file in a folder that is ours no longer": ("gone/notes.txt", lambda place: place.write_bytes(b"mine")),
    "a file that nobody may read": ("secret", lambda place: (place.write_bytes(b"mine"), place.chmod(0))),
    "an empty folder": ("mine", lambda place: place.mkdir()),
    "a folder with files": ("mine", lambda place: write(place, {"a": b"1", "b/c": b"2"})),
    "a folder that is read-only": ("mine", lambda place: (write(place, {"a": b"1"}), place.chmod(0o555))),
    "a link to a file": ("link", _link("model.onnx")),
    "a link to nothing": ("link", _link("nowhere")),
    "a link to a folder elsewhere": ("link", _link("../../../elsewhere")),
    "a link to itself": ("link", _link("link")),
    "a FIFO": ("fifo", lambda place: os.mkfifo(place, 0o644)),
    "a name that is not UTF-8": (os.fsdecode(b"caf\xe9"), lambda place: place.write_bytes(b"mine")),
    "a name with control characters": ("a\x1b[2J\nb", lambda place: place.write_bytes(b"mine")),
}
if sys.platform == "linux":
    FOREIGN["a socket"] = ("socket", _socket)


def _seen(place):
    """What a foreign entry is: kind, mode, inode, content."""
    status = place.lstat()
    content = (
        os.readlink(place) if place.is_symlink() else sorted(map(str, place.rglob("*"))) if place.is_dir() else b""
    )
    if stat.S_ISREG(status.st_mode) and status.st_mode & 0o400:
        content = place.read_bytes()
    return status.st_mode, status.st_ino, content


@posix
@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("what", FOREIGN)
def test_what_others_put_into_the_folder_stays(outs, monkeypatch, what, exchanges):
    if not exchanges:
        monkeypatch.setattr(replacement, "_exchange", lambda _one, _other: False)
    elsewhere = outs.root / "elsewhere"
    write(elsewhere, {"precious": b"precious"})
    name, make = FOREIGN[what]
    outs.deliver(OLD)
    make(outs.folder / name)
    before = _seen(outs.folder / name)
    assert outs.deliver(OLD).state == "intact"
    delivery = outs.deliver(NEW)
    assert (delivery.state, delivery.kept, delivery.error) == ("written", (), None)
    assert _seen(outs.folder / name) == before
    assert {one: outs.files()[one] for one in NEW} == NEW
    assert not (outs.folder / "stale.json").exists()
    assert outs.beside() == ["t"]
    assert os.listdir(elsewhere) == ["precious"]
    assert outs.deliver(NEW).state == "intact"


@posix
def test_a_file_of_others_with_a_name_of_ours_gets_another_name(outs):
    write(outs.folder, {"model.onnx": b"mine", "model.onnx.kept": b"mine too", "notes": b"notes", "sub": b"a file"})
    (outs.folder / "config.json" / "x").mkdir(parents=True)
    delivery = outs.deliver(NEW)
    assert delivery.state == "written"
    assert dict(delivery.kept) == {
        "model.onnx": "model.onnx.kept-2", "sub": "sub.kept", "config.json": "config.json.kept",
    }  # fmt: skip
    mine = {"model.onnx.kept": b"mine too", "model.onnx.kept-2": b"mine", "notes": b"notes", "sub.kept": b"a file"}
    assert outs.files() == {**NEW, **mine}
    assert (outs.folder / "config.json.kept" / "x").is_dir()


def test_a_folder_in_the_place_of_our_file_is_kept(outs):
    outs.deliver(OLD)
    (outs.folder / "model.onnx").unlink()
    write(outs.folder / "model.onnx", {"mine": b"mine"})
    delivery = outs.deliver(OLD)
    assert (delivery.state, delivery.edited) == ("repaired", ("model.onnx",))
    assert delivery.kept == (("model.onnx", "model.onnx.kept"),)
    assert outs.files() == {**OLD, "model.onnx.kept/mine": b"mine"}


@posix
def test_a_link_in_the_place_of_our_file_is_not_followed(outs):
    precious = outs.root / "precious"
    precious.write_bytes(b"precious")
    outs.deliver(OLD)
    (outs.folder / "model.onnx").unlink()
    (outs.folder / "model.onnx").symlink_to(precious)
    assert outs.deliver(OLD).edited == ("model.onnx",)
    assert (outs.files(), precious.read_bytes()) == (OLD, b"precious")


@posix
def test_a_link_in_the_place_of_a_folder_of_ours_is_not_followed(outs):
    elsewhere = outs.root / "elsewhere"
    write(elsewhere, {"a.bin": b"old a"})  # what we delivered: still, it is not ours
    outs.deliver(OLD)
    (outs.folder / "sub" / "a.bin").unlink()
    (outs.folder / "sub").rmdir()
    (outs.folder / "sub").symlink_to(elsewhere)
    delivery = outs.deliver(OLD)
    assert (delivery.edited, delivery.kept) == (("sub/a.bin",), (("sub", "sub.kept"),))
    assert outs.files() == OLD
    assert (elsewhere / "a.bin").read_bytes() == b"old a"


@pytest.mark.parametrize("mine", [{}, {"sub/notes": b"mine", "sub/deep/notes": b"mine, too"}])
def test_a_folder_of_ours_whose_name_a_file_needs_is_kept_only_with_files_of_others(outs, mine):
    outs.deliver(NEW)
    write(outs.folder, mine)
    delivery = outs.deliver({"sub": b"now a file"})
    assert (delivery.state, delivery.kept) == ("written", (("sub", "sub.kept"),) if mine else ())
    assert outs.files() == {
        "sub": b"now a file",
        **{name.replace("sub", "sub.kept"): text for name, text in mine.items()},
    }


def test_equal_files_without_a_description_are_taken_for_ours(outs):
    outs.deliver(OLD)
    (outs.folder / PROVENANCE).write_bytes(b"{ damaged")
    (outs.folder / "notes").write_bytes(b"mine")
    delivery = outs.deliver(OLD)
    assert (delivery.state, delivery.kept) == ("written", ())
    assert outs.files() == {**OLD, "notes": b"mine"}


@posix
@pytest.mark.parametrize("damage", [
    lambda place: os.mkfifo(place, 0o644),
    lambda place: place.symlink_to("/dev/zero"),
    lambda place: place.write_bytes(b"[" * 100_000),
    lambda place: place.write_bytes(b'{"model": "m", "target": "t", "files": {"../../../precious": {"blake3": "x"}}}'),
    lambda place: place.write_bytes(b'{"model": "m", "target": "t", "files": {"a\\u0000": {"blake3": 7}, "/": {}}}'),
    lambda place: os.truncate(os.open(place, os.O_CREAT | os.O_RDWR), 1 << 40),
], ids=["FIFO", "device", "nested", "path", "NUL", "huge"])  # fmt: skip
def test_a_hostile_description_is_replaced(outs, damage):
    precious = outs.root / "precious"
    precious.write_bytes(b"precious")
    outs.deliver(OLD)
    (outs.folder / PROVENANCE).unlink()
    damage(outs.folder / PROVENANCE)
    assert outs.deliver(NEW).error is None
    assert {name: outs.files()[name] for name in NEW} == NEW
    assert outs.is_whole()
    assert precious.read_bytes() == b"precious"


def test_a_file_that_loses_its_name_is_numbered_from_two_on(outs):
    write(outs.folder, {"a": b"1", "a.kept": b"2", "a.kept-2": b"3", "a.kept-3": b"4"})
    assert outs.deliver({"a": b"ours"}).kept == (("a", "a.kept-4"),)
    assert outs.files() == {"a": b"ours", "a.kept": b"2", "a.kept-2": b"3", "a.kept-3": b"4", "a.kept-4": b"1"}


def test_a_renamed_file_is_named_by_its_whole_path_below_the_folder(outs):
    write(outs.folder, {"sub/deep/c.bin": b"mine", "sub/a.bin": b"mine, too"})
    assert outs.deliver(NEW).kept == (
        ("sub/a.bin", "sub/a.bin.kept"), ("sub/deep/c.bin", "sub/deep/c.bin.kept"),
    )  # fmt: skip
    assert outs.files() == {**NEW, "sub/deep/c.bin.kept": b"mine", "sub/a.bin.kept": b"mine, too"}


@posix
def test_a_link_in_the_place_of_an_outer_folder_is_not_followed(outs):
    """`sub/deep` is a folder, and is reached by a link."""
    outs.deliver(NEW)
    (outs.folder / "sub").rename(outs.root / "elsewhere")
    (outs.folder / "sub").symlink_to(outs.root / "elsewhere")
    delivery = outs.deliver(NEW)
    assert (delivery.edited, delivery.kept) == (("sub/a.bin", "sub/deep/c.bin"), (("sub", "sub.kept"),))
    assert outs.files() == NEW


def test_a_file_that_somebody_adds_while_the_old_folder_is_emptied_is_kept(outs, monkeypatch):
    outs.deliver(OLD)
    real, times = foreign_files.os.rmdir, []

    def added_before(folder, **more):
        if "/.t." in str(folder) and len(times) < 5:
            times.append(1)
            write(Path(folder), {f"late{len(times)}": b"mine"})
        real(folder, **more)

    monkeypatch.setattr(foreign_files.os, "rmdir", added_before)
    assert outs.deliver(NEW).state == "written"
    late = {name: content for name, content in outs.files().items() if name not in NEW}
    assert list(late.values()) == [b"mine"] * 5
    assert outs.beside() == ["t"]


def test_an_old_folder_that_is_filled_all_the_time_is_left_with_its_files(outs, monkeypatch):
    outs.deliver({"a": b"1"})
    real, times = foreign_files.os.rmdir, []

    def added_before(folder, **more):
        if "/.t." in str(folder):
            times.append(1)
            write(Path(folder), {f"late{len(times)}": b"mine"})
        real(folder, **more)

    monkeypatch.setattr(foreign_files.os, "rmdir", added_before)
    delivery = outs.deliver({"a": b"2"})
    (left,) = (outs.folder.parent / name for name in outs.beside() if name != "t")
    assert (delivery.state, delivery.error) == ("failed", f"{os.strerror(errno.ENOTEMPTY)}: {left}")
    assert len(times) == 10
    assert outs.files() == {"a": b"2", **{f"late{number}": b"mine" for number in range(1, 10)}}
    assert os.listdir(left) == ["late10"]
    monkeypatch.undo()
    assert outs.deliver({"a": b"2"}).error is None
    assert "late10" in outs.files()
    assert outs.beside() == ["t"]


def test_an_old_folder_that_cannot_be_removed_is_a_failure(outs, monkeypatch):
    outs.deliver({"a": b"1"})

    rmdir = os.rmdir

    def refused(folder, **more):
        if "/.t." in str(folder):
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        rmdir(folder, **more)

    monkeypatch.setattr(foreign_files.os, "rmdir", refused)
    delivery = outs.deliver({"a": b"2"})
    assert delivery.state == "failed"
    assert delivery.error.startswith(f"Permission denied: {outs.folder.parent}/.t.")
    assert outs.files() == {"a": b"2"}


@posix
@pytest.mark.parametrize(
    ("mode", "may_change", "after"), [(0o555, False, 0o755), (0o500, False, 0o700), (0o555, True, 0o555)]
)
def test_a_read_only_folder_is_made_writable_for_its_owner_to_move_what_is_in_it(
    tmp_path, monkeypatch, mode, may_change, after
):
    """Root may change every folder, so the answer of the system is given here."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder").chmod(mode)
    asked = []
    monkeypatch.setattr(os, "access", lambda *given: asked.append(given) or may_change)
    foreign_files._let_change(str(tmp_path / "folder"))
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == after
    assert asked == [(str(tmp_path / "folder"), os.W_OK | os.X_OK)]
    foreign_files._let_change(str(tmp_path / "missing"))


def test_a_junction_of_windows_is_no_folder(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    monkeypatch.setattr(regular_files, "_JUNCTION", 0xA0000003)
    real = os.lstat
    tag = {}
    monkeypatch.setattr(os, "lstat", lambda place: SimpleNamespace(st_mode=real(place).st_mode, **tag))
    for given, expected in (({}, True), ({"st_reparse_tag": 0}, True), ({"st_reparse_tag": 0xA0000003}, False)):
        tag.clear()
        tag.update(given)
        assert regular_files.is_folder(str(tmp_path / "sub")) == expected
    assert not regular_files.is_folder(str(tmp_path / "missing"))


# -- what stands in the place of a folder -----------------------------------------------------------------------------


@posix
@pytest.mark.parametrize("place", ["m", "m/t"])
def test_a_link_in_the_place_of_an_output_folder_is_refused(outs, place):
    elsewhere = outs.root / "elsewhere"
    write(elsewhere / "t", {"precious": b"precious"})
    link = outs.out / place
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere if place == "m" else elsewhere / "t")
    delivery = outs.deliver(NEW)
    assert (delivery.state, delivery.error) == ("failed", f"is a symbolic link: {link}")
    assert sorted(path.name for path in elsewhere.rglob("*")) == ["precious", "t"]
    assert link.is_symlink()


def test_a_file_in_the_place_of_an_output_folder_is_refused(outs):
    write(outs.out, {"m/t": b"mine"})
    delivery = outs.deliver(NEW)
    assert (delivery.state, delivery.error) == ("failed", f"Not a directory: {outs.folder}")
    assert outs.folder.read_bytes() == b"mine"


@posix
@pytest.mark.parametrize("exchanges", [True, False])
def test_folders_keep_their_modes_and_new_ones_follow_the_umask(outs, monkeypatch, exchanges):
    if not exchanges:
        monkeypatch.setattr(replacement, "_exchange", lambda _one, _other: False)
    before = os.umask(0o022)
    try:
        outs.deliver(OLD)
        assert [stat.S_IMODE(place.stat().st_mode) for place in (outs.out, outs.folder.parent, outs.folder)] == [
            0o755
        ] * 3
        assert stat.S_IMODE((outs.folder / "model.onnx").stat().st_mode) == 0o644
        outs.folder.parent.chmod(0o750)
        os.umask(0o002)
        outs.deliver(NEW)
        assert stat.S_IMODE(outs.folder.parent.stat().st_mode) == 0o750
        assert stat.S_IMODE(outs.folder.stat().st_mode) == 0o775
        outs.deliver(NEW)
        assert [stat.S_IMODE(place.stat().st_mode) for place in (outs.out, outs.folder.parent)] == [0o755, 0o750]
    finally:
        os.umask(before)


def test_a_stored_name_that_leads_elsewhere_is_not_written(outs, monkeypatch):
    from onnxbuild.store.content import File, Tree

    with Store(outs.root / "store") as store:
        graph, outcomes = outs.published(store, NEW)
        tree = store.tree(next(iter(outcomes.values())).outputs["out"])
        for name in ("../../../victim", "/victim"):
            wrong = Tree((File(name, tree.files[0].digest, tree.files[0].size),))
            monkeypatch.setattr(store, "tree", lambda _digest, wrong=wrong: wrong)
            (delivery,) = deliver(graph, outcomes, store, outs.out)
            assert (delivery.state, delivery.error) == ("failed", f"is not a name below a folder: {name}")
    assert not (outs.root / "victim").exists()
    assert not outs.folder.exists()


# -- what another process does meanwhile ------------------------------------------------------------------------------


def _damage(place):
    """Other bytes, but the same size and mtime."""
    status = place.stat()
    place.write_bytes(b"X" * status.st_size)
    os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_file_that_is_damaged_as_it_appears_is_written_again(outs, monkeypatch):
    swap, times = replacement._swap, []

    def swap_and_damage(whole, folder, old):
        swap(whole, folder, old)
        times.append(1)
        if len(times) == 1:
            _damage(folder / "model.onnx")

    monkeypatch.setattr(replacement, "_swap", swap_and_damage)
    delivery = outs.deliver(OLD)
    assert (delivery.state, delivery.edited, len(times)) == ("repaired", ("model.onnx",), 2)
    assert outs.files() == OLD


def test_a_file_that_is_damaged_again_and_again_fails_the_delivery(outs, monkeypatch):
    swap = replacement._swap

    def swap_and_damage(whole, folder, old):
        swap(whole, folder, old)
        _damage(folder / "model.onnx")

    monkeypatch.setattr(replacement, "_swap", swap_and_damage)
    delivery = outs.deliver(OLD)
    assert (delivery.state, delivery.error) == ("failed", f"another process changes its files: {outs.folder}")


def test_a_copy_that_is_damaged_before_it_appears_does_not_appear(outs, monkeypatch):
    outs.deliver(OLD)
    real = copies.settled_signature

    def damaged(place):
        if place.name == "model.onnx":
            _damage(place)
        return real(place)

    monkeypatch.setattr(copies, "settled_signature", damaged)
    delivery = outs.deliver(NEW)
    assert delivery.state == "failed"
    words = "was changed by another process while it was written"
    assert re.fullmatch(
        rf"{words}: {re.escape(str(outs.folder.parent))}/\.t\.fresh\.\w{{32}}/model\.onnx", delivery.error
    )
    assert outs.files() == OLD
    assert outs.beside() == ["t"]


def test_a_copy_that_is_changed_while_it_is_read_does_not_appear(outs, monkeypatch):
    real = copies.digest_file

    def read_then_damaged(place, size):
        digest = real(place, size)
        _damage(place)
        return digest

    monkeypatch.setattr(copies, "digest_file", read_then_damaged)
    assert outs.deliver(NEW).state == "failed"
    assert not outs.folder.exists()


def test_damage_after_the_delivery_is_noticed_by_the_next_one(outs):
    outs.deliver(OLD)
    _damage(outs.folder / "model.onnx")
    assert outs.deliver(OLD).edited == ("model.onnx",)
    assert outs.files() == OLD


@pytest.mark.parametrize(
    "damage", [lambda blob: blob.unlink(), lambda blob: (blob.chmod(0o644), blob.write_bytes(b"X"))]
)
def test_a_blob_that_is_missing_or_damaged_is_to_be_built_again(outs, damage):
    outs.deliver(OLD)
    with Store(outs.root / "store") as store:
        graph, outcomes = outs.published(store, NEW)
        digest = next(f.digest for f in store.tree(outcomes["m/t:toy"].outputs["out"]).files if f.name == "model.onnx")
        damage(store.content.path(digest))
        with pytest.raises(DamagedBlob):
            deliver(graph, outcomes, store, outs.out)
        assert not store.content.path(digest).exists()
    assert outs.files() == OLD
    assert outs.beside() == ["t"]


def test_a_folder_that_another_run_wrote_while_this_one_waited_is_left_alone(outs, monkeypatch):
    outs.deliver(OLD)
    alone, inodes = out_folder.alone, []

    def after_another_run(folder, store):
        monkeypatch.setattr(out_folder, "alone", alone)
        outs.deliver(NEW)
        inodes.append(folder.stat().st_ino)
        return alone(folder, store)

    monkeypatch.setattr(out_folder, "alone", after_another_run)
    delivery = outs.deliver(NEW)
    assert (delivery.state, delivery.edited) == ("written", ())
    assert inodes == [outs.folder.stat().st_ino]
    assert outs.files() == NEW


def test_everything_is_on_the_disk_before_it_appears_and_so_is_its_appearance(outs, monkeypatch):
    """Each file, then the folder of it, and after the exchange the folder of the model."""
    events = []
    for module in (copies, replacement):
        monkeypatch.setattr(module, "flush", lambda place: events.append(place.name if place.is_file() else place))
    swap = replacement._swap
    monkeypatch.setattr(replacement, "_swap", lambda *given: (events.append("swap"), swap(*given)))
    outs.deliver({"a": b"1", "sub/b": b"2"})
    assert sorted(events[:3]) == ["a", "b", PROVENANCE]
    assert events[3].name.startswith(".t.fresh.")
    assert events[4:] == ["swap", outs.folder.parent]


def test_a_copy_that_the_disk_refuses_leaves_the_old_output_and_says_why(outs, monkeypatch):
    outs.deliver(OLD)

    def full(_source, target):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(copies, "clone_file", full)
    delivery = outs.deliver(NEW)
    assert delivery.state == "failed"
    assert delivery.error.startswith(f"No space left on device: {outs.folder.parent}/.t.fresh.")
    assert outs.files() == OLD
    assert outs.beside() == ["t"]


def test_an_error_without_a_file_says_only_why(outs, monkeypatch):
    def full(_place):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(replacement, "flush", full)
    assert outs.deliver(NEW).error == "No space left on device"
    assert not outs.folder.exists()


def test_what_was_written_is_known_to_the_next_run(outs, monkeypatch):
    """Nothing that was delivered is read again as long as it stays as it is."""
    outs.deliver(NEW)
    monkeypatch.setattr(outside_files, "digest_file", None)
    assert outs.deliver(NEW).state == "intact"


def test_a_store_that_is_only_read_remembers_nothing_and_can_be_delivered_from(outs):
    with Store(outs.root / "store") as store:
        graph, outcomes = outs.published(store, NEW)
    with Store(outs.root / "store", readonly=True) as store:
        store.lock = lambda *_given: contextlib.nullcontext()
        (delivery,) = deliver(graph, outcomes, store, outs.out)
    assert (delivery.state, outs.files()) == ("written", NEW)
    with Store(outs.root / "store") as store:
        assert store.traces.recall(delivery.files) == {}


def test_a_folder_is_written_three_times_before_the_delivery_fails(outs, monkeypatch):
    swap, times = replacement._swap, []

    def swap_and_damage(whole, folder, old):
        swap(whole, folder, old)
        times.append(1)
        if len(times) <= damaged:
            _damage(folder / "model.onnx")

    monkeypatch.setattr(replacement, "_swap", swap_and_damage)
    for damaged, state in ((2, "repaired"), (3, "failed")):
        outs.out = outs.root / "out" / str(damaged)
        outs.folder = outs.out / "m" / "t"
        times.clear()
        assert outs.deliver(OLD).state == state
        assert len(times) == 3


def test_who_waits_for_another_delivery_goes_on_when_it_has_ended(outs):
    """The second delivery is begun while the first has the folder."""
    with Store(outs.root / "store") as store:
        graph, outcomes = outs.published(store, NEW)
        deliveries = []
        second = threading.Thread(target=lambda: deliveries.extend(deliver(graph, outcomes, store, outs.out)))
        with out_folder.alone(outs.folder, store):
            second.start()
            second.join(0.1)
            assert deliveries == []
        second.join(20)
    assert [one.state for one in deliveries] == ["written"]


def test_every_variant_has_its_own_delivery(outs):
    """One of them has no outcome at all, one has a check that failed, and one is delivered."""
    with Store(outs.root / "store") as store:
        graph, outcomes = outs.published(store, NEW)
        (good,) = graph.variants
        unreached = structs.replace(good, target="u", steps=(*good.steps, "m/u:later"))
        failed = structs.replace(good, target="v", checks=("m/v:validate",))
        outcomes["m/v:validate"] = Outcome(id="m/v:validate", kind="validate", outcome="failed")
        graph = structs.replace(graph, variants=(unreached, failed, good))
        deliveries = deliver(graph, outcomes, store, outs.out)
    assert [(one.variant, one.folder, one.state) for one in deliveries] == [
        ("m/u", str(outs.out / "m" / "u"), "withheld"), ("m/v", str(outs.out / "m" / "v"), "withheld"),
        ("m/t", str(outs.folder), "written"),
    ]  # fmt: skip
    assert outs.beside() == ["t"]


# -- without an exchange of folders -----------------------------------------------------------------------------------


def test_the_old_folder_is_put_back_where_the_new_one_cannot_take_its_place(outs, monkeypatch):
    outs.deliver(OLD)
    (outs.folder / "notes").write_bytes(b"mine")
    monkeypatch.setattr(replacement, "_exchange", lambda _one, _other: False)
    rename = os.rename

    def refuse(source, target):
        if ".whole." in str(source):
            raise PermissionError(13, "Permission denied", str(source))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    assert outs.deliver(NEW).state == "failed"
    assert outs.files() == {**OLD, "notes": b"mine"}
    assert outs.beside() == ["t"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is a system call of Linux")
def test_linux_exchanges_two_folders_in_one_step(tmp_path):
    write(tmp_path, {"one/a": b"1", "other/b": b"2"})
    assert replacement._exchange(tmp_path / "one", tmp_path / "other")
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["b"]
    assert not replacement._exchange(tmp_path / "one", tmp_path / "missing")


def test_a_c_library_without_the_call_does_not_exchange(tmp_path, monkeypatch):
    write(tmp_path, {"one/a": b"1", "other/b": b"2"})
    monkeypatch.setattr(ctypes, "CDLL", lambda *_given, **_more: SimpleNamespace())
    assert not replacement._exchange(tmp_path / "one", tmp_path / "other")
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["a"]


def test_other_systems_do_not_try(tmp_path, monkeypatch):
    write(tmp_path, {"one/a": b"1", "other/b": b"2"})
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not replacement._exchange(tmp_path / "one", tmp_path / "other")
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["a"]


# -- what a killed run left -------------------------------------------------------------------------------------------


def test_leftovers_belong_to_the_target_with_exactly_their_name(tmp_path):
    mark = "0123456789abcdef" * 2
    left = [f".a.fresh.{mark}", f".a.old.{mark}", f".a.whole.{mark}"]
    for name in (*left, f".a.fresh.fresh.{mark}", "a", "a.fresh", ".b.old"):
        (tmp_path / name).mkdir()
    (tmp_path / f".a.old.{mark[::-1]}").write_bytes(b"a file of somebody")
    found = {target: sorted(path.name for path in paths) for target, paths in replacement.leftovers(tmp_path).items()}
    assert found == {
        "a": left,
        "a.fresh": [f".a.fresh.fresh.{mark}"],
    }
    assert replacement.leftovers(tmp_path / "missing") == {}


OF_SOMEBODY = (".t.fresh.2024", ".t.old.20261126", ".t.whole.abc", ".t.fresh.deadbeef", ".t.fresh.77.old", ".t.old.1",
               f".t.fresh.{'a' * 31}", f".t.fresh.{'a' * 33}", f".t.fresh.{'A' * 32}", f".t.fresh.{'a' * 32}.old",
               f"t.fresh.{'a' * 32}")  # fmt: skip


@pytest.mark.parametrize("name", OF_SOMEBODY)
def test_a_folder_that_only_looks_like_a_leftover_stays(outs, name):
    """A backup with a date in its name is not what a killed run has left."""
    outs.deliver(OLD)
    write(outs.folder.with_name(name), {"mine.txt": b"precious"})
    for files in (NEW, OLD):
        outs.deliver(files)
        assert outs.files() == files
        assert (outs.folder.with_name(name) / "mine.txt").read_bytes() == b"precious"


def test_a_copy_of_an_output_is_kept_whole(outs):
    outs.deliver(OLD)
    shutil.copytree(outs.folder, outs.folder.with_name(".t.old.20261126"))
    outs.deliver(NEW)
    assert (outs.folder.with_name(".t.old.20261126") / "model.onnx").read_bytes() == OLD["model.onnx"]


def test_a_failed_build_ends_what_a_killed_run_began(outs):
    """Version 0.1 was killed between its two renames: the only copy of the user's file is in the folder set aside."""
    outs.deliver(OLD)
    (outs.folder / "notes").write_bytes(b"mine")
    outs.folder.rename(outs.folder.with_name(".t.fresh.4711.old"))
    delivery = outs.deliver(NEW, outcome="failed")
    assert delivery.state == "withheld"
    assert outs.files() == {**OLD, "notes": b"mine"}
    assert outs.beside() == ["t"]


def test_the_new_folder_takes_the_place_before_files_of_the_old_one_are_moved(outs):
    """A run was killed between the two renames of a system that cannot exchange folders."""
    mark = "0123456789abcdef" * 2
    outs.deliver(OLD)
    (outs.folder / "notes").write_bytes(b"mine")
    outs.folder.rename(outs.root / "aside")
    outs.deliver(NEW)
    outs.folder.rename(outs.folder.with_name(f".t.whole.{mark}"))
    (outs.root / "aside").rename(outs.folder.with_name(f".t.old.{mark}"))
    left = replacement.leftovers(outs.folder.parent)["t"]
    assert [place.name for place in left] == [f".t.old.{mark}", f".t.whole.{mark}"]
    assert replacement.tidy_up(outs.folder, left) == []
    assert outs.files() == {**NEW, "notes": b"mine"}
    assert outs.beside() == ["t"]


def test_the_description_lists_the_files_of_the_folder(outs):
    outs.deliver({**NEW, PROVENANCE: b"the description of the model that this one was made from"})
    listed = json.loads((outs.folder / PROVENANCE).read_bytes())["files"]
    assert sorted(listed) == sorted(NEW)
    assert (
        outs.deliver({**NEW, PROVENANCE: b"the description of the model that this one was made from"}).state == "intact"
    )
