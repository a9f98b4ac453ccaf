"""Git's index, read without git: the versions of its format, whole and damaged, and what git itself writes."""

import os
import shutil
import struct
import subprocess

import pytest

from onnxbuild.commands.state import git_index
from onnxbuild.commands.state.git_index import UnreadableIndex, tracks


def entry_of(path, version, *, name_size=20, before=b"", extended=False):
    """An entry of the index, as https://git-scm.com/docs/index-format lays it out."""
    flags = min(len(path), 0xFFF) | (0x4000 if extended else 0)
    head = bytes(40) + b"\x5a" * name_size + struct.pack(">H", flags) + (b"\0\0" if extended else b"")
    if version == 4:
        shared = len(os.path.commonprefix([before, path]))  # noqa: RUF071 - git compares bytes
        return head + number(len(before) - shared) + path[shared:] + b"\0"
    whole = head + path
    return whole + bytes(8 - len(whole) % 8)


def number(value):
    """git's variable length."""
    parts = [value & 0x7F]
    while value := value >> 7:
        value -= 1
        parts.append(0x80 | value & 0x7F)
    return bytes(reversed(parts))


def index_of(*paths, version=2, name_size=20, extended=False):
    body, before = b"", b""
    for path in sorted(path.encode() for path in paths):
        body += entry_of(path, version, name_size=name_size, before=before, extended=extended)
        before = path
    return b"DIRC" + struct.pack(">II", version, len(paths)) + body + bytes(name_size)


@pytest.fixture
def repository(tmp_path):
    def make(index, name="index"):
        (tmp_path / ".git").mkdir(exist_ok=True)
        (tmp_path / ".git" / name).write_bytes(index)
        return str(tmp_path / "sub" / ".onnxbuild")

    return make


FORMATS = [
    {"version": 2},
    {"version": 3, "extended": True},
    {"version": 4},
    {"version": 4, "extended": True},
    {"version": 2, "name_size": 32},
    {"version": 4, "name_size": 32},
]
OTHERS = ("a.txt", "other/sub/.onnxbuild/last", "sub/.onnxbuild-notes/x", "sub/.onnxbuildx", "sub/m.yaml", "z" * 5000)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("path", ["sub/.onnxbuild/last", "sub/.onnxbuild/store/blobs/ab/cd", "sub/.onnxbuild"])
def test_a_path_in_the_folder_is_found(repository, form, path):
    assert tracks(repository(index_of(*OTHERS, path, **form)))


@pytest.mark.parametrize("form", FORMATS)
def test_similar_paths_are_not_in_the_folder(repository, form):
    assert not tracks(repository(index_of(*OTHERS, **form)))


@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_index_tracks_nothing(repository, form):
    assert not tracks(repository(index_of(**form)))


def test_a_very_long_path_is_found(repository):
    assert tracks(repository(index_of("sub/.onnxbuild/" + "x" * 5000)))


def test_the_shared_part_of_a_split_index_counts(repository):
    repository(index_of("a"))
    assert tracks(repository(index_of("sub/.onnxbuild/last"), "sharedindex.0123"))


def test_outside_a_repository_nothing_is_tracked(tmp_path):
    assert not tracks(str(tmp_path / ".onnxbuild"))


def test_a_folder_named_git_need_not_be_a_repository(tmp_path):
    (tmp_path / ".git").mkdir()
    assert not tracks(str(tmp_path / ".onnxbuild"))


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("size", [0, 3, 11, 31])
def test_a_cut_index_is_no_index(repository, version, size):
    with pytest.raises(UnreadableIndex):
        tracks(repository(index_of("sub/.onnxbuild/last", version=version)[:size]))


def test_an_index_that_ends_within_an_entry_is_damaged(repository):
    index = index_of("a", "sub/.onnxbuild/last", version=4)
    with pytest.raises(UnreadableIndex, match="damaged"):
        tracks(repository(index[: index.index(b"sub") - 1]))


def test_an_unknown_version_is_not_guessed(repository):
    with pytest.raises(UnreadableIndex, match="unknown format"):
        tracks(repository(index_of("a", version=2).replace(b"\0\0\0\2", b"\0\0\0\5", 1)))


def test_where_case_does_not_matter_it_is_ignored(repository, monkeypatch):
    folder = repository(index_of("SUB/.OnnxBuild/last"))
    assert not tracks(folder)
    monkeypatch.setattr(git_index, "_IGNORES_CASE", True)
    assert tracks(folder)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git, to compare with what it writes")
@pytest.mark.parametrize("version", ["2", "4"])
@pytest.mark.parametrize("form", ["sha1", "sha256"])
def test_what_git_writes_is_read(tmp_path, version, form):
    def git(*arguments, folder=tmp_path):
        subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)

    git("init", "--quiet", f"--object-format={form}")
    git("config", "index.version", version)
    for name in ("a/b", "sub/m.yaml", "sub/.onnxbuild/last", "z"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    git("add", "a", "z", "sub/m.yaml")
    assert not tracks(str(tmp_path / "sub" / ".onnxbuild"))
    git("add", ".")
    assert tracks(str(tmp_path / "sub" / ".onnxbuild"))
    git("-c", "user.name=a", "-c", "user.email=b", "commit", "--quiet", "-m", "x")
    git("worktree", "add", "--quiet", str(tmp_path / "tree"))
    assert tracks(str(tmp_path / "tree" / "sub" / ".onnxbuild"))
    assert not tracks(str(tmp_path / "tree" / ".onnxbuild"))
