"""What `verify` finds in a folder: everything that is not as the account says, each thing by its name."""

from __future__ import annotations

import json
import os
import sys

import pytest
from folders_to_check import SOURCE, account, folder_with, listed

from onnxbuild.deliver.checking.account import Account, account_of
from onnxbuild.deliver.checking.folder_check import check_folder
from onnxbuild.deliver.provenance import PROVENANCE
from onnxbuild.diagnostics import DiagnosticError

posix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has neither FIFOs nor such names")


@pytest.fixture
def folder(tmp_path):
    return folder_with(tmp_path / "f")


def found(folder, *allowed):
    """The problems of a folder: names, kinds and words."""
    checked = check_folder(folder, account_of(folder)[0], allowed)
    return [(one.name, one.kind, one.words) for one in checked.problems]


def test_a_folder_as_it_was_written_has_no_problem(folder):
    assert found(folder) == []


def test_each_file_that_differs_is_named(folder):
    (folder / "model.onnx").write_bytes(b"grapH")  # of the same size
    (folder / "config.json").write_bytes(b"{}")
    (folder / "onnx" / "data.bin").unlink()
    assert found(folder) == [
        ("config.json", "changed", "has 2 bytes instead of 22"),
        ("model.onnx", "changed", "has other content: its BLAKE3 digest is fa83e5b6b3490aee…"),
        ("onnx/data.bin", "missing", "is missing"),
    ]


def test_two_files_that_were_swapped_are_both_named(folder):
    os.replace(folder / "model.onnx", folder / "x")
    os.replace(folder / "onnx" / "data.bin", folder / "model.onnx")
    os.replace(folder / "x", folder / "onnx" / "data.bin")
    assert [(name, kind) for name, kind, _ in found(folder)] == [
        ("model.onnx", "changed"), ("onnx/data.bin", "changed"),
    ]  # fmt: skip


