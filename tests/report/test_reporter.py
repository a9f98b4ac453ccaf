import io

import pytest

from onnxbuild.report.progress.jsonl import JsonLines
from onnxbuild.report.progress.lines import Lines
from onnxbuild.report.progress.live import LiveView
from onnxbuild.report.progress.reporter import Quiet, reporter_for
from onnxbuild.report.terminal import can_redraw, wants_colour, width_of


class Stream(io.StringIO):
    def __init__(self, *, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


@pytest.mark.parametrize(
    ("mode", "terminal", "environ", "kind"),
    [
        ("auto", True, {"TERM": "xterm"}, LiveView),
        ("auto", True, {"TERM": "dumb"}, Lines),
        ("auto", True, {}, Lines),
        ("auto", True, {"TERM": "xterm", "CI": "true"}, Lines),
        ("auto", True, {"TERM": "xterm", "CI": "false"}, LiveView),
        ("auto", False, {"TERM": "xterm"}, Lines),
        ("lines", True, {"TERM": "xterm"}, Lines),
        ("json", True, {"TERM": "xterm"}, JsonLines),
        ("quiet", True, {"TERM": "xterm"}, Quiet),
    ],
)
def test_the_reporter_suits_where_the_output_goes(mode, terminal, environ, kind):
    reporter = reporter_for(mode, Stream(terminal=terminal), environ=environ)
    assert type(reporter) is kind
    reporter.close()


@pytest.mark.parametrize(("no_color", "colour"), [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)])
def test_no_color(no_color, colour):
    assert wants_colour(Stream(terminal=True), {"TERM": "xterm", **no_color}) is colour


@pytest.mark.parametrize(
    ("environ", "redraws", "coloured"),
    [
        ({}, True, False),
        ({"WT_SESSION": "7"}, True, True),
        ({"WT_SESSION": "7", "NO_COLOR": "1"}, True, False),
        ({"WT_SESSION": "7", "CI": "1"}, False, False),
        ({"TERM": "dumb"}, False, False),
        ({"TERM": "xterm-256color"}, True, True),
    ],
)
def test_a_windows_console_sets_no_term(monkeypatch, environ, redraws, coloured):
    monkeypatch.setattr("sys.platform", "win32")
    stream = Stream(terminal=True)
    assert (can_redraw(stream, environ), wants_colour(stream, environ)) == (redraws, coloured)


def test_a_pipe_has_no_width():
    assert width_of(Stream(terminal=False)) is None
    assert width_of(Stream(terminal=True)) is None  # it claims to be a terminal, but has no file descriptor
