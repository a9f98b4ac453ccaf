"""What the store remembers of a failure: `explain` and `status` show what it measured, without a run."""

from onnxbuild.execute.events import Outcome
from onnxbuild.execute.last_outcomes import LastOutcomes
from onnxbuild.protocol import Failure
from onnxbuild.store.store import Store

SCOPE = "/somewhere/m.yaml"


def failed(measured):
    failure = Failure(code="OBE04", message="too far", facts={"metrics": {"top1": measured}})
    return Outcome(id="m/a:validate", kind="validate", outcome="failed", failure=failure)


def test_a_failure_is_remembered_with_what_it_measured(tmp_path):
    with Store(tmp_path / "store") as store:
        LastOutcomes(store, SCOPE).note(failed(0.25))
        last = store.traces.last(SCOPE)["m/a:validate"]
        assert (last.outcome, last.message, last.facts) == ("failed", "OBE04 too far", {"metrics": {"top1": 0.25}})
        LastOutcomes(store, SCOPE).note(failed(0.75))
        assert store.traces.last(SCOPE)["m/a:validate"].facts == {"metrics": {"top1": 0.75}}
