import io

import pytest

from onnxbuild.report.progress.jsonl import JsonLines
from onnxbuild.report.progress.lines import Lines
from onnxbuild.report.progress.live import LiveView
from onnxbuild.report.progress.reporter import Quiet, reporter_for
from onnxbuild.report.terminal import wants_colour


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
