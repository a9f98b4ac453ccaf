"""Each way in which one action can end, and what a run then remembers and says."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toys import TOYS, Bench, InlineRunner, cat, graph_of, step

from onnxbuild.digest import digest_value
from onnxbuild.execute import perform
from onnxbuild.execute.decide import Hit, Rebuild, decide, differences, reasons_for
from onnxbuild.execute.events import ActionFinished, ActionProgress, ActionStarted, Outcome, Reason, RunStarted
from onnxbuild.execute.key import KeyParts, flatten
from onnxbuild.execute.last_outcomes import LastOutcomes
from onnxbuild.execute.pending import Pending
from onnxbuild.execute.perform import failure_of, system_failure
from onnxbuild.execute.policy import Interrupt
from onnxbuild.execute.preview import preview
from onnxbuild.execute.schedule import unreadable
from onnxbuild.planning.action_graph import FilesSource
from onnxbuild.protocol import CheckFailed, Failure, Request, Response
from onnxbuild.store.locks import Waiting
from onnxbuild.store.store import Store


def parts(**more: Any) -> KeyParts:
    settings = {"kind": "cat", "version": 1, "params": {}, "inputs": {}, "packages": {}, "toolchain": {}, **more}
    return KeyParts(**settings)


# -- deciding -----------------------------------------------------------------------------------------------------


def test_a_key_is_the_digest_of_every_part() -> None:
    changes = {"kind": "x", "version": 2, "params": {"a": 1}, "inputs": {"a": "b"}, "packages": {"a": "1"},
               "toolchain": {"python": "3"}}  # fmt: skip
    keys = {parts().key, *(parts(**{name: value}).key for name, value in changes.items())}
    assert len(keys) == 1 + len(changes)
    assert parts().key == digest_value(parts())


def test_nested_parts_have_dotted_names_and_empty_ones_stay() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": {}}, "e": 2}) == {"a.b.c": 1, "a.d": {}, "e": 2}
    assert flatten({"graphs": {"": "int8", "q4": {"": {}}}}) == {'graphs.""': "int8", 'graphs.q4.""': {}}


def test_parts_that_differ_are_named_in_order_with_both_values() -> None:
    found = differences({"b": {"x": 1, "same": (1, 2)}, "c": None}, {"b": {"x": 2, "same": [1, 2]}, "a": 3})
    assert found == (Reason("a", None, 3), Reason("b.x", 1, 2), Reason("c", None, None))


def test_a_part_that_is_empty_is_no_difference_to_an_absent_one():
    """An action of an older onnxbuild had no packages at all; what else changed is the reason."""
    old = {"packages": {}, "version": 1, "params": {"names": []}}
    assert differences(old, {"version": 2, "params": {}}) == (Reason("version", 1, 2),)
    assert differences(old, {**old, "packages": {"onnx": "1.2"}}) == (Reason("packages.onnx", None, "1.2"),)
    assert differences({"packages": {}}, {}) == (Reason("packages", {}, None),)  # else the run had no reason


def test_the_decision(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    made = bench.outcomes(step("a", text="x"))["a"]
    with Store(tmp_path / "store") as store:
        trace = store.traces.find(made.key)
        known = KeyParts(**trace.parts)
        assert decide(known, trace, store) == Hit(made.key, trace)
        assert decide(known, trace, store, force="--force") == Rebuild(made.key, (Reason("forced", None, "--force"),))
        other = decide(parts(), trace, store)
        assert isinstance(other, Rebuild)
        assert other.key == parts().key
        assert {one.part for one in other.reasons} >= {"packages.frob", "params.text"}
    assert reasons_for(known, None) == (Reason("trace", None, "never built"),)
    assert reasons_for(known, trace) == (Reason("store", "result", "missing or damaged"),)


# -- failing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_has_its_own_failure(number: int) -> None:
    failure = system_failure(OSError(number, "whatever", "file"))
    assert (failure.code, failure.message) == ("OBE52", "the disk is full")
    assert [label for label, _ in failure.notes] == ["hint"]


def test_an_error_of_the_system_names_its_file() -> None:
    assert system_failure(OSError(errno.EACCES, "Permission denied", "f")) == Failure(
        code="OBE54", message="Permission denied: f"
    )
    assert system_failure(OSError(errno.EIO, "Input/output error")).message == "Input/output error"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OSError(errno.ENOSPC, "x"), "OBE52", "the disk is full"),
        (MemoryError(), "OBE54", "memory ran out"),
        (ImportError("x.so: failed to map segment from shared object"), "OBE54", "memory ran out"),
        (
            RuntimeError("can't start new thread"), "OBE54",
            "the system allows no more threads, or has no memory for one",
        ),
        (UnicodeEncodeError("utf-8", "\udc80", 0, 1, "no"), "OBE77", "`\\x80` is not UTF-8"),
        (RuntimeError("cannot join thread before it is started"), "OBE99",
         "BUG: RuntimeError: cannot join thread before it is started"),
        (ImportError("no module"), "OBE99", "BUG: ImportError: no module"),
    ],
)  # fmt: skip
def test_what_the_system_lacks_is_no_bug_of_ours(error, code, message) -> None:
    failure = failure_of(error)
    assert (failure.code, failure.message) == (code, message)


def test_an_input_that_cannot_be_read_is_no_fault_of_the_store() -> None:
    assert unreadable(OSError(errno.EACCES, "Permission denied", "in/file")) == Failure(
        code="OBE55", message="input 'in/file' cannot be read: Permission denied"
    )
    assert unreadable(OSError(errno.EACCES, "Permission denied", "s/traces.db")).code == "OBE54"


def failing(root: Path, error: Exception, **policy: Any) -> tuple[Outcome, list[Any]]:
    def fail(*_: Any) -> None:
        raise error

    bench = Bench(root, InlineRunner({"cat": fail, "flaky": fail}))
    events = bench.events(step("a", "flaky"), **policy)
    return events[-1].outcomes["a"], events


def test_a_failure_is_tried_again_only_if_its_kind_and_the_failure_may_be_temporary(tmp_path: Path) -> None:
    outcome, events = failing(tmp_path, CheckFailed("OBE15", "reset", transient=False))
    assert not [one for one in events if isinstance(one, ActionProgress)]
    assert outcome.failure == Failure(code="OBE15", message="reset")

    def fail(*_: Any) -> None:
        raise CheckFailed("OBE15", "reset", transient=True)

    bench = Bench(tmp_path / "cat", InlineRunner({"cat": fail}))
    bench(step("a"))
    assert bench.runner.ran["a"] == 1


def test_pauses_between_tries_double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(perform.time, "sleep", pauses.append)
    outcome, events = failing(tmp_path, CheckFailed("OBE15", "reset", transient=True), backoff_seconds=3.0, attempts=4)
    assert pauses == [3.0, 6.0, 12.0]
    texts = [one.text for one in events if isinstance(one, ActionProgress)]
    assert texts == [f"reset; trying again in {pause} s" for pause in (3, 6, 12)]
    assert outcome.outcome == "failed"


class Silent(InlineRunner):
    """Answers only when it is told to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Future[Response]] = {}

    def submit(self, toolchain: str, request: Request, tell: Any) -> Future[Response]:
        self.answers[request.id] = Future()
        return self.answers[request.id]

    def cancel(self, request_id: str, why: Failure) -> None:
        self.answers[request_id].set_result(Response(id=request_id, failure=why))


