"""rich is loaded only where a person watches a run with something to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORLD = """
import io, sys
from onnxbuild.execute.events import ActionFinished, Outcome, RunStarted
from onnxbuild.diagnostics import fault
from onnxbuild.report.progress.reporter import reporter_for
from onnxbuild.report.render_diagnostics import render, show
from onnxbuild.report.result.summary import summary
from onnxbuild.planning.action_graph import Action, ActionGraph, OutputRef, Variant

class Stream(io.StringIO):
    def isatty(self):
        return TERMINAL

action = Action(id="a/b:export", kind="export", params={}, inputs={})
variant = Variant(model="a", target="b", output=OutputRef("a/b:export", "model"), precision="fp32",
                  steps=("a/b:export",), checks=(), measures=())
graph = ActionGraph({action.id: action}, (variant,))

def outcomes(how):
    return {action.id: Outcome(id=action.id, kind="export", outcome=how, facts={"bytes": 7_000_000})}
"""
IDLE = "print(summary(graph, outcomes('hit'), seconds=0.1, width=60, colour=TERMINAL))"
WATCHED = """
reporter = reporter_for("auto", Stream())
reporter.event(RunStarted(actions=("a/b:export",), jobs=1))
reporter.close()
"""


def loads_rich(code, *, terminal, **environ):
    script = f"TERMINAL = {terminal}\n{WORLD}\n{code}\nprint('rich' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "CI": "", "NO_COLOR": "", **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1] == "True"


@pytest.mark.parametrize(
    ("code", "terminal", "environ", "loaded"),
    [
        (IDLE, True, {}, False),
        (IDLE.replace("'hit'", "'built'"), True, {}, True),
        (IDLE.replace("'hit'", "'built'"), False, {}, False),
        (WATCHED, True, {}, True),
        (WATCHED, True, {"CI": "true"}, False),
        (WATCHED, True, {"TERM": "dumb"}, False),
        (WATCHED, False, {}, False),
        (WATCHED.replace("auto", "json"), True, {}, False),
        ("show([fault('OB001', 'unknown key')], Stream())", True, {}, True),
        ("show([fault('OB001', 'unknown key')], Stream())", True, {"NO_COLOR": "1"}, False),
        ("show([fault('OB001', 'unknown key')], Stream())", False, {}, False),
        ("show([], Stream())", True, {}, False),
        ("render([fault('OB001', 'unknown key')], 'sarif')", True, {}, False),
    ],
)
def test_rich_is_loaded_only_for_what_a_person_watches(code, terminal, environ, loaded):
    assert loads_rich(code, terminal=terminal, **environ) is loaded
