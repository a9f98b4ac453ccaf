"""What is printed commands no terminal, is found with colours where rich draws, and is lost without an exception."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_worlds import outcome

from onnxbuild.diagnostics import Source, Span, fault
from onnxbuild.execute.events import ActionFinished, ActionProgress, ActionStarted, RunStarted
from onnxbuild.protocol import Failure
from onnxbuild.report.outlet import Outlet, draw
from onnxbuild.report.progress.live import LiveView
from onnxbuild.report.render_diagnostics import FORMATS, as_text, render
from onnxbuild.secrets import register

EVIL = "\x1b[2J\x1b]0;title\x07\x9b31m\u202egnp.exe\r\x08\ud800\udcff\x7f\u2028"
NOT_UTF_8 = os.fsdecode(b"caf\xe9")
ANYTHING = st.text(st.one_of(st.characters(codec=None), st.sampled_from(EVIL)))
# What may reach a terminal: printable text, and rich's colours, cursor movements and erasing.
OURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[[0-9]*[AK]|\x1b\[\?25[lh]|\r|[\n\t]")
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\u2028\u2029\ud800-\udfff]")


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@given(ANYTHING)
def test_no_text_commands_a_terminal(text: str) -> None:
    below = io.StringIO()
    print(text, file=Outlet(below))
    assert UNSAFE.findall(below.getvalue().replace("\n", "").replace("\t", "")) == []


@given(ANYTHING)
def test_drawing_lets_only_our_own_sequences_through(text: str) -> None:
    below = io.StringIO()
    draw(f"\x1b[1;31m{text}\x1b[0m\x1b[2K\x1b[1A\x1b[?25l\r", Outlet(below))
    assert below.getvalue().endswith("\x1b[0m\x1b[2K\x1b[1A\x1b[?25l\r")
    assert UNSAFE.findall(OURS.sub("", below.getvalue())) == []


@pytest.mark.parametrize("coloured", [True, False])
@given(text=ANYTHING)
def test_names_and_messages_are_drawn_as_text(*, coloured: bool, text: str) -> None:
    """Neither in a code frame nor in the live view does a colour come from outside."""
    span = Span(Source(f"{text}.yaml", f"models: {text} \x1b[31m"), 1, 1, 6)
    one = fault("OB001", f"{text}\x1b[31mred", span=span, hint=f"{text}\x1b[35mhint", subject=f"{text}\x1b[36m")
    drawn = as_text(one, colour=coloured, width=60)
    assert UNSAFE.findall(OURS.sub("", drawn) if coloured else drawn.replace("\n", "").replace("\t", "")) == []
    for sequence in ("\x1b[35m", "\x1b[36m"):
        assert sequence not in drawn


@given(ANYTHING)
def test_the_live_view_shows_ids_and_progress_as_text(text: str) -> None:
    terminal = Tty()
    view = LiveView(Outlet(terminal), colour=True, size=lambda: (70, 20), timer=False)  # type: ignore[arg-type]
    name = f"m/{text}\x1b[36m:toy"
    view.event(RunStarted(actions=(name,), jobs=1))
    view.event(ActionStarted(id=name, kind="toy"))
    view.event(ActionProgress(id=name, text=f"{text}\x1b[2J"))
    view.draw()
    failure = Failure(code="OBE99", message=f"{text}\x1b[35m")
    view.event(
        ActionFinished(outcome=outcome(name, "failed", failure=failure, facts={"warnings": [f"\x1b[34m{text}"]}))
    )
    view.close()
    shown = terminal.getvalue()
    assert UNSAFE.findall(OURS.sub("", shown)) == []
    for sequence in ("\x1b[2J", "\x1b[34m", "\x1b[35m", "\x1b[36m"):
        assert sequence not in shown
    assert shown.count("\x1b[?25h") == 1


@pytest.mark.parametrize("format_", FORMATS)
def test_every_format_of_diagnostics_is_safe_and_valid(format_: str) -> None:
    message = f"bad {EVIL}".encode("utf-8", "ignore").decode()  # a name that is not UTF-8 has no equal in JSON
    span = Span(Source(f"{NOT_UTF_8}\x9b.yaml", "a: b"), 1, 1)
    below = io.StringIO()
    Outlet(below).write(render([fault("OB001", message, span=span)], format_))  # type: ignore[arg-type]
    text = below.getvalue()
    assert UNSAFE.findall(text.replace("\n", "")) == []
    if format_ == "json":
        assert [(one["message"], one["file"]) for one in json.loads(text)] == [(message, "caf\\xe9\\u009b.yaml")]
    if format_ == "sarif":
        (result,) = json.loads(text)["runs"][0]["results"]
        assert result["message"]["text"] == message
        assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "caf%E9%C2%9B.yaml"


def test_a_secret_is_masked_before_a_line_is_cut_or_wrapped() -> None:
    register("sesame-open-sesame")
    line = f"remote: {'x' * 140}sesame-open-sesame"
    one = fault(
        "OB001", "no access with sesame-open-sesame", span=Span(Source("m.yaml", line), 1, 1), hint="sesame-open-sesame"
    )
    for width in range(20, 60):
        assert "sesame" not in as_text(one, colour=True, width=width)
    assert "sesame" not in as_text(one)


class Broken(io.StringIO):
    """A stream that takes nothing from its second write on."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error, self.writes = error, 0

    def write(self, text: str) -> int:
        self.writes += 1
        if self.writes > 1:
            raise self.error
        return super().write(text)


@pytest.mark.parametrize(
    ("error", "lost", "left"),
    [
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "Broken pipe", True),
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device", False),
        (OSError(errno.EIO, "Input/output error"), "Input/output error", False),
        (ValueError("I/O operation on closed file"), "the stream is closed", False),
    ],
)
def test_a_lost_stream_raises_nothing_and_is_remembered(*, error: Exception, lost: str, left: bool) -> None:
    below = Broken(error)
    outlet = Outlet(below)
    assert outlet.write("one") == 3
    assert outlet.lost is None
    print("two", file=outlet)
    outlet.flush()
    draw("three", outlet)
    assert (outlet.lost, outlet.reader_left, below.getvalue()) == (lost, left, "one")


def test_a_pipe_without_a_reader_is_replaced_by_the_null_device() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8") as below:
        outlet = Outlet(below)
        outlet.write("x" * 100_000)
        outlet.flush()
        assert outlet.reader_left
        assert os.fstat(below.fileno()).st_rdev == os.stat(os.devnull).st_rdev


def test_a_slow_reader_of_a_non_blocking_pipe_gets_everything() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    received: list[bytes] = []

    def read() -> None:
        while data := os.read(reading, 1000):
            received.append(data)

    thread = threading.Thread(target=read)
    with open(writing, "w", encoding="utf-8") as below:
        outlet = Outlet(below)
        thread.start()
        for _ in range(300):
            outlet.write("x" * 1000)
        outlet.flush()
    thread.join()
    os.close(reading)
    assert sum(map(len, received)) == 300_000
    assert outlet.lost is None


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_encoding_shows_something(encoding: str) -> None:
    below = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    outlet = Outlet(below)
    outlet.write(f"→ é 名 {EVIL}\n")
    outlet.flush()
    assert outlet.lost is None
    assert outlet.encoding == encoding
    assert below.buffer.getvalue().startswith("→ é 名".encode(encoding, "replace"))  # type: ignore[attr-defined]
