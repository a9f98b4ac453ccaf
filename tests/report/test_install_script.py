"""The lines of `make demo`'s installation, with a package that stands in for pip."""

import os
import pty
import subprocess
import sys
from pathlib import Path

INSTALL = Path(__file__).parents[2] / ".ci" / "install.py"
PIP = """
import sys
def say(text, stream): print(text, file=stream, flush=True)
say("  Downloading pillow-13.0.0-cp311-cp311-linux.whl (7.1 MB)", sys.stdout)
sys.stdin.readline()
say("WARNING: Location is ignored", sys.stderr)
sys.stdin.readline()
say("Installing collected packages: pillow, numpy", sys.stdout)
sys.exit(7)
"""


def until(reading: int, end: str) -> str:
    """What is written until a text appears."""
    text = ""
    while end not in text:
        text += os.read(reading, 4096).decode()
    return text


def test_a_warning_of_pip_replaces_the_line_that_is_rewritten(tmp_path):
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__init__.py").touch()
    (tmp_path / "pip" / "__main__.py").write_text(PIP)
    reading, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, str(INSTALL), "x"], stdin=subprocess.PIPE, stdout=terminal, stderr=terminal, text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    ) as process:  # fmt: skip
        assert process.stdin is not None
        shown = until(reading, "(7.1 MB)")
        process.stdin.write("\n")
        process.stdin.flush()
        shown += until(reading, "ignored\r\n")
        process.stdin.write("\n")
        process.stdin.flush()
        shown += until(reading, "minute\r\n")
    assert process.returncode == 7
    assert [line.rpartition("\x1b[K")[2] for line in shown.split("\r\n")] == [
        "collecting packages", "WARNING: Location is ignored", "installing 2 packages: up to a minute", "",
    ]  # fmt: skip
