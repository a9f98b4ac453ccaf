"""Folders of model files: what is listed, what is copied, and how a folder without the wanted file is reported."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.folders import model_files
from onnxbuild.workers.folders.configs import limit_tokenizer, read_config
from onnxbuild.workers.folders.model_files import (
    carry_along,
    carry_companions,
    copy_files,
    copy_model_file,
    files_below,
    is_onnx_part,
    onnx_names,
)
from onnxbuild.workers.folders.processors import masks_audio, processor_of

FILES = (
    "config.json", "model.onnx", "model.onnx_data", "model.onnx_data_1", "notes.txt", "onnx/decoder.onnx",
    "onnx/decoder.onnx.data", "onnx/weights.data", "tokenizer.json",
)  # fmt: skip


def filled(root: Path, names: tuple[str, ...] = FILES) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"the content of {name}")
    return root


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return filled(tmp_path / "source")


def copied(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in files_below(folder)}


def test_files_and_graphs_are_listed_in_order(source: Path) -> None:
    (source / "empty").mkdir()
    (source / "folder.onnx").mkdir()
    assert files_below(source) == FILES
    assert onnx_names(source) == ("model.onnx", "onnx/decoder.onnx")
    assert files_below(source / "missing") == ()


def test_a_folder_without_a_graph_is_a_failure_that_lists_what_it_holds(tmp_path: Path) -> None:
    filled(tmp_path, ("b.txt", "a/model.onnx_data"))
    with pytest.raises(CheckFailed) as caught:
        onnx_names(tmp_path)
    failure = caught.value.failure
    assert (failure.code, failure.message) == ("OBE41", "the input has no .onnx file")
    assert failure.notes == (("holds", "a/model.onnx_data, b.txt"),)


def test_graphs_and_their_data_are_told_from_other_files() -> None:
    assert [name for name in FILES if not is_onnx_part(name)] == ["config.json", "notes.txt", "tokenizer.json"]


def test_everything_but_graphs_is_carried_along_and_nothing_is_replaced(source: Path, tmp_path: Path) -> None:
    filled(source, ("1_Pooling/config.json", "weights.bin"))
    there = tmp_path / "there"
    there.mkdir()
    (there / "config.json").write_text("changed by the step")
    carry_along(source, there, besides={"weights.bin"})
    assert copied(there) == {
        "1_Pooling/config.json": "the content of 1_Pooling/config.json",
        "config.json": "changed by the step",
        "notes.txt": "the content of notes.txt",
        "tokenizer.json": "the content of tokenizer.json",
    }


def test_what_loaders_read_is_carried_and_nothing_is_replaced(source: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    (there / "config.json").write_text("changed by the step")
    carry_companions(source, there)
    assert copied(there) == {"config.json": "changed by the step", "tokenizer.json": "the content of tokenizer.json"}


def test_files_are_copied_with_progress_and_the_number_of_bytes(source: Path, tmp_path: Path) -> None:
    (source / "empty.txt").write_text("")
    heard: list[tuple[object, ...]] = []
    names = ["config.json", "empty.txt", "onnx/decoder.onnx"]
    count = copy_files(source, iter(names), tmp_path / "there", lambda *said: heard.append(said))
    first = len("the content of config.json")
    all_ = first + len("the content of onnx/decoder.onnx")
    assert count == all_
    assert heard == [
        ("copying config.json", first, all_),
        ("copying onnx/decoder.onnx", all_, all_),
    ]
    assert copied(tmp_path / "there") == {name: (source / name).read_text() for name in names}


def test_a_file_that_has_disappeared_since_the_plan_is_a_failure_before_anything_is_copied(
    source: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckFailed) as caught:
        copy_files(source, ["config.json", "gone.json"], tmp_path / "there", lambda *_said: None)
    failure = caught.value.failure
    assert (failure.code, failure.message) == ("OBE16", "`gone.json` is missing")
    assert failure.notes == (("hint", "it existed when the plan was made: run again"),)
    assert not (tmp_path / "there").exists()


def test_a_copy_is_a_file_of_its_own(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source / "model.onnx")
    copy_model_file(tmp_path / "link", tmp_path / "deep" / "folder" / "copy")
    copy = tmp_path / "deep" / "folder" / "copy"
    assert not copy.is_symlink()
    copy.write_text("changed")
    assert (source / "model.onnx").read_text() == "the content of model.onnx"


# -- copying in steps, with and without the help of the kernel ---------------------------------------------------------


def refuses(*_arguments: object) -> int:
    raise OSError(errno.EXDEV, "another file system")


def writes_little(descriptor: int, data: bytes) -> int:
    return os_write(descriptor, data[:3])


os_write = os.write
WAYS = {
    "by the kernel": {},
    "between file systems": {"copy_file_range": refuses},
    "not on Linux": {"copy_file_range": None},
    "in short writes": {"copy_file_range": refuses, "write": writes_little},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_large_file_is_copied_in_steps_whatever_the_system_offers(tmp_path: Path, monkeypatch, way: str) -> None:
    monkeypatch.setattr(model_files, "_CHUNK_BYTES", 16)
    for name, function in WAYS[way].items():
        if function is None:
            monkeypatch.delattr(os, name, raising=False)
        else:
            monkeypatch.setattr(os, name, function, raising=False)
    content = bytes(range(40))
    (tmp_path / "large").write_bytes(content)
    heard: list[tuple[object, ...]] = []
    assert copy_files(tmp_path, ["large"], tmp_path / "there", lambda *said: heard.append(said)) == 40
    assert (tmp_path / "there" / "large").read_bytes() == content
    assert heard == [("copying large", done, 40) for done in (16, 32, 40)]


def test_a_source_that_becomes_shorter_ends_the_copy(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "large").write_bytes(b"0123456789")
    monkeypatch.setattr(os, "fstat", lambda _descriptor: os.stat_result([0, 0, 0, 0, 0, 0, 100, 0, 0, 0]))
    copy_model_file(tmp_path / "large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"0123456789"


def test_a_source_that_grows_meanwhile_is_copied_as_it_was(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "large").write_bytes(b"0123456789")
    monkeypatch.setattr(os, "fstat", lambda _descriptor: os.stat_result([0, 0, 0, 0, 0, 0, 4, 0, 0, 0]))
    copy_model_file(tmp_path / "large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"0123"


# -- configs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "config"), [(None, {}), ('{"model_type": "bert", "é": 1}', {"model_type": "bert", "é": 1}), ("[1]", {})]
)
def test_the_config_of_a_model(tmp_path: Path, text: str | None, config: dict[str, object]) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text, encoding="utf-8")
    assert read_config(tmp_path) == config


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_a_config_that_is_no_json_is_a_failure(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "config.json").write_bytes(data)
    with pytest.raises(CheckFailed) as caught:
        read_config(tmp_path)
    assert (caught.value.failure.code, caught.value.failure.message) == ("OBE16", f"config.json is not JSON: {reason}")


@pytest.mark.parametrize(
    ("data", "masks"),
    [
        (None, False),
        (b"\xff", False),
        (b"{", False),
        (b"[true]", False),
        (b"{}", False),
        (b'{"return_attention_mask": 1}', False),
        (b'{"return_attention_mask": false}', False),
        (b'{"return_attention_mask": true}', True),
    ],
)
def test_whether_audio_comes_with_a_mask(tmp_path: Path, data: bytes | None, *, masks: bool) -> None:
    if data is not None:
        (tmp_path / "preprocessor_config.json").write_bytes(data)
    assert masks_audio(tmp_path) is masks


def test_the_config_of_a_processor(tmp_path: Path) -> None:
    config = {"sampling_rate": 16000, "name": "é"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
    assert processor_of(tmp_path) == config


@pytest.mark.parametrize(
    ("before", "after"), [({"model_max_length": 1000}, 64), ({"model_max_length": 8}, 8), ({}, 64), ({"a": "é"}, 64)]
)
def test_a_tokenizer_reads_no_more_tokens_than_the_graph_takes(tmp_path: Path, before, after: int) -> None:
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(before), encoding="utf-8")
    limit_tokenizer(tmp_path, 64)
    assert json.loads(path.read_text(encoding="utf-8")) == {**before, "model_max_length": after}


def test_a_folder_without_a_tokenizer_gets_none(tmp_path: Path) -> None:
    limit_tokenizer(tmp_path, 64)
    assert list(tmp_path.iterdir()) == []
