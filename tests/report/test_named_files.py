"""A file that the command line names is written, unless somebody else's file is in its place."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from onnxbuild.cli import run_command
from onnxbuild.regular_files import NotRegular
from onnxbuild.report.named_files import NotOurs, write_named

_POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs and devices in folders")
LOCK = '{\n "sources": {},\n "version": 1\n}\n'
FOREIGN = {
    "m.yaml": None,
    "onnxbuild.lock": LOCK,
    "README.md": "# Mine\n\n```mermaid\nflowchart LR\n    n0[a]\n```\n",
    "notes.md": "```mermaid\nflowchart LR\n    n0[a]\n```\nand my own words\n",
    "mine.svg": '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><path d="M0 0"/></svg>',
    "mine.dot": "digraph mine {\n}\n",
    "mine.mmd": "flowchart LR\n    mine --> yours\n",
    "mine.json": '{"actions": ["mine"]}',
    "model.onnx": "x",
}
OUTPUTS = ("graph.svg", "graph.dot", "graph.mmd", "graph.md", "graph.json", "profile.json", "schema.json")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one ONNX model, which a run only copies, and files of the user."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.onnx").write_text("x")
    monkeypatch.chdir(tmp_path)
    model = {"source": "onnx:model", "targets": ["fp32"]}
    FOREIGN["m.yaml"] = json.dumps({"onnxbuild": 1, "targets": {"fp32": {}}, "models": {"m": model}})
    for name, text in FOREIGN.items():
        (tmp_path / name).write_text(str(text))
    return tmp_path


def write(name: str, *, into: str | None = None) -> int:
    place = into or name
    if name == "profile.json":
        return run_command(["run", "m.yaml", "--force", "-q", "--profile", place])
    if name == "schema.json":
        return run_command(["schema", "--output", place])
    format_ = {"svg": "svg", "dot": "dot", "mmd": "mermaid", "md": "mermaid", "json": "json"}[name.rpartition(".")[2]]
    return run_command(["graph", "m.yaml", "--format", format_, "--output", place])


@pytest.mark.parametrize("output", ["graph", "profile.json", "schema.json"])
@pytest.mark.parametrize("foreign", FOREIGN)
def test_no_file_of_somebody_else_is_overwritten(
    world: Path, capsys: pytest.CaptureFixture[str], output: str, foreign: str
) -> None:
    format_ = foreign.rpartition(".")[2]
    name = (
        f"graph.{format_ if format_ in {'svg', 'dot', 'mmd', 'md', 'json'} else 'svg'}" if output == "graph" else output
    )
    assert write(name, into=foreign) == 2
    assert (world / foreign).read_text() == FOREIGN[foreign]
    assert capsys.readouterr().err == (
        f"OB016 `{foreign}` cannot be written: it exists, and onnxbuild has not written it\n"
        "  = hint: name another file, or remove this one\n"
    )
    assert not (world / "out").exists()  # refused before the work


def test_what_onnxbuild_has_written_is_replaced(world: Path) -> None:
    assert [write(name) for name in OUTPUTS] == [0] * len(OUTPUTS)
    for name in OUTPUTS:
        with open(world / name, "ab") as file:
            file.write(b"" if name == "graph.md" else b"left over" * 99_999)
    assert [write(name) for name in OUTPUTS] == [0] * len(OUTPUTS)
    assert not [name for name in OUTPUTS if b"left over" in (world / name).read_bytes()]


def test_an_empty_file_is_filled(world: Path) -> None:
    (world / "graph.svg").touch()
    assert write("graph.svg") == 0
    assert (world / "graph.svg").read_text().startswith("<svg")


def test_a_refused_file_is_left_as_it_was(world: Path) -> None:
    with pytest.raises(NotOurs):
        write_named(world / "m.yaml", "text")


@_POSIX
def test_a_named_file_is_written_and_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept", encoding="utf-8")
    for name, target in (("link", "precious"), ("dangling", "new")):
        (tmp_path / name).symlink_to(target)
        with pytest.raises(NotRegular, match="is a symbolic link"):
            write_named(tmp_path / name, "text")
    write_named(tmp_path / "plain", "täxt")
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir() if not path.is_symlink()}
    assert written == {"precious": "kept", "plain": "täxt"}


@_POSIX
def test_the_links_of_the_system_are_followed(capfd: pytest.CaptureFixture[str]) -> None:
    write_named("/dev/stdout", "shown")
    assert capfd.readouterr().out == "shown"
