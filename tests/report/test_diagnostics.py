import io
import json
import re

import pytest

from onnxbuild.diagnostics import Diagnostic, Source, Span, fault
from onnxbuild.report.outlet import Outlet
from onnxbuild.report.render_diagnostics import as_github, as_text, render, show
from onnxbuild.report.terminal import wants_colour

TEXT = "models:\n  bert:\n      quantize:\n        per_chanel: true\n"
SPAN = Span(Source("manifests/bert.yaml", TEXT), 4, 9, 10)
UNKNOWN = fault("OB001", "unknown key `per_chanel`", span=SPAN, hint="did you mean `per_channel`?")
WARNING = fault("OB101", "not pinned, 100%:\nso", severity="warning", span=Span(SPAN.source, 2, 3, 4))
FAILED = Diagnostic(
    code="OBE04",
    subject="bert/cpu-int8:validate",
    message="label agreement 0.971 is below 0.99",
    notes=(("ran because", "input `model` changed"), ("log", "logs/x.txt")),
)


def at(text, line, column, length=1):
    return as_text(fault("OB1", "m", span=Span(Source("f", text), line, column, length))).splitlines()[2:]


def test_text():
    assert render([UNKNOWN, FAILED], "text") == (
        "OB001 unknown key `per_chanel`\n"
        " --> manifests/bert.yaml:4:9\n"
        "  |\n"
        "3 |       quantize:\n"
        "4 |         per_chanel: true\n"
        "  |         ^^^^^^^^^^\n"
        "  = hint: did you mean `per_channel`?\n"
        "\n"
        "OBE04 bert/cpu-int8:validate failed: label agreement 0.971 is below 0.99\n"
        "  = ran because: input `model` changed\n"
        "  = log: logs/x.txt\n"
    )


SECRET = "https://user:a-very-long-password@host/x?sig=0123456789"


@pytest.mark.parametrize("marked", [SECRET, "host/x", "after"])
def test_carets_stand_below_masked_text(marked):
    line = f"remote: [{SECRET}, after]"
    place = Span(Source("f", line), 1, line.index(marked) + 1, len(marked))
    below = io.StringIO()
    Outlet(below).write(as_text(fault("OB1", "m", span=place)))
    *_, shown, carets = below.getvalue().splitlines()
    masked = f"1 | remote: [https://{'*' * 25}@host/x?{'*' * 15} after]"
    assert shown == masked
    assert (
        shown[carets.index("^") : carets.rindex("^") + 1]
        == {
            SECRET: f"https://{'*' * 25}@host/x?{'*' * 14}",
            "host/x": "host/x",
            "after": "after",
        }[marked]
    )


def test_notes_wrap_at_spaces_and_commands_do_not():
    one = Diagnostic(
        code="OB1",
        message="a message that is long",
        notes=(("hint", "a hint with a/rather/long/path in it"), ("again", "run a b c d e f")),
    )
    assert as_text(one, width=20).splitlines() == [
        "OB1 a message that",
        "    is long",
        "  = hint: a hint",
        "          with",
        "          a/rather/long/path",
        "          in it",
        "  = again: run a b c d e f",
    ]


def test_a_warning_says_so():
    assert as_text(fault("OB101", "not pinned", severity="warning")) == "OB101 warning: not pinned"
    assert as_text(fault("OB1", "m", severity="info", subject="a:b")) == "OB1 info: a:b: m"


def test_nothing_is_nothing():
    assert [render([], one) for one in ("text", "github", "json")] == ["", "", "[]\n"]


def test_line_numbers_share_a_margin():
    assert at("\n" * 8 + "before\nhere\n", 10, 1, 4) == ["   |", " 9 | before", "10 | here", "   | ^^^^"]


def test_a_blank_line_before_is_left_out():
    assert at("  \nhere\n", 2, 1, 4) == ["  |", "2 | here", "  | ^^^^"]


@pytest.mark.parametrize(
    ("line", "column", "length", "carets"),
    [
        ("a\tb: c", 3, 1, " \t^"),
        ("名前: x", 1, 2, "^^^^"),
        ("名前: x", 5, 1, "      ^"),
        ("e\u0301: x", 4, 1, "  ^"),
        ("ab", 3, 1, "  ^"),
        ("ab", 1, 99, "^^"),
    ],
)
def test_the_caret_stands_below(line, column, length, carets):
    assert at(line, 1, column, length)[-1] == f"  | {carets}"


def test_a_long_line_is_cut_around_its_place():
    frame = at("x" * 1000 + "HERE" + "y" * 1000, 1, 1001, 4)
    assert frame[1] == "1 | …" + "x" * 39 + "HERE" + "y" * 115 + "…"
    assert frame[2] == "  | " + " " * 40 + "^^^^"


@pytest.mark.parametrize(
    ("line", "column", "shown"),
    [
        ("x" * 160, 3, "x" * 160),
        ("x" * 161, 3, "x" * 159 + "…"),
        ("x" * 160 + "   ", 3, "x" * 160),
        ("x" * 161, 61, "…" + "x" * 140),
    ],
)
def test_an_ellipsis_stands_where_a_line_is_cut_and_nowhere_else(line, column, shown):
    assert at(line, 1, column, 5)[1] == f"1 | {shown}"


