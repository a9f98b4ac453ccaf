"""Blobs: what is in the store has the digest in its name, is read-only, and shares its file with nobody outside."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from onnxbuild.digest import Digest, digest_bytes
from onnxbuild.store import content as content_module
from onnxbuild.store.content import Content, DamagedBlob, File, Tree

posix = pytest.mark.skipif(sys.platform == "win32", reason="modes and links of POSIX")
TEXT = b"content of a model"
DIGEST = digest_bytes(TEXT)
FILE = File("model.onnx", DIGEST, len(TEXT))


@pytest.fixture
def store(tmp_path: Path) -> Content:
    return Content(tmp_path / "store")


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A folder that a worker has written."""
    folder = tmp_path / "fresh"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(TEXT)
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_moved_and_read_only(store: Content, fresh: Path) -> None:
    inode = (fresh / "model.onnx").stat().st_ino
    assert store.ingest(fresh) == Tree((FILE,))
    blob = store.path(DIGEST)
    assert (blob.read_bytes(), mode(blob), blob.stat().st_ino) == (TEXT, 0o444, inode)
    assert not (fresh / "model.onnx").exists()
    assert blob.parent.name == DIGEST[:2]


@posix
@pytest.mark.parametrize("bits", [0o600, 0o644, 0o666, 0o755])
def test_a_blob_that_exists_and_can_be_written_becomes_read_only(store: Content, fresh: Path, bits: int) -> None:
    store.ingest(fresh)
    store.path(DIGEST).chmod(bits)
    inode = store.path(DIGEST).stat().st_ino
    (fresh / "model.onnx").write_bytes(TEXT)
    store.ingest(fresh)
    assert (mode(store.path(DIGEST)), store.path(DIGEST).stat().st_ino) == (0o444, inode)


@posix
def test_a_writable_blob_of_another_user_is_replaced(store: Content, fresh: Path, monkeypatch) -> None:
    store.ingest(fresh)
    blob = store.path(DIGEST)
    blob.chmod(0o664)
    inode, own = blob.stat().st_ino, Path.chmod

    def chmod(path: Path, bits: int, **more) -> None:
        if path == blob:
            raise PermissionError(errno.EPERM, "not the owner")
        own(path, bits, **more)

    monkeypatch.setattr(Path, "chmod", chmod)
    (fresh / "model.onnx").write_bytes(TEXT)
    store.ingest(fresh)
    assert (mode(blob), blob.read_bytes()) == (0o444, TEXT)
    assert blob.stat().st_ino != inode


@pytest.mark.parametrize("damage", [TEXT[::-1], TEXT[:-1], TEXT + b"!", b""])
def test_a_damaged_blob_is_never_kept(store: Content, fresh: Path, damage: bytes) -> None:
    """Also one of the right size: a new result with this content replaces it."""
    store.ingest(fresh)
    blob = store.path(DIGEST)
    blob.chmod(0o644)
    blob.write_bytes(damage)
    (fresh / "model.onnx").write_bytes(TEXT)
    store.ingest(fresh)
    assert (blob.read_bytes(), mode(blob)) == (TEXT, 0o444)


@pytest.mark.parametrize("damage", [TEXT[::-1], TEXT[:-1], None])
@pytest.mark.parametrize("use", ["verify", "view"])
def test_a_damaged_blob_is_noticed_and_removed_when_it_is_used(
    store: Content, fresh: Path, tmp_path: Path, damage: bytes | None, use: str
) -> None:
    store.ingest(fresh)
    blob = store.path(DIGEST)
    blob.chmod(0o644)
    blob.unlink() if damage is None else blob.write_bytes(damage)
    with pytest.raises(DamagedBlob, match="missing" if damage is None else "damaged"):
        store.verify(FILE) if use == "verify" else store.view(Tree((FILE,)), tmp_path / "there")
    assert not blob.exists()
    assert not (tmp_path / "there" / "model.onnx").exists()


