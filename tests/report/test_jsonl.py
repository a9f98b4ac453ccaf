import io
import json
from pathlib import Path

import jsonschema
from report_worlds import outcome, outcomes_of

from onnxbuild.execute.events import (
    ActionFinished,
    ActionProgress,
    ActionStarted,
    Reason,
    RunFinished,
    RunStarted,
)
from onnxbuild.protocol import Failure
from onnxbuild.report.progress.jsonl import JsonLines, events_schema, events_schema_text

QUANTIZE = outcome(
    "m/int8:quantize",
    "built",
    reasons=(Reason("params.preset", "avx2", "arm64"),),
    seconds=1.2,
    facts={"operators": 36, "loss": float("nan")},
    outputs={"model": "ab"},
    key="cd",
)
VALIDATE = outcome("m/int8:validate", "failed", failure=Failure(code="OBE04", message="too far off"), log="log.txt")
EVENTS = (
    RunStarted(actions=("m/int8:quantize", "m/int8:validate"), jobs=2),
    ActionStarted(id="m/int8:quantize", kind="quantize"),
    ActionProgress(id="m/int8:quantize", done=1, total=2),
    ActionFinished(outcome=QUANTIZE),
    ActionFinished(outcome=VALIDATE),
    RunFinished(outcomes=outcomes_of(QUANTIZE, VALIDATE), seconds=3.5),
)


def written(events):
    stream = io.StringIO()
    reporter = JsonLines(stream)
    for event in events:
        reporter.event(event)
    reporter.close()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_action_is_one_flat_object():
    assert written(EVENTS)[3] == {
        "event": "action",
        "id": "m/int8:quantize",
        "kind": "quantize",
        "outcome": "built",
        "reasons": [{"part": "params.preset", "old": "avx2", "new": "arm64"}],
        "seconds": 1.2,
        "facts": {"operators": 36, "loss": None},
        "outputs": {"model": "ab"},
        "key": "cd",
        "failure": None,
        "blocked_by": None,
        "log": None,
    }


def test_the_last_line_is_the_summary():
    assert written(EVENTS)[-1] == {
        "event": "summary",
        "actions": 2,
        "counts": {"built": 1, "failed": 1},
        "failed": ["m/int8:validate"],
        "seconds": 3.5,
        "interrupted": False,
        "undelivered": {},
    }


def test_every_line_fits_the_schema():
    validator = jsonschema.Draft202012Validator(events_schema())
    lines = written(EVENTS)
    assert [line["event"] for line in lines] == ["start", "started", "progress", "action", "action", "summary"]
    assert [error.message for line in lines for error in validator.iter_errors(line)] == []


def test_the_schema_refuses_an_unknown_outcome():
    line = {**written(EVENTS)[3], "outcome": "finished"}
    assert not jsonschema.Draft202012Validator(events_schema()).is_valid(line)


def test_the_schema_in_the_repository_is_the_generated_one():
    path = Path(__file__).parents[2] / "schemas" / "events.schema.json"
    assert path.read_text(encoding="utf-8") == events_schema_text(), "stale: run `make schemas`"
