"""What a worker is asked, how its answer is taken, and each failure word for word."""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import toys
from msgspec import structs
from toys import TOYS, Bench, InlineRunner, cat, graph_of, step

from onnxbuild.digest import Digest
from onnxbuild.execute import assess
from onnxbuild.execute.events import ActionProgress, Outcome
from onnxbuild.execute.perform import system_failure
from onnxbuild.execute.policy import Done, Interrupt, Policy
from onnxbuild.execute.preview import preview
from onnxbuild.execute.repair import Repairs
from onnxbuild.planning.action_graph import FilesSource
from onnxbuild.protocol import CheckFailed, Failure, Progress, Request
from onnxbuild.store.content import DamagedBlob, File, Tree
from onnxbuild.store.store import Store


class Recorder(InlineRunner):
    """Keeps each request, and what was in its folders when it arrived."""

    def __init__(self, functions: Any = None) -> None:
        super().__init__(functions)
        self.requests: dict[str, Request] = {}
        self.toolchains: list[str] = []
        self.files: dict[str, list[str]] = {}

    def submit(self, toolchain: str, request: Request, tell: Any) -> Any:
        self.requests[request.id] = request
        self.toolchains.append(toolchain)
        root = Path(request.scratch).parent
        self.files[request.id] = sorted(str(path.relative_to(root)) for path in root.rglob("*"))
        return super().submit(toolchain, request, tell)


