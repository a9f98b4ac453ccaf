"""Something else in the place of a blob is damage: it is removed and the blob built again, and no link is followed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from onnxbuild.store.content import Content, DamagedBlob, File, Tree
from onnxbuild.store.inventory import verify
from onnxbuild.store.store import Store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="symbolic links and FIFOs")


def folder(place: Path, _victim: Path) -> None:
    (place / "deep").mkdir(parents=True)
    (place / "deep" / "file").write_text("x")
    (place / "deep").chmod(0o500)


def link(place: Path, victim: Path) -> None:
    place.symlink_to(victim)


def link_to_file(place: Path, victim: Path) -> None:
    place.symlink_to(victim / "precious")


def fifo(place: Path, _victim: Path) -> None:
    os.mkfifo(place)


KINDS = [folder, link, link_to_file, fifo]
Make = Callable[[Path, Path], None]


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    place = tmp_path / "victim"
    place.mkdir()
    (place / "precious").write_text("x")
    return place


def ingested(tmp_path: Path, content: Content) -> File:
    source = tmp_path / "result"
    source.mkdir(exist_ok=True)
    (source / "a").write_text("spam")
    (file,) = content.ingest(source).files
    return file


@pytest.mark.parametrize("make", KINDS)
def test_it_is_removed_when_the_blob_is_used(tmp_path: Path, victim: Path, make: Make) -> None:
    content = Content(tmp_path / "store")
    file = ingested(tmp_path, content)
    content.path(file.digest).unlink()
    make(content.path(file.digest), victim)
    assert not content.has(Tree((file,)))
    with pytest.raises(DamagedBlob, match="is damaged"):
        content.verify(file)
    assert not os.path.lexists(content.path(file.digest))
    assert (victim / "precious").read_text() == "x"


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("level", ["blob", "folder of blobs"])
def test_a_new_result_takes_its_place(tmp_path: Path, victim: Path, make: Make, level: str) -> None:
    content = Content(tmp_path / "store")
    blob = content.path(ingested(tmp_path, content).digest)
    blob.unlink()
    if level == "folder of blobs":
        blob.parent.rmdir()
    make(blob if level == "blob" else blob.parent, victim)
    again = Content(tmp_path / "store")
    assert again.has(Tree((ingested(tmp_path, again),)))
    assert blob.read_text() == "spam"
    assert os.listdir(victim) == ["precious"]


@pytest.mark.parametrize("make", KINDS)
def test_verify_reports_it_although_nothing_names_it(tmp_path: Path, victim: Path, make: Make) -> None:
    with Store(tmp_path / "store") as store:
        digest = "ab" * 32
        place = store.content.path(digest)
        place.parent.mkdir(parents=True)
        make(place, victim)
        (damage,) = verify(store)
        assert damage.found == f"blob {digest[:16]} is damaged"
        assert verify(store) == ()
    assert (victim / "precious").exists()
