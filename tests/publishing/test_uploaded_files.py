"""The files of an upload, the license in its card, and the difference from a destination."""

import hashlib
import subprocess

import pytest

from onnxbuild.publishing.card_license import with_license
from onnxbuild.publishing.difference import RemoteFile, as_listed, difference
from onnxbuild.publishing.uploaded_files import SUMS, listed, upload_of


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("", "---\nlicense: mit\nbase_model: o/n\ntags:\n- onnx\n---\n"),
        ("# A model\n", "---\nlicense: mit\nbase_model: o/n\n---\n\n# A model\n"),
        ("---\ntags:\n- a\n---\n\nText\n", "---\ntags:\n- a\nlicense: mit\nbase_model: o/n\n---\n\nText\n"),
        ("---\nbase_model: x/y\n---\n", "---\nbase_model: x/y\nlicense: mit\n---\n"),
        ("---\nlicense: MIT\n---\n", "---\nlicense: MIT\n---\n"),
        ("---\nlicense: 'mit'\n---\nlicense: gpl\n", "---\nlicense: 'mit'\n---\nlicense: gpl\n"),
        ("---\nnever closed\n", "---\nlicense: mit\nbase_model: o/n\n---\n\n---\nnever closed\n"),
        ("---\n---\nText\n", "---\nlicense: mit\nbase_model: o/n\n---\nText\n"),
        ("---\nlicense: MIT # as before\n---\n", "---\nlicense: MIT # as before\n---\n"),
        ("---\r\nlicense: mit\r\n---\r\na\r\n", "---\r\nlicense: mit\r\n---\r\na\r\n"),
        ("---\r\ntags: [a]\r\n---\r\na\r\n", "---\ntags: [a]\nlicense: mit\nbase_model: o/n\n---\na\r\n"),
        ("\ufeff---\ntags: [a]\n---\n", "---\ntags: [a]\nlicense: mit\nbase_model: o/n\n---\n"),
        ("\ufeff# A model\n", "---\nlicense: mit\nbase_model: o/n\n---\n\n# A model\n"),
        ("---\nlicense:\n- mit\n- gpl-3.0\n---\n", "---\nlicense:\n- mit\n- gpl-3.0\n---\n"),
        ("---\nlicense: other\nlicense_name: MIT\n---\n", "---\nlicense: other\nlicense_name: MIT\n---\n"),
        ("---\nlicense: # to do\ntags: [a]\n---\n", "---\ntags: [a]\nlicense: mit\nbase_model: o/n\n---\n"),
        ("---\n\tlicense: [\nlicense: mit\n---\n", "---\n\tlicense: [\nlicense: mit\n---\n"),
    ],
)
def test_a_card_gets_the_license_and_keeps_the_rest(card, expected):
    assert with_license(card, "mit", "o/n") == expected


def test_a_card_with_another_license_is_refused():
    with pytest.raises(ValueError, match=r"the card states the license `gpl-3\.0`, not `mit`"):
        with_license("---\nlicense: gpl-3.0\n---\n", "mit")
    with pytest.raises(ValueError, match=r"the card states the licenses `gpl-3\.0`, `isc`, not `mit`"):
        with_license("---\nlicense: [gpl-3.0, isc]\n---\n", "mit")


def test_a_card_that_is_not_utf_8_keeps_its_text(tmp_path):
    (tmp_path / "README.md").write_bytes("# Größe\n".encode("latin-1"))
    card = upload_of(tmp_path, license="mit").files["README.md"].read()
    assert card == b"---\nlicense: mit\n---\n\n# Gr\xf6\xdfe\n"
    (tmp_path / "README.md").write_bytes("---\nlicense: mit\n---\nGröße".encode("utf-16"))
    assert upload_of(tmp_path).files["README.md"].read() == "---\nlicense: mit\n---\nGröße".encode()


@pytest.mark.parametrize("text", ["mit\nlibrary_name: other", "mit: yes", "# mit", " mit"])
def test_a_license_that_would_add_to_the_metadata_is_refused(text):
    with pytest.raises(ValueError, match="is no word that the metadata of a card can have"):
        with_license("# A model\n", text)