def test_an_action_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    outcome = Bench(tmp_path, Silent()).outcomes(step("a"), timeout_seconds=0.25)["a"]
    assert outcome.failure is not None
    assert outcome.failure.code == "OBE62"
    assert outcome.failure.message == "did not end within 0.25 seconds and was stopped"
    assert outcome.seconds >= 0.25


def test_a_blob_that_is_damaged_again_after_each_repair_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxbuild.store.content import Content, DamagedBlob

    bench = Bench(tmp_path)
    bench(step("a", text="x"))

    def damaged(self: Content, tree: Any, folder: Path) -> None:
        raise DamagedBlob(tree.files[0].digest, "damaged")

    monkeypatch.setattr(Content, "view", damaged)
    found = bench.outcomes(step("a", text="x"), step("b", of="a"))["b"]
    assert found.outcome == "failed"
    assert found.failure is not None
    assert found.failure.code == "OBE56"
    assert found.failure.message.endswith(", and building it again did not help")


def test_what_was_a_bug_is_one_failed_action(tmp_path: Path) -> None:
    class Buggy(InlineRunner):
        def submit(self, toolchain: str, request: Request, tell: Any) -> Any:
            raise KeyError("oops")

    with Store(tmp_path / "store") as store:
        from onnxbuild.execute.policy import Policy
        from onnxbuild.execute.schedule import execute

        policy = Policy(scope="test", logs=str(tmp_path / "logs"))
        events = list(execute(graph_of(step("a")), kinds=TOYS, store=store, runner=Buggy(), policy=policy))
    failure = events[-1].outcomes["a"].failure
    assert (failure.code, failure.message) == ("OBE99", "BUG: KeyError: 'oops'")


