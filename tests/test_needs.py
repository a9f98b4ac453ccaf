"""What a step needs is asked of the environment that the caller means, and of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onnxbuild.needs import step_needs
from onnxbuild.needs.step_needs import CODE_OF, FILE, LIBRARY, PROGRAM, first_absent, need_name, of_key


def nothing(_name: str) -> None:
    """An environment without distributions."""


def test_distributions_are_those_of_the_environment_that_is_asked_about() -> None:
    assert first_absent(("onnx", "openvino"), {"onnx": "1.22"}.get) == "openvino"
    assert first_absent(("onnx",), {"onnx": "1.22"}.get) is None
    assert first_absent(("onnx",), nothing) == "onnx"


def test_programs_and_files_are_those_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = (f"{FILE}{tmp_path}", f"{PROGRAM}chipc")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert first_absent(needs, nothing) == f"{PROGRAM}chipc"
    (tmp_path / "chipc").write_text("#!/bin/sh\n")
    (tmp_path / "chipc").chmod(0o755)
    assert first_absent(needs, nothing) is None
    assert first_absent((f"{FILE}{tmp_path}/no",), nothing) == f"{FILE}{tmp_path}/no"


def test_a_library_is_there_in_any_version_where_the_loader_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path / 'no'}{os.pathsep}{tmp_path}")
    need = f"{LIBRARY}libchip.so"
    (tmp_path / "libchip.sound").touch()
    assert first_absent((need,), nothing) == need
    (tmp_path / "libchip.so.10").touch()
    assert first_absent((need,), nothing) is None


@pytest.mark.skipif(not Path("/etc/ld.so.cache").exists(), reason="the cache of the loader of Linux is missing")
def test_a_library_is_there_in_the_cache_of_the_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_needs, "library_folders", lambda: ())
    assert first_absent((f"{LIBRARY}libc.so", f"{LIBRARY}libchip.so"), nothing) == f"{LIBRARY}libchip.so"


@pytest.mark.parametrize(
    ("chip", "library", "kept"),
    [("1.0", "there", False), ("absent", "there", False), ("absent", "absent", False), ("1.0", "absent", True)],
)
def test_a_library_is_in_a_key_only_where_it_alone_is_missing(chip: str, library: str, *, kept: bool) -> None:
    name = f"{LIBRARY}libchip.so"
    found = of_key({"chip": chip, "other": "absent", name: library}, [("other",), ("chip", name)])
    assert found == {"chip": chip, "other": "absent", **({name: "absent"} if kept else {})}


def test_the_code_of_a_plugin_is_there_with_its_declaration() -> None:
    assert first_absent((f"{CODE_OF}toy_steps",), nothing) is None


def test_a_person_calls_them_by_their_names() -> None:
    assert [*map(need_name, ("onnx", f"{PROGRAM}chipc", f"{FILE}/dev/kfd", f"{LIBRARY}libchip.so"))] == [
        "onnx", "chipc", "/dev/kfd", "libchip.so",
    ]  # fmt: skip