@posix
def test_an_output_with_another_name_elsewhere_is_stored_as_a_separate_file(
    store: Content, fresh: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").hardlink_to(fresh / "model.onnx")
    store.ingest(fresh)
    blob = store.path(DIGEST)
    assert blob.stat().st_nlink == 1
    (tmp_path / "outside").write_bytes(b"changed")
    assert (blob.read_bytes(), mode(blob)) == (TEXT, 0o444)
    assert mode(tmp_path / "outside") & stat.S_IWUSR


@posix
@pytest.mark.parametrize("kind", ["link to a file", "link to a folder", "broken link", "FIFO"])
def test_only_regular_files_are_stored(store: Content, tmp_path: Path, kind: str) -> None:
    outside, fresh = tmp_path / "outside", tmp_path / "fresh"
    for folder in (outside, fresh):
        folder.mkdir()
    (outside / "file").write_text("precious")
    if kind == "FIFO":
        os.mkfifo(fresh / "x")
    else:
        targets = {"link to a file": outside / "file", "link to a folder": outside, "broken link": tmp_path / "none"}
        (fresh / "x").symlink_to(targets[kind])
    with pytest.raises(OSError, match="only regular files"):
        store.ingest(fresh)
    assert (outside / "file").read_text() == "precious"


def test_names_have_slashes_and_are_sorted_within_each_folder(store: Content, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    for name in ("b", "a/z", "a/b/c", "a.txt", "a/b.c", "A"):
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        (fresh / name).write_text(name)
    names = [file.name for file in store.ingest(fresh).files]
    assert names == ["A", "a/b/c", "a/b.c", "a/z", "a.txt", "b"]


def test_a_tree_is_had_only_with_every_file_in_its_size(store: Content, fresh: Path) -> None:
    (fresh / "config.json").write_text("{}")
    tree = store.ingest(fresh)
    assert store.has(tree)
    assert not store.has(Tree((*tree.files, File("x", Digest("f" * 64), 1))))
    assert not store.has(Tree((File("x", tree.files[0].digest, tree.files[0].size + 1),)))
    store.path(tree.files[1].digest).unlink()
    assert not store.has(tree)


@posix
def test_a_blob_or_its_folder_that_is_a_link_is_not_had_and_nothing_is_removed_through_it(
    store: Content, fresh: Path, tmp_path: Path
) -> None:
    tree = store.ingest(fresh)
    blob = store.path(DIGEST)
    outside = tmp_path / "outside"
    blob.parent.rename(outside)
    blob.parent.symlink_to(outside)
    other = Content(tmp_path / "store")
    assert not other.has(tree)
    with pytest.raises(DamagedBlob):
        other.verify(FILE)
    assert (outside / DIGEST).read_bytes() == TEXT
    assert list(other.blobs()) == []
    (fresh / "model.onnx").write_bytes(TEXT)
    other.ingest(fresh)
    assert (blob.parent.is_symlink(), blob.read_bytes()) == (False, TEXT)
    assert (outside / DIGEST).read_bytes() == TEXT
    (fresh / "model.onnx").write_bytes(TEXT)
    blob.unlink()
    blob.symlink_to(outside / DIGEST)
    assert not Content(tmp_path / "store").has(tree)
    Content(tmp_path / "store").ingest(fresh)
    assert not blob.is_symlink()
    assert (outside / DIGEST).read_bytes() == TEXT


def test_a_view_is_a_read_only_link(store: Content, fresh: Path, tmp_path: Path) -> None:
    (fresh / "deep").mkdir()
    (fresh / "deep" / "x").write_text("x")
    store.view(store.ingest(fresh), tmp_path / "view")
    assert (tmp_path / "view" / "model.onnx").read_bytes() == TEXT
    assert (tmp_path / "view" / "deep" / "x").read_text() == "x"
    assert os.path.samefile(tmp_path / "view" / "model.onnx", store.path(DIGEST))
    assert sys.platform == "win32" or mode(tmp_path / "view" / "model.onnx") == 0o444


@pytest.mark.parametrize(("number", "words"), [(errno.EIO, "unreadable"), (errno.ENOENT, "unreadable")])
def test_a_blob_that_the_disk_cannot_read_is_damaged(store: Content, fresh: Path, monkeypatch, number, words) -> None:
    store.ingest(fresh)

    def unreadable(path: Path, size: int, **_how: bool) -> Digest:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(content_module, "digest_file", unreadable)
    with pytest.raises(DamagedBlob, match=words):
        store.verify(FILE)
    assert not store.path(DIGEST).exists()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EACCES, errno.ENOMEM])
def test_a_blob_that_cannot_be_read_now_is_kept(store: Content, fresh: Path, monkeypatch, number: int) -> None:
    store.ingest(fresh)

    def unreadable(path: Path, size: int, **_how: bool) -> Digest:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(content_module, "digest_file", unreadable)
    with pytest.raises(OSError, match=os.strerror(number)):
        store.verify(FILE)
    assert store.path(DIGEST).exists()


def test_dropping_what_is_gone_does_nothing(store: Content, fresh: Path) -> None:
    store.ingest(fresh)
    store.drop(DIGEST)
    store.drop(DIGEST)
    store.drop("f" * 64)
    assert not store.path(DIGEST).exists()


def test_the_digest_of_a_tree_depends_on_names_contents_and_sizes_only() -> None:
    base = Tree((FILE,))
    assert base.digest == Tree((File("model.onnx", DIGEST, len(TEXT)),)).digest
    others = (
        File("other.onnx", DIGEST, len(TEXT)),
        File("model.onnx", Digest("f" * 64), len(TEXT)),
        File("model.onnx", DIGEST, 1),
    )
    assert len({base.digest, *(Tree((other,)).digest for other in others), Tree(()).digest}) == 5
    assert Tree((FILE, File("x", DIGEST, 3))).size == len(TEXT) + 3