def test_a_failed_action_names_its_log_if_there_is_one(tmp_path: Path) -> None:
    class Logging(InlineRunner):
        def submit(self, toolchain: str, request: Request, tell: Any) -> Any:
            if request.id == "a":
                Path(request.log).write_text("what happened")
            return super().submit(toolchain, request, tell)

    outcomes = Bench(tmp_path, Logging()).outcomes(step("a", fail=True), step("b", fail=True, text="b"))
    assert Path(outcomes["a"].log).read_text() == "what happened"
    assert outcomes["b"].log is None


# -- events and memory --------------------------------------------------------------------------------------------


def test_the_events_of_a_run_in_order(tmp_path: Path) -> None:
    def telling(params: Any, inputs: Any, outputs: Any, tell: Any) -> Any:
        from onnxbuild.protocol import Progress

        tell(Progress(id="a", text="half", done=1, total=2))
        return cat(params, inputs, outputs, tell)

    events = Bench(tmp_path, InlineRunner({"cat": telling})).events(step("a"), jobs=1)
    started = ActionStarted(id="a", kind="cat", reasons=(Reason("trace", None, "never built"),))
    assert events[0] == RunStarted(actions=("a",), jobs=1)
    assert events[1] == started
    assert events[2] == ActionProgress(id="a", text="half", done=1, total=2)
    assert isinstance(events[3], ActionFinished)
    assert not events[-1].interrupted
    assert events[-1].seconds >= 0


