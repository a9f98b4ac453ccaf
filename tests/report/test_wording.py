"""Lines that break at spaces, and on a terminal nowhere else."""

import os
import pty
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxbuild.report.wording import cells, folded

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
