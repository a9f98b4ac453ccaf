import io

import pytest
from report_worlds import outcome

from onnxbuild.execute.events import ActionFinished, ActionProgress, ActionStarted, Reason, RunFinished, RunStarted
from onnxbuild.protocol import Failure
from onnxbuild.report.progress.lines import Lines, finished_lines
from onnxbuild.report.wording import seconds_in_words


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_what_a_step_chose_stands_below_its_line_with_the_reason():
    facts = {"because": "optimum knows bert for fill-mask", "warnings": ["a layer did not fuse"]}
    built = outcome("a:export", "built", seconds=3.2, reasons=(Reason("params.opset", 18, 20),), facts=facts)
    assert finished_lines(built) == [
        "built     a:export  3.2s",
        "          params.opset: 18 → 20",
        "          optimum knows bert for fill-mask",
        "          warning: a layer did not fuse",
    ]


def test_a_run_as_lines():
    stream, clock = io.StringIO(), Clock()
    lines = Lines(stream, clock=clock)
    lines.event(RunStarted(actions=("a:fetch", "a:quantize", "a:validate", "a:benchmark"), jobs=2))
    lines.event(ActionFinished(outcome=outcome("a:fetch", "hit")))
    lines.event(ActionStarted(id="a:quantize", kind="quantize"))
    built = outcome("a:quantize", "built", seconds=3.2, reasons=(Reason("params.preset", "avx2", "arm64"),))
    lines.event(ActionFinished(outcome=built))
    failure = Failure(code="OBE04", message="cosine_mean 0.9 is below 0.98\nsecond \x1b[31mline")
    lines.event(ActionFinished(outcome=outcome("a:validate", "failed", seconds=61, failure=failure)))
    lines.event(ActionFinished(outcome=outcome("a:benchmark", "blocked", blocked_by="a:validate")))
    lines.event(RunFinished(outcomes={}, seconds=64.2))
    lines.close()
    assert stream.getvalue() == (
        "hit       a:fetch\n"
        "built     a:quantize  3.2s\n"
        "          params.preset: avx2 → arm64\n"
        "failed    a:validate  1m01s\n"
        "          OBE04 cosine_mean 0.9 is below 0.98\n"
        "            second  [31mline\n"
        "blocked   a:benchmark  (needs a:validate)\n"
    )


def test_progress_is_reported_every_ten_seconds():
    stream, clock = io.StringIO(), Clock()
    lines = Lines(stream, clock=clock)
    lines.event(ActionStarted(id="a:benchmark", kind="benchmark"))
    for second in range(1, 26):
        clock.now = float(second)
        lines.event(ActionProgress(id="a:benchmark", text="round 1", done=second, total=80))
    assert stream.getvalue() == (
        "running   a:benchmark  10s  10/80 round 1\nrunning   a:benchmark  20s  20/80 round 1\n"
    )


def test_warnings_stand_below_the_action():
    facts = {"warnings": ["OBE19 the generation\nconfig \x1b[31mis invalid", 7, "attention did not fuse"]}
    built = outcome("a:export", "built", seconds=1, reasons=(Reason("trace", None, None),), facts=facts)
    assert finished_lines(built) == [
        "built     a:export  1.0s",
        "          warning: OBE19 the generation config  [31mis invalid",
        "          warning: attention did not fuse",
    ]
    assert finished_lines(outcome("a:export", "built", seconds=1, facts={"warnings": "no list"})) == [
        "built     a:export  1.0s"
    ]


def test_a_skipped_action_is_counted_at_the_end_and_has_no_line():
    assert finished_lines(outcome("a:benchmark", "skipped", blocked_by="a:export")) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0s"),
        (0.44, "0.4s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (3599.7, "1h00m"),
        (3725, "1h02m"),
    ],
)
def test_seconds_in_words(seconds, words):
    assert seconds_in_words(seconds) == words


def test_a_first_build_has_no_reason_worth_a_line():
    built = outcome("a:export", "built", seconds=3.2, reasons=(Reason("trace", None, "never built"),))
    assert finished_lines(built) == ["built     a:export  3.2s"]


def test_a_forced_build_says_so_below_its_line():
    built = outcome("a:export", "built", seconds=3.2, reasons=(Reason("forced", None, "--force"),))
    assert finished_lines(built) == ["built     a:export  3.2s", "          forced by `--force`"]
