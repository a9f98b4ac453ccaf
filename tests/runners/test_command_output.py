"""What a command prints is passed on at once and kept in part; one that does not end is ended."""

from __future__ import annotations

import subprocess
import sys

from onnxbuild.runners import command_output
from onnxbuild.runners.command_output import read_to_end
from onnxbuild.runners.processes import out_of_reach_of_ctrl_c


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-c", code], stdout=subprocess.PIPE, text=True, **out_of_reach_of_ctrl_c()
    )


def test_each_line_is_passed_on_and_all_are_returned() -> None:
    heard: list[str] = []
    process = start("print('one'); print('two'); raise SystemExit(3)")
    assert read_to_end(process, heard.append) == "one\ntwo\n"
    assert heard == ["one", "two"]
    assert process.returncode == 3


def test_of_many_lines_the_last_are_kept(monkeypatch) -> None:
    monkeypatch.setattr(command_output, "_LINES", 3)
    assert read_to_end(start("for n in range(100): print(n)"), lambda _line: None) == "97\n98\n99\n"


def test_a_line_that_does_not_end_comes_in_pieces(monkeypatch) -> None:
    monkeypatch.setattr(command_output, "_LINE_CHARACTERS", 4)
    heard: list[str] = []
    assert read_to_end(start("print('abcdefghij', end='')"), heard.append) == "abcdefghij"
    assert heard == ["abcd", "efgh", "ij"]


def test_a_command_that_does_not_end_is_ended(monkeypatch) -> None:
    monkeypatch.setattr(command_output, "_SECONDS", 0.5)
    process = start("print('begun', flush=True)\nimport time\ntime.sleep(600)")
    assert read_to_end(process, lambda _line: None) == "begun\n"
    assert process.returncode != 0
