"""What a step needs is asked of the environment that the caller means, and of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxbuild.needs.step_needs import CODE_OF, FILE, PROGRAM, first_absent, need_name


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


def test_the_code_of_a_plugin_is_there_with_its_declaration() -> None:
    assert first_absent((f"{CODE_OF}toy_steps",), nothing) is None


def test_a_person_calls_them_by_their_names() -> None:
    assert [*map(need_name, ("onnx", f"{PROGRAM}chipc", f"{FILE}/dev/kfd"))] == ["onnx", "chipc", "/dev/kfd"]