def test_a_request_names_the_folders_of_its_action(tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("file", "sub/file", "another"):
        (tmp_path / "in" / name).write_text(name)
    source = FilesSource(str(tmp_path / "in"), ("file", "sub/file"))
    bench = Bench(tmp_path, Recorder())
    bench(step("m/a:cat", text="x"), step("m/b:cat", of="m/a:cat", files=source, rows=({"a": 1}, {"a": 2}), text="y"))
    request = bench.runner.requests["m/b:cat"]
    root = Path(request.scratch).parent
    assert (request.id, request.worker) == ("m/b:cat", "toys:cat")
    assert request.params == {"text": "y", "fail": False}
    assert request.inputs == {port: str(root / "inputs" / port) for port in ("in0", "files", "rows")}
    assert request.outputs == {"out": str(root / "outputs" / "out")}
    assert request.log == str(tmp_path / "logs" / "m+b+cat.txt")
    assert (request.confined, request.network, request.warms) == (True, False, ())  # a toy is anybody's code
    assert bench.runner.toolchains == ["current", "current"]
    assert bench.runner.files["m/b:cat"] == [
        "inputs", "inputs/files", "inputs/files/file", "inputs/files/sub", "inputs/files/sub/file", "inputs/in0",
        "inputs/in0/text", "inputs/rows", "inputs/rows/rows.jsonl", "outputs", "outputs/out", "scratch",
    ]  # fmt: skip
    assert not root.exists()


def test_a_request_says_what_its_kind_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = structs.replace(TOYS["cat"], pure=True, network=lambda params: params["text"] == "x", warms=("module",))
    monkeypatch.setattr(toys, "TOYS", {**TOYS, "cat": kind})
    bench = Bench(tmp_path, Recorder())
    bench(step("a", text="x"), step("b", text="y"))
    found = {name: (one.confined, one.network, one.warms) for name, one in bench.runner.requests.items()}
    assert found == {"a": (False, True, ("module",)), "b": (False, False, ("module",))}


def test_rows_are_written_one_per_line(tmp_path: Path) -> None:
    seen: list[str] = []

    def reads(params: Any, inputs: Any, outputs: Any, tell: Any) -> Any:
        seen.append((inputs["rows"] / "rows.jsonl").read_text())
        return cat(params, inputs, outputs, tell)

    Bench(tmp_path, InlineRunner({"cat": reads})).outcomes(step("a", rows=({"text": "x"}, {"text": "é"})))
    assert seen == ['{"text":"x"}\n{"text":"é"}\n']


# -- failures ---------------------------------------------------------------------------------------------------------


def failure_of(root: Path, work: Any, *actions: Any) -> Failure:
    """The failure of the last action, whose worker does this."""
    runner = InlineRunner({"count": work})
    failure = Bench(root, runner).outcomes(*actions)[actions[-1].id].failure
    assert failure is not None
    return failure


def test_a_changed_input_is_a_failure_of_the_worker(tmp_path: Path) -> None:
    def adds(params: Any, inputs: Any, outputs: Any, tell: Any) -> Any:
        (inputs["in0"] / "more").write_text("more")
        return cat(params, inputs, outputs, tell)

    assert failure_of(tmp_path, adds, step("a", text="x"), step("b", "count", of="a")) == Failure(
        code="OBE63", message="the worker changed its inputs, which are read-only"
    )


def test_a_source_that_changed_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("1")

    def edits(params: Any, inputs: Any, outputs: Any, tell: Any) -> Any:
        (tmp_path / "in" / "file").write_text("22")
        return cat(params, inputs, outputs, tell)

    source = FilesSource(str(tmp_path / "in"), ("file",))
    assert failure_of(tmp_path, edits, step("a", "count", files=source)) == Failure(
        code="OBE57",
        message=f"input `files` changed while the action ran ({tmp_path / 'in'})",
        notes=(("hint", "run again: this result was not recorded"),),
    )


def test_a_failed_worker_may_leave_its_inputs_changed(tmp_path: Path) -> None:
    """Its own failure says more."""

    def breaks(params: Any, inputs: Any, outputs: Any, tell: Any) -> Any:
        (inputs["in0"] / "more").write_text("more")
        raise CheckFailed("OBE00", "broke")

    failure = failure_of(tmp_path, breaks, step("a", text="x"), step("b", "count", of="a"))
    assert (failure.code, failure.message) == ("OBE00", "broke")


def test_a_full_disk_says_what_frees_it() -> None:
    hint = "`onnxbuild gc` removes results that no manifest needs; `--store DIR` uses another disk"
    assert system_failure(OSError(errno.ENOSPC, "x", "f")) == Failure(
        code="OBE52", message="the disk is full", notes=(("hint", hint),)
    )


def test_a_name_that_is_not_utf_8_is_a_failure_of_its_own(tmp_path: Path) -> None:
    class Odd(InlineRunner):
        def submit(self, toolchain: str, request: Request, tell: Any) -> Any:
            "caf\udce9".encode()

    failure = Bench(tmp_path, Odd()).outcomes(step("a"))["a"].failure
    assert failure == Failure(code="OBE77", message=r"`caf\xe9` is not UTF-8")


def test_what_a_worker_tells_holds_no_secret(tmp_path: Path) -> None:
    def tells(params: Any, inputs: Any, outputs: Any, tell: Any) -> Any:
        tell(Progress(id="a", text="reading https://user:pass@host/x", done=3.0, total=4.0))
        raise CheckFailed("OBE00", "cannot read https://user:pass@host/x")

    events = Bench(tmp_path, InlineRunner({"cat": tells})).events(step("a"))
    (told,) = [one for one in events if isinstance(one, ActionProgress)]
    assert told == ActionProgress(id="a", text="reading https://***@host/x", done=3.0, total=4.0)
    assert events[-1].outcomes["a"].failure.message == "cannot read https://***@host/x"


def test_an_attempt_starts_in_empty_folders(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def leaves(params: Any, inputs: Any, outputs: Any, tell: Any) -> Any:
        seen.append(sorted(path.name for path in outputs["out"].iterdir()))
        (outputs["out"] / "half").write_text("half")
        raise CheckFailed("OBE15", "reset", transient=True)

    Bench(tmp_path, InlineRunner({"flaky": leaves})).outcomes(step("a", "flaky"))
    assert seen == [[], [], []]  # three attempts, as the policy says


def test_the_defaults_of_a_run() -> None:
    policy = Policy(scope="s", logs="l")
    assert (policy.jobs, policy.memory_bytes, policy.attempts, policy.backoff_seconds) == (1, float("inf"), 3, 1.0)
    assert (policy.force, policy.own, policy.fail_fast, policy.timeout_seconds) == (
        frozenset(),
        frozenset(),
        False,
        None,
    )
    assert Interrupt().requested is False


def test_an_outcome_says_how_long_the_worker_took_and_what_it_found(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    made = bench.outcomes(step("a", text="abc"))["a"]
    assert (made.outcome, made.facts, made.kind) == ("built", {"length": 3}, "cat")
    again = bench.outcomes(step("a", text="abc"))["a"]
    assert (again.outcome, again.facts, again.seconds) == ("hit", {"length": 3}, 0.0)
    assert (again.key, again.outputs) == (made.key, made.outputs)


def test_facts_are_in_the_same_order_before_and_after_they_are_kept(tmp_path: Path) -> None:
    """What is written about a result, such as a card, must not change because the store has it now."""

    def measures(params: Any, inputs: Any, outputs: Mapping[str, Path], tell: Any) -> dict[str, Any]:
        (outputs["out"] / "text").write_text("x")
        facts = {"top1": 0.5, "metrics": {"b": [{"z": 1, "y": 2.5}], "a": None}, "10": 1, "9": 2}
        if params.fail:
            raise CheckFailed("OBE04", "too far", facts=facts)
        return facts

    bench = Bench(tmp_path, InlineRunner({"cat": measures}))
    made, kept = (bench.outcomes(step("a"))["a"] for _ in range(2))
    assert (made.outcome, kept.outcome) == ("built", "hit")
    assert json.dumps(made.facts) == json.dumps(kept.facts)
    failed = bench.outcomes(step("a", fail=True))["a"]
    assert failed.failure is not None
    assert json.dumps(failed.failure.facts) == json.dumps(kept.facts)


# -- the parts of keys ------------------------------------------------------------------------------------------------


def test_the_machine_is_asked_once_and_only_for_what_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = assess.this_machine
    monkeypatch.setattr(assess, "this_machine", lambda: asked.append(1) or real())
    with Store(tmp_path / "store") as store:
        assessor = assess.Assessor(TOYS, store, InlineRunner())
        assert assessor.parts(step("a"), {}).machine is None
        assert asked == []
        found = [assessor.parts(step(name, "measure"), {}).machine for name in "bc"]
    assert found == [real(), real()]
    assert asked == [1]


def test_the_parts_of_a_key_come_from_the_action_its_kind_and_the_runner(tmp_path: Path) -> None:
    with Store(tmp_path / "store") as store:
        assessor = assess.Assessor(TOYS, store, InlineRunner(versions={"frob": "7"}))
        found = assessor.parts(step("b", of="a", text="x"), {"a": {"out": Digest("d"), "other": Digest("e")}})
    assert (found.kind, found.version, found.params) == ("cat", 1, {"text": "x", "fail": False})
    assert (found.inputs, found.packages, found.toolchain) == ({"in0": "d"}, {"frob": "7"}, {"python": "cpython-3.11"})


# -- repairs ----------------------------------------------------------------------------------------------------------


class Trees:
    """A store in which each tree has one file, of the same name."""

    def tree(self, digest: str) -> Tree:
        return Tree((File("f", Digest(f"blob of {digest}"), 1),))


def test_the_actions_that_made_a_damaged_file_run_again_at_most_three_times() -> None:
    repairs = Repairs(Trees())
    action = step("c", of=["a", "b"])
    outputs = {name: {"out": Digest(name)} for name in "ab"}
    for _ in range(3):
        repair = repairs.plan(action, DamagedBlob("blob of a", "damaged"), outputs)
        assert (repair.makers, repair.restarted) == ({"a"}, {"a"})
    assert repairs.plan(action, DamagedBlob("blob of a", "damaged"), outputs) is None
    assert repairs.plan(step("d", of="a"), DamagedBlob("blob of a", "damaged"), outputs) is not None


def test_a_maker_that_already_runs_again_is_only_waited_for() -> None:
    repair = Repairs(Trees()).plan(
        step("c", of=["a", "b"]), DamagedBlob("blob of a", "damaged"), {"b": {"out": Digest("b")}}
    )
    assert (repair.makers, repair.restarted) == ({"a"}, set())


def test_damage_that_no_action_made_cannot_be_repaired() -> None:
    damaged = DamagedBlob("blob of somebody", "damaged")
    assert Repairs(Trees()).plan(step("b", of="a"), damaged, {"a": {"out": Digest("a")}}) is None


# -- ends -------------------------------------------------------------------------------------------------------------


def test_what_depends_on_a_failure_names_it(tmp_path: Path) -> None:
    found = Bench(tmp_path).outcomes(step("a", fail=True), step("b", of="a"), step("c", of="b"))
    assert {name: (one.outcome, one.blocked_by, one.kind) for name, one in found.items()} == {
        "a": ("failed", None, "cat"), "b": ("blocked", "a", "cat"), "c": ("blocked", "a", "cat"),
    }  # fmt: skip


@pytest.mark.parametrize(("fail_fast", "expected"), [(True, "skipped"), (False, "built")])
def test_only_fail_fast_ends_a_run_after_a_failure(tmp_path: Path, *, fail_fast: bool, expected: str) -> None:
    found = Bench(tmp_path)(step("a", fail=True), step("b", text="b"), jobs=1, fail_fast=fail_fast)
    assert found == {"a": "failed", "b": expected}


def test_a_done_action_is_not_damaged_unless_it_says_so() -> None:
    assert Done(Outcome(id="a", kind="cat", outcome="built")).damaged is None


# -- plans and remote stores ------------------------------------------------------------------------------------------


class Elsewhere:
    """A remote store of which only the offer is asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, key: str) -> None:
        self.asked.append(key)


@pytest.mark.parametrize(
    ("more", "asks"), [({}, True), ({"own": frozenset("a")}, False), ({"force": frozenset("a")}, False)]
)
def test_a_plan_asks_elsewhere_unless_the_result_must_be_made_here(tmp_path: Path, *, more: Any, asks: bool) -> None:
    elsewhere = Elsewhere()
    with Store(tmp_path / "store") as store:
        (found,) = preview(
            graph_of(step("a")), kinds=TOYS, store=store, runner=InlineRunner(), scope="s", elsewhere=elsewhere, **more
        )
    assert (found.outcome, found.kind) == ("run", "cat")
    assert elsewhere.asked == ([found.key] if asks else [])