def test_the_store_remembers_the_last_outcome_and_the_key_of_the_last_success(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    made = bench.outcomes(step("a", text="x"))["a"]
    failed = bench.outcomes(step("a", text="y", fail=True))["a"]
    with Store(tmp_path / "store") as store:
        last = store.traces.last("test")["a"]
        assert (last.key, last.outcome, last.message) == (made.key, "failed", "OBE00 told to fail")
        assert last.ran.outcome == "failed"
        assert last.ran.key is None
        assert {one["part"] for one in last.reasons} == {"params.text", "params.fail"}
        assert LastOutcomes(store, "test").trace("a").outputs == made.outputs
        assert LastOutcomes(store, "test").trace("b") is None
    assert failed.reasons
    bench.outcomes(step("a", text="x"))
    with Store(tmp_path / "store") as store:
        last = store.traces.last("test")["a"]
        assert (last.outcome, last.ran.outcome) == ("hit", "failed")  # a hit runs nothing


def test_outcomes_are_saved_when_an_action_ran_and_else_at_the_end(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        last = LastOutcomes(store, "test")
        last.note(Outcome(id="a", kind="cat", outcome="blocked", blocked_by="z"))
        assert store.traces.last("test") == {}
        last.note(Outcome(id="b", kind="cat", outcome="failed", failure=Failure(code="OBE1", message="no")))
        assert store.traces.last("test").keys() == {"a", "b"}
        again = LastOutcomes(store, "test")
        again.note(Outcome(id="a", kind="cat", outcome="blocked"))
        assert again._unsaved == {}


# -- plans --------------------------------------------------------------------------------------------------------


def planned(bench: Bench, *actions: Any, **more: Any) -> dict[str, Outcome]:
    with Store(bench.root / "store") as store:
        found = preview(graph_of(*actions), kinds=TOYS, store=store, runner=bench.runner, scope="test", **more)
        return {one.id: one for one in found}


def test_a_plan_says_what_would_run_and_why(build: Bench) -> None:
    world = (step("a", text="x"), step("b", of="a"), step("c", text="c"))
    assert {name: one.reasons for name, one in planned(build, *world).items()} == dict.fromkeys(
        "abc", (Reason("trace", None, "never built"),)
    )
    build(*world)
    assert {one.outcome for one in planned(build, *world).values()} == {"hit"}
    changed = planned(build, step("a", text="y"), step("b", of="a", text="z"), step("c", text="c"))
    assert [one.outcome for one in changed.values()] == ["run", "run", "hit"]
    assert [one.part for one in changed["a"].reasons] == ["params.text"]
    assert [one.part for one in changed["b"].reasons] == ["params.text", "inputs.in0"]
    assert changed["b"].reasons[1].new == "rebuilt by a"
    forced = planned(build, *world, force=frozenset({"a"}))
    assert [one.outcome for one in forced.values()] == ["run", "run", "hit"]


def test_a_new_input_that_is_not_built_yet_is_one_reason(build: Bench) -> None:
    build(step("a", text="x"), step("b", of="a"))
    found = planned(build, step("a", text="x"), step("n", text="n"), step("b", of=["a", "n"]))
    assert found["b"].reasons == (Reason("inputs.in1", None, "rebuilt by n"),)


def test_a_plan_has_the_key_under_which_the_result_will_be_stored(build: Bench) -> None:
    key = planned(build, step("a", text="x"))["a"].key
    assert key == build.outcomes(step("a", text="x"))["a"].key


def test_a_plan_compares_the_inputs_that_are_known_while_another_is_not_built(build: Bench) -> None:
    build(step("a", text="x"), step("n", text="n"), step("b", of=["a", "n"]))
    found = planned(build, step("a", text="x"), step("n", text="changed"), step("b", of=["a", "n"]))
    assert [(one.part, one.new) for one in found["b"].reasons] == [("inputs.in1", "rebuilt by n")]


def test_a_plan_takes_results_from_elsewhere_but_not_for_what_is_forced(build: Bench, tmp_path: Path) -> None:
    made = build.outcomes(step("a", text="x"))["a"]
    with Store(build.root / "store") as store:
        trace = store.traces.find(made.key)
    other = Bench(tmp_path / "other")
    other(step("b"))
    asked: list[str] = []

    def elsewhere(key: str) -> Any:
        asked.append(key)
        return trace

    assert planned(other, step("a", text="x"), elsewhere=elsewhere)["a"].outcome == "hit"
    assert asked == [made.key]
    assert planned(other, step("a", text="x"), elsewhere=elsewhere, force=frozenset("a"))["a"].outcome == "run"


def test_a_plan_shows_inputs_that_cannot_be_read(build: Bench, tmp_path: Path) -> None:
    gone = step("a", files=FilesSource(str(tmp_path / "gone"), ("file",)))
    found = planned(build, gone, step("b"))
    assert found["a"].outcome == "failed"
    assert found["a"].failure.code == "OBE55"
    assert found["b"].outcome == "run"


# -- waiting ------------------------------------------------------------------------------------------------------


def test_ready_actions_come_in_the_order_of_the_graph() -> None:
    pending = Pending(graph_of(step("a"), step("b", of="a"), step("c"), step("d", of=["b", "c"])))
    assert [pending.pop(), pending.pop()] == ["a", "c"]
    assert not pending
    pending.release("c", finished={"c"})
    assert not pending  # d needs b, too
    pending.release("a", finished={"a", "c"})
    assert pending.pop() == "b"
    pending.release("b", finished={"a", "b", "c", "d"})
    assert not pending  # d has finished
    assert pending.users_of("a") == ["b", "d"]
    assert pending.users_of("d") == []


def test_an_action_that_waits_again_is_released_by_its_makers() -> None:
    pending = Pending(graph_of(step("a"), step("b"), step("c", of=["a", "b"]), step("d", of=["a", "c"])))
    for name in ("a", "b"):
        assert pending.pop() == name
        pending.release(name, finished={"a", "b"})
    assert pending.pop() == "c"
    pending.wait_again("c", makers={"a"}, restarted={"a"})
    assert pending.pop() == "a"
    assert not pending
    pending.release("a", finished={"b"})
    assert pending.pop() == "c"
    pending.release("c", finished={"a", "b"})
    assert pending.pop() == "d"


class Held(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()

    def submit(self, toolchain: str, request: Request, tell: Any) -> Future[Response]:
        future = super().submit(toolchain, request, tell)
        self.asked.set()
        return future

    def close(self) -> None:
        for name, answer in self.answers.items():
            if not answer.done():
                self.cancel(name, Failure(code="OBE61", message="interrupted"))


def test_an_interrupt_wakes_a_run_that_waits(tmp_path: Path) -> None:
    runner, interrupt = Held(), Interrupt()
    threading.Thread(target=lambda: (runner.asked.wait(), interrupt.request())).start()
    events = Bench(tmp_path, runner).events(step("a"), step("b", of="a"), interrupt=interrupt, jobs=1)
    assert events[-1].interrupted
    assert {name: one.outcome for name, one in events[-1].outcomes.items()} == {"a": "skipped", "b": "skipped"}


def test_a_thread_that_breaks_is_one_failed_action(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(self: perform.Performer, job: Any, tell: Any) -> Any:
        raise SystemExit("gone")

    monkeypatch.setattr(perform.Performer, "perform", breaks)
    last = Bench(tmp_path).events(step("a"))[-1]
    failure = last.outcomes["a"].failure
    assert last.outcomes["a"].outcome == "failed"
    assert (failure.code, failure.message) == ("OBE99", "BUG: SystemExit: gone")


def test_who_waits_for_another_build_of_the_same_result_says_for_whom(tmp_path: Path) -> None:
    """One build holds the result while its worker waits; the other is told the process, and then has a hit."""
    begun, may_end = threading.Event(), threading.Event()

    def held(params: Any, inputs: Any, outputs: Any, tell: Any) -> Any:
        begun.set()
        assert may_end.wait(20)
        return cat(params, inputs, outputs, tell)

    first = threading.Thread(target=lambda: Bench(tmp_path, InlineRunner({"cat": held}))(step("a")))
    first.start()
    assert begun.wait(20)
    texts: list[str] = []
    interrupt = Interrupt()
    put = interrupt.inbox.put

    def noted(message: Any) -> None:
        if isinstance(message, ActionProgress):
            texts.append(message.text)
            may_end.set()
        put(message)

    class Inbox:
        get = staticmethod(interrupt.inbox.get)
        put = staticmethod(noted)

    interrupt.inbox = Inbox()
    second = Bench(tmp_path).outcomes(step("a"), interrupt=interrupt)["a"]
    first.join()
    assert second.outcome == "hit"
    assert len(texts) == 1
    assert texts[0].startswith(f"waiting for pid {os.getpid()} (")
    assert texts[0].endswith("), which is building the same result")


def test_a_run_that_nobody_follows_any_more_ends_its_workers(tmp_path: Path) -> None:
    from onnxbuild.execute.policy import Policy
    from onnxbuild.execute.schedule import execute

    runner, interrupt = Held(), Interrupt()
    with Store(tmp_path / "store") as store:
        policy = Policy(scope="test", logs=str(tmp_path / "logs"))
        events = execute(
            graph_of(step("a")), kinds=TOYS, store=store, runner=runner, policy=policy, interrupt=interrupt
        )
        assert isinstance(next(events), RunStarted)
        assert isinstance(next(events), ActionStarted)
        assert runner.asked.wait(20)
        events.close()
    assert interrupt.requested is True
    assert runner.answers["a"].done()


def test_what_arrives_from_a_remote_store_is_told_in_megabytes_until_the_run_is_interrupted() -> None:
    told: list[ActionProgress] = []

    def obtain(key: str, arrived: Any, **_: Any) -> str:
        arrived(1_260_000, 34_560_000)
        one.interrupt.requested = True
        with pytest.raises(Waiting, match="m:a"):
            arrived(2_000_000, 34_560_000)
        return key

    one = SimpleNamespace(interrupt=SimpleNamespace(requested=False))
    performer = SimpleNamespace(
        _policy=SimpleNamespace(own=()), _interrupt=one.interrupt, _store=SimpleNamespace(obtain=obtain)
    )
    job: Any = SimpleNamespace(action=SimpleNamespace(id="m:a"), parts=SimpleNamespace(key="k"))
    assert perform.Performer._obtain(performer, job, told.append) == "k"  # type: ignore[arg-type]
    assert told == [ActionProgress(id="m:a", text="MB from the remote store", done=1.3, total=34.6)]
