"""The live view on a pseudo-terminal: however the process ends, the cursor comes back."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from onnxbuild.execute.events import ActionStarted, RunStarted
from onnxbuild.report.progress.reporter import reporter_for

reporter = reporter_for("auto", sys.stderr)
reporter.event(RunStarted(actions=("a:export",), jobs=1))
reporter.event(ActionStarted(id="a:export", kind="export"))
reporter.draw()
{end}
"""


def output_on_a_terminal(end, **environ):
    reading, terminal = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(end=end)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "CI": "", "PYTHONUTF8": "1", **environ},
    )
    os.close(terminal)
    parts = []
    try:
        while part := os.read(reading, 4096):
            parts.append(part)
    except OSError:
        pass  # Linux says so when the last writer has gone
    os.close(reading)
    done.wait(30)
    return b"".join(parts).decode()


@pytest.mark.parametrize(
    "end", ["", "sys.exit(1)", "raise KeyboardInterrupt", "raise RuntimeError('boom')", "reporter.close()"]
)
def test_the_cursor_comes_back(end):
    output = output_on_a_terminal(end)
    assert "a:export" in output
    assert output.count("\x1b[?25l") == 1
    assert output.rindex("\x1b[?25h") > output.rindex("running")


def test_no_color_leaves_no_colour():
    finish = (
        "from onnxbuild.execute.events import ActionFinished, Outcome\n"
        "reporter.event(ActionFinished(outcome=Outcome(id='a:export', kind='export', outcome='built')))\n"
        "reporter.close()"
    )
    assert "\x1b[32mbuilt\x1b[0m" in output_on_a_terminal(finish, NO_COLOR="")
    assert "\x1b[32m" not in output_on_a_terminal(finish, NO_COLOR="1")


def test_a_second_interrupt_leaves_the_prompt_on_a_line_of_its_own():
    twice = (
        "import os, signal\n"
        "from onnxbuild.commands.building.interrupts import interruptible\n"
        "with interruptible():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still there')"
    )
    output = output_on_a_terminal(twice)
    assert output.endswith(", 0 left\r\x1b[2K\x1b[?25hinterrupted: stopped at once; run again to continue\r\n")