def test_control_characters_do_not_reach_the_terminal():
    text = as_text(fault("OB1", "found `\x1b[2J`", span=Span(Source("f\x07", "a: \x1b[31m"), 1, 4, 5), hint="\x9b"))
    assert not any(one in text for one in "\x1b\x07\x9b")


def test_notes_of_several_lines_are_indented():
    assert as_text(Diagnostic(code="OB1", message="m", notes=(("log", "a\nb"),))) == "OB1 m\n  = log: a\n         b"


def test_colour_on_a_terminal_that_wants_it(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    stream = Terminal()
    show([UNKNOWN], stream)
    assert "\x1b[31m" in stream.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())


def test_colour_adds_nothing_but_colour():
    assert re.sub(r"\x1b\[[\d;]+m", "", as_text(UNKNOWN, colour=True)) == as_text(UNKNOWN)


def test_json():
    assert json.loads(render([UNKNOWN, FAILED], "json")) == [
        {
            "code": "OB001",
            "severity": "error",
            "message": "unknown key `per_chanel`",
            "file": "manifests/bert.yaml",
            "line": 4,
            "column": 9,
            "end_column": 19,
            "notes": [{"label": "hint", "text": "did you mean `per_channel`?"}],
        },
        {
            "code": "OBE04",
            "severity": "error",
            "message": "label agreement 0.971 is below 0.99",
            "action": "bert/cpu-int8:validate",
            "notes": [
                {"label": "ran because", "text": "input `model` changed"},
                {"label": "log", "text": "logs/x.txt"},
            ],
        },
    ]


def test_github():
    assert as_github(UNKNOWN) == (
        "::error file=manifests/bert.yaml,line=4,col=9,endColumn=19,title=OB001"
        "::unknown key `per_chanel`%0Ahint: did you mean `per_channel`?"
    )
    assert as_github(WARNING) == (
        "::warning file=manifests/bert.yaml,line=2,col=3,endColumn=7,title=OB101::not pinned, 100%25:%0Aso"
    )
    assert as_github(fault("OB018", "no place")) == "::error title=OB018::no place"


def test_sarif():
    log = json.loads(render([UNKNOWN, WARNING, UNKNOWN], "sarif"))
    run = log["runs"][0]
    assert (log["version"], run["tool"]["driver"]["name"]) == ("2.1.0", "onnxbuild")
    assert [(one["id"], one["name"]) for one in run["tool"]["driver"]["rules"]] == [
        ("OB001", "unknown-key"),
        ("OB101", "unpinned-revision"),
    ]
    assert [(one["ruleId"], one["ruleIndex"], one["level"]) for one in run["results"]] == [
        ("OB001", 0, "error"),
        ("OB101", 1, "warning"),
        ("OB001", 0, "error"),
    ]
    assert run["results"][0]["locations"][0]["physicalLocation"] == {
        "artifactLocation": {"uri": "manifests/bert.yaml"},
        "region": {"startLine": 4, "startColumn": 9, "endColumn": 19},
    }


def lines_at(width, diagnostic):
    text = as_text(diagnostic, colour=True, width=width)
    return [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()]


def test_prose_is_wrapped_and_what_a_person_copies_is_not():
    notes = (
        ("hint", "use fewer jobs, or a machine with more memory"),
        ("accept", "add to the target `int8` this bound\n  validate: {thresholds: {cosine_mean: 0.97}}"),
        ("log", "/a/path/that/is/longer/than/the/terminal/log.txt"),
        ("again", "onnxbuild run a.yaml bert/int8:validate -D size=7"),
    )
    assert lines_at(36, Diagnostic(code="OBE05", message="the worker died while it loaded the model", notes=notes)) == [
        "OBE05 the worker died while it",
        "      loaded the model",
        "  = hint: use fewer jobs, or a",
        "          machine with more memory",
        "  = accept: add to the target `int8`",
        "            this bound",
        "              validate: {thresholds: {cosine_mean: 0.97}}",
        "  = log: /a/path/that/is/longer/than/the/terminal/log.txt",
        "  = again: onnxbuild run a.yaml bert/int8:validate -D size=7",
    ]


def test_a_code_frame_is_cut_to_the_terminal():
    line = "  int8: {optimize: O2, quantize: {method: dynamic}, validate: {thresholds: {cosine_mean: 0.9}}}"
    one = fault("OB1", "m", span=Span(Source("f", line), 1, line.index("validate") + 1, 8))
    frame = lines_at(48, one)[3:]
    assert max(map(len, frame)) <= 48
    assert frame[0][frame[1].index("^") :].startswith("validate")


def test_a_message_of_several_lines_is_indented():
    assert as_text(fault("OBE5", "the worker died\nout of memory")) == "OBE5 the worker died\n    out of memory"
