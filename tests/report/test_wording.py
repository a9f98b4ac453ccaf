"""Lines that break at spaces, and on a terminal nowhere else."""

import os
import pty
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxbuild.report.wording import age_in_words, cells, counted, folded, size_in_words

WROTE = "wrote manifests/out/minilm/fp32/, manifests/out/minilm/o2/, manifests/out/minilm/int8/, manifests/out/m/q4/"


def test_lines_break_at_spaces_and_their_rest_is_indented():
    assert folded(f"{WROTE}\n  because of  two", 60) == (
        "wrote manifests/out/minilm/fp32/, manifests/out/minilm/o2/,\n"
        "  manifests/out/minilm/int8/, manifests/out/m/q4/\n"
        "  because of  two"
    )
    assert folded("    two words", 8) == "    two\n    words"
    assert folded("label  a long value", 14, hang=7) == "label  a long\n       value"
    assert folded(WROTE, None) == WROTE


@given(st.text(alphabet="ab /モ\n", max_size=200), st.integers(min_value=1, max_value=80))
def test_no_word_is_broken_and_none_is_lost(text, width):
    lines = folded(text, width)
    assert lines.split() == text.split()
    for line in lines.split("\n"):
        assert cells(line) <= width or " " not in line.strip() or line in text.split("\n")


def test_one_is_not_many():
    assert [counted(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1_000, "1.0 kB"), (99_940, "99.9 kB"), (100_000, "0.1 MB"),
     (22_850_000, "22.9 MB")],
)  # fmt: skip
def test_a_size_that_is_not_zero_is_not_shown_as_zero(size, words):
    assert size_in_words(size) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 minutes"), (119, "1 minute"), (3_599, "59 minutes"), (5_400, "1.5 hours"), (216_000, "2.5 days")],
)
def test_an_age_has_the_unit_that_suits_it(seconds, words):
    assert age_in_words(seconds) == words


PROSE = {
    "a code": ["explain", "OB301"],
    "a failure code": ["explain", "OBE99"],
    "the machine": ["doctor"],
}


@pytest.mark.parametrize("arguments", PROSE.values(), ids=PROSE.keys())
def test_on_a_terminal_no_word_runs_over_its_edge(arguments):
    reading, terminal = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    command = [sys.executable, "-m", "onnxbuild", *arguments]
    environ = {**os.environ, "TERM": "xterm", "PYTHONUTF8": "1", "CI": ""}
    with subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environ):
        os.close(terminal)
        text = b""
        try:
            while part := os.read(reading, 4096):
                text += part
        except OSError:
            pass  # Linux says so when the last writer has gone
        os.close(reading)
    lines = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text.decode()).replace("\r", "").splitlines()
    prose = [line for line in lines if not line.startswith("    ")]
    assert len(lines) > 4
    assert [line for line in prose if cells(line) > 60 and " " in line.strip()] == []