def test_files_that_were_added_are_named_unless_no_loader_reads_them(folder):
    for name in ("README.md", "LICENSE", ".gitattributes", "model.sig", "modeling.py", "onnx/README.md", "notes.txt"):
        (folder / name).write_text("x")
    for name in (".git/config", ".cache/huggingface/x.lock", "onnx/.git/config"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("x")
    words = "is not listed: it was added"
    added = ["modeling.py", "notes.txt", "onnx/.git/config", "onnx/README.md"]
    assert found(folder) == [(name, "added", words) for name in added]
    assert [name for name, *_ in found(folder, "*.txt", "onnx/*")] == ["modeling.py"]
    assert check_folder(folder, account_of(folder)[0]).added == (".gitattributes", "LICENSE", "README.md", "model.sig")


@posix
def test_links_and_what_is_no_file_are_named_and_not_opened(folder, tmp_path):
    outside = folder_with(tmp_path / "outside")
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(outside / "model.onnx")  # with the right content
    (folder / "onnx" / "data.bin").unlink()
    (folder / "onnx").rmdir()
    (folder / "onnx").symlink_to(outside / "onnx")
    (folder / ".git").symlink_to(outside)
    os.mkfifo(folder / "pipe")
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    elsewhere = "is a symbolic link: its content is elsewhere"
    assert found(folder) == [
        (".git", "link", elsewhere),
        ("config.json", "special", "is neither a file nor a folder"),
        ("model.onnx", "link", elsewhere),
        ("onnx", "link", elsewhere),
        ("onnx/data.bin", "missing", "is missing"),
        ("pipe", "special", "is neither a file nor a folder"),
    ]


@posix
def test_a_listed_file_is_not_looked_for_behind_a_link_to_a_folder(folder, tmp_path):
    outside = folder_with(tmp_path / "outside")
    (folder / "onnx" / "data.bin").unlink()
    (folder / "onnx").rmdir()
    (folder / "onnx").symlink_to(outside / "onnx")
    assert ("onnx/data.bin", "missing", "is missing") in found(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret", "a//b", ".", "", "a\nb"])
def test_a_listed_name_that_leads_out_of_the_folder_is_not_opened(tmp_path, name):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    folder = folder_with(tmp_path / "f")
    files = {**account()["files"], **listed({name: b"secret"})}
    (folder / PROVENANCE).write_text(json.dumps(account(files=None) | {"files": files}))
    assert found(folder) == [(name, "unsafe", "is listed, and leads out of the folder")]


@posix
def test_odd_names_are_compared_as_any_other(tmp_path):
    odd = {"a b.onnx": b"1", "ü-é.json": b"2", "-rf": b"3", "$(x)": b"4", "*": b"5", "CON": b"6", ".hidden": b"7"}
    folder = folder_with(tmp_path / "f", odd)
    assert found(folder) == []
    (folder / "*").write_bytes(b"6")
    assert [name for name, *_ in found(folder)] == ["*"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_an_added_name_that_is_not_utf_8_is_named(folder):
    with open(os.fsencode(folder) + b"/\xff\n.py", "wb"):
        pass
    assert [(name, kind) for name, kind, _ in found(folder)] == [("\udcff\n.py", "added")]


def test_a_list_of_many_files_takes_no_deep_stack(tmp_path):
    files = {f"d{number % 50}/{number}": b"" for number in range(2000)}
    folder = folder_with(tmp_path / "f", files)
    assert found(folder) == []
    (folder / "d7" / "7").unlink()
    assert [name for name, *_ in found(folder)] == ["d7/7"]


def test_a_folder_that_is_deep_is_walked_to_its_end(folder):
    deep = folder.joinpath(*["d"] * 300)
    deep.mkdir(parents=True)
    (deep / "x.py").write_text("")
    assert [kind for _, kind, _ in found(folder)] == ["added"]


# -- the account ------------------------------------------------------------------------------------------------------


def refused(folder):
    with pytest.raises(DiagnosticError) as caught:
        account_of(folder)
    (one,) = caught.value.diagnostics
    assert (one.code, caught.value.exit_code) == ("OB750", 1)
    return one.message.replace(str(folder), "F")


DAMAGED = [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b'{"model": "m", "target": "t", "files": []}',
           b'{"model": "m", "target": "t", "files": {"a": {"blake3": 1, "bytes": 1}}}',
           json.dumps(account() | {"files": {}}).encode(), json.dumps(account() | {"steps": 7}).encode(),
           json.dumps(account() | {"sources": [{}]}).encode()]  # fmt: skip


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_account_is_refused(folder, text):
    (folder / PROVENANCE).write_bytes(text)
    assert refused(folder).startswith(f"`F/{PROVENANCE}` is damaged: ")


def test_a_folder_without_an_account_is_refused(tmp_path):
    assert refused(tmp_path) == f"`F` has no `{PROVENANCE}`"
    assert refused(tmp_path / "missing") == "`F` does not exist"
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "file") == "`F` is not a folder"


@posix
def test_a_link_or_a_fifo_in_place_of_a_folder_or_an_account_is_refused(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert refused(tmp_path / "link") == "`F` is a symbolic link"
    os.rename(folder / PROVENANCE, tmp_path / "account")
    (folder / PROVENANCE).symlink_to(tmp_path / "account")
    assert refused(folder) == f"`F/{PROVENANCE}` is a symbolic link"
    (folder / PROVENANCE).unlink()
    os.mkfifo(folder / PROVENANCE)
    assert refused(folder) == f"`F/{PROVENANCE}` is a FIFO, not a regular file"


def test_an_account_of_an_older_version_is_read(folder):
    older = {name: value for name, value in account().items() if name not in {"sources", "datasets"}}
    (folder / PROVENANCE).write_text(json.dumps(older))
    read = account_of(folder)[0]
    (source,) = read.origins
    wanted = {name: value for name, value in SOURCE.items() if not name.startswith("license")}
    assert {name: getattr(source, name) for name in wanted} == wanted
    assert (source.license, read.datasets, found(folder)) == (None, {}, [])


def test_an_account_of_the_least_that_was_ever_written_is_read(folder):
    least = {"model": "m", "target": "t", "files": account()["files"]}
    (folder / PROVENANCE).write_text(json.dumps(least))
    assert account_of(folder)[0] == Account(model="m", target="t", files=account_of(folder)[0].files)
    assert found(folder) == []