def test_the_digest_is_that_of_the_list_and_both_sums_fit(tmp_path):
    """`sha256sum` is the judge of the package's own list, too, although the card has changed."""
    files = {"README.md": b"# A model\n", "b/model.onnx": b"x" * 301, "a.json": b"{}"}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    names = sorted(files)
    (tmp_path / "SHA256SUMS").write_text("".join(f"{sha256(files[name])}  {name}\n" for name in names))
    upload = upload_of(tmp_path, license="mit")
    for name, file in upload.files.items():
        (tmp_path / name).write_bytes(file.read())
    for name in ("SHA256SUMS", SUMS):
        subprocess.run(["sha256sum", "--check", "--quiet", "--strict", name], cwd=tmp_path, check=True)
    assert set(listed(upload.files[SUMS].read())) == {*files, "SHA256SUMS"}
    assert upload.digest == sha256(upload.files[SUMS].read())
    assert upload.tag == f"onnxbuild-{upload.digest[:16]}"
    assert upload.files["a.json"].blob == hashlib.sha1(b"blob 2\0{}").hexdigest()


def test_only_files_of_an_earlier_publish_are_deleted(tmp_path):
    (tmp_path / "kept.bin").write_bytes(b"k" * 17)
    (tmp_path / "new.bin").write_bytes(b"n" * 5)
    (tmp_path / "other.bin").write_bytes(b"o" * 3)
    upload = upload_of(tmp_path)
    remote = {
        "kept.bin": RemoteFile(17, sha256(b"k" * 17)),
        "other.bin": RemoteFile(9, sha256(b"theirs")),
        "old.bin": RemoteFile(11, sha256(b"old")),
        "demo.png": RemoteFile(13, sha256(b"demo")),
    }
    first = difference(upload, remote, None)
    assert (first.deleted, first.foreign) == ({}, ("other.bin", "kept.bin"))
    before = {"old.bin": {sha256(b"old")}, "kept.bin": {sha256(b"k" * 17)}, "other.bin": {sha256(b"ours")}}
    changes = difference(upload, remote, before)
    assert changes.added.keys() == {"new.bin", SUMS}
    assert changes.replaced == {"other.bin": 3}
    assert changes.deleted == {"old.bin": 11}
    assert changes.unchanged == {"kept.bin": 17}
    assert changes.foreign == ("other.bin",)
    # Nor is an equal one taken that the last publish has not listed.
    assert difference(upload, remote, {"other.bin": {sha256(b"theirs")}}).foreign == ("kept.bin",)


def test_what_the_last_publish_has_left_is_its_own(tmp_path):
    (tmp_path / "a.json").write_bytes(b"{}")
    upload = upload_of(tmp_path)
    there = {"a.json": RemoteFile(3, sha256(b"[1]")), SUMS: RemoteFile(7, sha256(b"earlier"))}
    changes = difference(upload, there, as_listed(there))
    assert (changes.replaced.keys(), changes.foreign) == ({"a.json", SUMS}, ())


def test_a_changed_file_that_the_new_version_lacks_is_foreign(tmp_path):
    upload = upload_of(tmp_path)
    remote = {"old.bin": RemoteFile(11, sha256(b"edited")), "same.bin": RemoteFile(4, sha256(b"same"))}
    changes = difference(upload, remote, {"old.bin": {sha256(b"old")}, "same.bin": {sha256(b"same")}})
    assert changes.deleted == {"old.bin": 11, "same.bin": 4}
    assert changes.foreign == ("old.bin",)


@pytest.mark.parametrize("name", ["../other.bin", "/etc/other.bin", "a/../../other.bin", "./old.bin", SUMS])
def test_a_list_that_names_files_elsewhere_counts_as_changed(tmp_path, name):
    """Nothing that it names outside is deleted, and nobody's list is replaced without a word."""
    (tmp_path / "kept.bin").write_bytes(b"k" * 17)
    upload = upload_of(tmp_path)
    before = listed(upload.files[SUMS].read() + f"{'a' * 64}  {name}\n".encode())
    remote = {one: RemoteFile(7, "a" * 64) for one in (name, SUMS)} | {"kept.bin": RemoteFile(17, sha256(b"k" * 17))}
    changes = difference(upload, remote, before)
    assert changes.deleted == {}
    assert changes.foreign == (SUMS,)