def test_a_blob_that_another_process_removes_ends_no_listing(store: Content, tmp_path: Path, monkeypatch) -> None:
    digests = ["ab" + "0" * 61 + number for number in "123"]
    for digest in digests:
        store.path(digest).parent.mkdir(parents=True, exist_ok=True)
        store.path(digest).write_text(digest)
    own, removed = Path.lstat, []

    def lstat(path: Path) -> os.stat_result:
        if path.name in digests and not removed:
            removed.append(path.name)
            path.unlink()
        return own(path)

    monkeypatch.setattr(Path, "lstat", lstat)
    assert sorted(digest for digest, _ in store.blobs()) == sorted({*digests} - {*removed})


def test_a_file_is_on_the_disk_before_it_is_a_blob_and_its_name_after(store: Content, fresh: Path, monkeypatch) -> None:
    """Else a crash of the machine would leave a blob with other content than its name says."""
    blob, order = store.path(DIGEST), []
    own = content_module.replace_file

    def flush(path: Path) -> None:
        order.append(("flush", path.name, mode(path) & stat.S_IWUSR != 0))

    def replace(source: Path, target: Path) -> None:
        order.append(("replace", source.name, mode(source) & stat.S_IWUSR != 0))
        own(source, target)

    monkeypatch.setattr(content_module, "flush", flush)
    monkeypatch.setattr(content_module, "replace_file", replace)
    store.ingest(fresh)
    assert order == [
        ("flush", "model.onnx", True),
        ("replace", "model.onnx", False),
        ("flush", blob.parent.name, True),
    ]


def test_a_view_has_every_file_in_folders_of_any_depth(store: Content, fresh: Path, tmp_path: Path) -> None:
    for name in ("a/b/c/one", "a/b/c/two", "a/three"):
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        (fresh / name).write_text(name)
    store.view(store.ingest(fresh), tmp_path / "view")
    viewed = {
        path.relative_to(tmp_path / "view").as_posix() for path in (tmp_path / "view").rglob("*") if path.is_file()
    }
    assert viewed == {"a/b/c/one", "a/b/c/two", "a/three", "model.onnx"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (None, f"blob {DIGEST[:16]} is missing"),
        (TEXT[::-1], f"blob {DIGEST[:16]} is damaged"),
        (OSError(errno.EIO, "Input/output error"), f"blob {DIGEST[:16]} is unreadable (Input/output error)"),
    ],
)
def test_the_damage_is_named(store: Content, fresh: Path, monkeypatch, damage, message: str) -> None:
    store.ingest(fresh)
    blob = store.path(DIGEST)
    blob.chmod(0o644)
    if isinstance(damage, OSError):

        def unreadable(_path: Path, _size: int, **_how: bool) -> Digest:
            raise damage

        monkeypatch.setattr(content_module, "digest_file", unreadable)
    elif damage is None:
        blob.unlink()
    else:
        blob.write_bytes(damage)
    with pytest.raises(DamagedBlob) as raised:
        store.verify(FILE)
    assert (str(raised.value), raised.value.digest) == (message, DIGEST)


@posix
def test_what_cannot_be_stored_is_named(store: Content, fresh: Path) -> None:
    os.mkfifo(fresh / "x")
    with pytest.raises(OSError, match="only regular files") as raised:
        store.ingest(fresh)
    error = raised.value
    assert (error.errno, error.strerror, error.filename) == (
        errno.EINVAL,
        "only regular files can be stored",
        str(fresh / "x"),
    )


@pytest.mark.parametrize("name", ["f" * 63, "f" * 65, "é" * 64, "f" * 63 + "."])
def test_only_what_has_the_name_of_a_blob_is_dropped(store: Content, name: str) -> None:
    place = store.path(name)
    place.parent.mkdir(parents=True)
    place.touch()
    store.drop(name)
    assert place.exists()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0" * 64, True), ("f" * 64, True), ("f" * 63, False), ("f" * 65, False), ("é" * 64, False), (b"f" * 64, False),
        ("f" * 63 + ".", False), ("f" * 63 + "/", False), (None, False), (7, False),
    ],
)  # fmt: skip
def test_what_can_be_a_digest(value: object, expected: bool) -> None:  # noqa: FBT001
    assert content_module.is_digest(value) is expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a"], True), (["a/b", "c.d", "..e", "f..", "g/..h"], True), ([""], False), (["."], False),
        ([".."], False), (["a", ".."], False), (["../a"], False), (["a/.."], False), (["a/../b"], False),
        (["a/./b"], False), (["/a"], False), (["a/"], False), (["a//b"], False), (["a\0b"], False),
        (["a", "b\0c"], False),
    ],
)  # fmt: skip
def test_which_names_stay_below_a_folder(names: list[str], expected: bool) -> None:  # noqa: FBT001
    assert content_module.are_inside(names) is expected
