"""The files of weights that a graph names: which are counted, copied and refused. The graphs are no ONNX files here."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxbuild.deliver.provenance import PROVENANCE
from onnxbuild.onnx_files.onnx_outline import DESCRIPTION, NotOnnx, Outline
from onnxbuild.protocol import CheckFailed, Failure
from onnxbuild.workers.folders import model_graphs
from onnxbuild.workers.folders.model_graphs import (
    check_data,
    check_one_model,
    copy_data,
    data_below,
    data_file,
    external_files,
    has_external_data,
    not_a_model,
    outline_of,
    size_bytes,
)


@pytest.fixture
def graph(monkeypatch, tmp_path: Path):
    """Makes graphs that name these files, each with the bytes that the graph reads of it."""
    known: dict[Path, dict[str, int]] = {}

    def outline(path: Path) -> Outline:
        if path not in known:
            raise NotOnnx("not known")
        return Outline(inputs=(), data=known[path])

    def make(name: str = "m/model.onnx", **data: int) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"graph")
        known[path.resolve()] = {location.replace("__", "/"): needed for location, needed in data.items()}
        return path

    monkeypatch.setattr(model_graphs, "read_outline", outline)
    return make


def failure(function, *given) -> Failure:
    with pytest.raises(CheckFailed) as caught:
        function(*given)
    return caught.value.failure


def fill(folder: Path, **sizes: int) -> None:
    for name, size in sizes.items():
        (folder / name.replace("__", "/")).parent.mkdir(parents=True, exist_ok=True)
        (folder / name.replace("__", "/")).write_bytes(b"x" * size)


def test_a_model_is_as_large_as_its_graph_and_its_files(graph) -> None:
    path = graph(weights=3, a__more=2)
    fill(path.parent, weights=7, a__more=11)
    assert external_files(path) == ("a/more", "weights")
    assert (size_bytes(path), has_external_data(path)) == (5 + 7 + 11, True)
    alone = graph("m/alone.onnx")
    assert (size_bytes(alone), external_files(alone), has_external_data(alone)) == (5, (), False)
    assert data_below(path.parents[1]) == {"m/a/more", "m/weights"}


@pytest.mark.parametrize(("size", "is_cut_short"), [(1233, True), (1234, False), (1235, False)])
def test_a_file_holds_at_least_what_the_graph_reads(graph, size: int, *, is_cut_short: bool) -> None:
    path = graph(weights=1234)
    fill(path.parent, weights=size)
    if not is_cut_short:
        check_data(path)
        return
    message = "model.onnx: `weights` is cut short: it has 1,233 bytes, and the graph reads 1,234"
    hint = "the file was cut short: fetch or export the model again"
    assert failure(check_data, path) == Failure(code="OBE40", message=message, notes=(("hint", hint),))


@pytest.mark.parametrize("check", [size_bytes, check_data])
def test_a_file_that_is_missing_is_named(graph, check) -> None:
    hint = "copy the .onnx file together with its data file, both under their original names"
    message = "model.onnx: its external data `weights` is missing"
    expected = Failure(code="OBE40", message=message, notes=(("hint", hint),))
    path = graph(weights=1)
    assert failure(check, path) == expected
    (path.parent / "weights").mkdir()
    assert failure(check, path) == expected


def test_a_file_outside_the_folder_is_refused_also_through_a_link(graph, tmp_path: Path) -> None:
    path = graph(**{"..__weights": 1})
    fill(tmp_path, weights=1)
    hint = "only files beside the model are read; save it again with external data in its folder"
    message = "model.onnx: external data `{}` lies outside the model's folder"
    assert failure(external_files, path) == Failure(
        code="OBE40", message=message.format("../weights"), notes=(("hint", hint),)
    )
    (path.parent / "link").symlink_to(tmp_path / "weights")
    assert failure(data_file, path, "link") == Failure(
        code="OBE40", message=message.format("link"), notes=(("hint", hint),)
    )


def test_weights_under_the_name_of_the_description_are_refused(graph) -> None:
    path = graph(**{"OnnxBuild.json": 1})
    fill(path.parent, **{"OnnxBuild.json": 1})
    message = "model.onnx: external data `OnnxBuild.json` has the name of what onnxbuild writes beside every model"
    hint = "save the model again with another name for its weights"
    assert failure(external_files, path) == Failure(code="OBE40", message=message, notes=(("hint", hint),))
    assert PROVENANCE == DESCRIPTION


def test_weights_are_copied_once_and_never_over_others(graph, tmp_path: Path) -> None:
    source, target = graph(a__weights=1), tmp_path / "out" / "model.onnx"
    fill(source.parent, a__weights=3)
    for _ in range(2):  # two graphs may share a file
        copy_data(source, target)
    assert (target.parent / "a" / "weights").read_bytes() == b"xxx"
    (target.parent / "a" / "weights").write_bytes(b"xxy")
    assert failure(copy_data, source, target) == Failure(
        code="OBE40",
        message="two graphs need different files with the name `a/weights`",
        notes=(("hint", "save the model again with one file of weights for each graph, named after it"),),
    )
    assert (target.parent / "a" / "weights").read_bytes() == b"xxy"


def test_another_graph_may_say_which_weights_are_copied(graph, tmp_path: Path) -> None:
    source, other = graph(), graph("m/other.onnx", weights=1)
    fill(source.parent, weights=2)
    copy_data(source, tmp_path / "out" / "model.onnx", other)
    assert (tmp_path / "out" / "weights").read_bytes() == b"xx"


def test_the_graphs_of_a_folder_are_one_model(graph, monkeypatch) -> None:
    inputs = {"a.onnx": ("x",), "b.onnx": ("x", "past_key_values.0.key")}
    monkeypatch.setattr(model_graphs, "read_outline", lambda path: Outline(inputs=inputs[path.name], data={}))
    root = next(reversed([graph(f"m/{name}") for name in inputs])).parent
    (root / "notes.txt").write_text("no graph")
    check_one_model(root)
    inputs["b.onnx"] = ("x",)
    hint = (
        "there are `a.onnx`, `b.onnx`: pick one with `file:`, where the source is ONNX;"
        " an exporter must write the parts of one model, under the names that loaders know"
    )
    message = "`a.onnx` and `b.onnx` are two models: both are run as `forward`"
    assert failure(check_one_model, root) == Failure(code="OBE80", message=message, notes=(("hint", hint),))


DAMAGED = "the file is damaged or has another format: fetch it again"
POINTER = "it is a Git LFS pointer: run `git lfs pull` in the repository that it came from"
PAGE = "it is a web page: the download was refused, so check the address and the token"


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", POINTER),
        (b"\n  <!DOCTYPE html>", PAGE),
        (b"<html>", PAGE),
        (b"x<html>", DAMAGED),
        (b" " * 60 + b"<html>", DAMAGED),
        (b"", DAMAGED),
        (None, DAMAGED),
    ],
)
def test_what_is_no_model_is_told_by_its_first_bytes(graph, tmp_path: Path, content: bytes | None, hint: str) -> None:
    del graph  # knows no file
    if content is not None:
        (tmp_path / "x.onnx").write_bytes(content)
    expected = Failure(code="OBE41", message="x.onnx is not an ONNX model", notes=(("hint", hint),))
    assert not_a_model(tmp_path / "x.onnx").failure == expected
    assert failure(outline_of, tmp_path / "x.onnx") == expected
