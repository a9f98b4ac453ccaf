"""What runs at the same time: pools, slots, memory and threads. The workers wait for each other, not for a clock."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from toys import TOYS, Bench, InlineRunner, cat, step

from onnxbuild.digest import digest_value
from onnxbuild.execute import schedule
from onnxbuild.execute.assess import Assessor
from onnxbuild.execute.job import Job
from onnxbuild.execute.key import KeyParts
from onnxbuild.execute.slots import Slots
from onnxbuild.planning.action_graph import FilesSource
from onnxbuild.protocol import Request
from onnxbuild.steps import KINDS
from onnxbuild.steps.kind import pool_of
from onnxbuild.store.store import Store

PATIENCE = 20  # seconds after which a test fails that would otherwise hang


def job(name: str, kind: str = "cat", memory: int = 1) -> Job:
    parts = KeyParts(kind=kind, version=1, params={}, inputs={}, packages={}, toolchain={})
    return Job(action=step(name, kind), parts=parts, reasons=(), memory_bytes=memory)


def started(slots: Slots) -> list[str]:
    """Start everything that may start now."""
    names = []
    while (one := slots.next()) is not None:
        slots.start(one)
        names.append(one.action.id)
    return names


def filled(count: int, memory: float, *jobs: Job) -> Slots:
    slots = Slots(count, memory)
    for one in jobs:
        slots.add(one)
    return slots


def test_as_many_run_as_there_are_slots_in_the_order_in_which_they_came() -> None:
    slots = filled(2, 100, job("a"), job("b"), job("c"), job("d"))
    assert started(slots) == ["a", "b"]
    assert slots.running == {"a", "b"}
    slots.end("a")
    assert started(slots) == ["c"]
    slots.end("b")
    slots.end("c")
    assert started(slots) == ["d"]


def on_gpu(name: str) -> Job:
    made = job(name)
    return structs.replace(made, action=structs.replace(made.action, pool="gpu"))


def test_one_job_at_a_time_has_the_gpu_and_the_others_do_not_wait_for_it() -> None:
    slots = filled(3, 100, on_gpu("a"), on_gpu("b"), job("c"), on_gpu("d"), job("e"))
    assert started(slots) == ["a", "c", "e"]
    slots.end("c")
    assert started(slots) == []
    slots.end("a")
    assert started(slots) == ["b"]
    slots.end("b")
    assert started(slots) == ["d"]


@pytest.mark.parametrize(
    ("kind", "params", "pool"),
    [
        ("validate", {"device": "cuda"}, "gpu"),
        ("validate", {}, "cpu"),
        ("validate", {"runtime": {"backend": "cuda", "needs": ["onnxruntime-gpu", "file /dev/nvidiactl"]}}, "gpu"),
        ("validate", {"runtime": {"backend": "ort", "needs": ["onnxruntime"]}}, "cpu"),
        ("benchmark", {"device": "cuda"}, "alone"),
        ("compile-tensorrt", {}, "gpu"),
        ("compile-ort", {}, "cpu"),
    ],
)
def test_what_computes_on_a_gpu_is_in_its_pool(kind: str, params: dict[str, Any], pool: str) -> None:
    assert pool_of(KINDS[kind], params) == pool


def test_slots_are_true_while_a_job_waits_or_runs() -> None:
    slots = Slots(1, 1)
    assert not slots
    slots.add(job("a"))
    assert slots
    started(slots)
    assert slots
    slots.end("a")
    assert not slots
    slots.add(job("b", "measure"))
    assert slots


def test_memory_is_a_limit_for_all_that_run_and_is_given_back() -> None:
    slots = filled(9, 10, job("a", memory=4), job("b", memory=6), job("c", memory=1))
    assert started(slots) == ["a", "b"]  # exactly the limit
    slots.end("a")
    assert started(slots) == ["c"]
    slots.add(job("d", memory=4))
    assert started(slots) == []  # 6 + 1 + 4
    slots.end("c")
    assert started(slots) == ["d"]


def test_a_job_that_never_fits_runs_when_nothing_else_does() -> None:
    slots = filled(9, 10, job("a", memory=1), job("b", memory=99), job("c", memory=1))
    assert started(slots) == ["a"]
    slots.end("a")
    assert started(slots) == ["b"]
    slots.end("b")
    assert started(slots) == ["c"]


def test_what_measures_starts_when_nothing_runs_or_waits_and_nothing_starts_beside_it() -> None:
    slots = filled(9, 100, job("m", "measure"), job("a"), job("n", "measure"))
    assert started(slots) == ["a"]
    assert started(slots) == []
    slots.end("a")
    assert started(slots) == ["m"]
    slots.add(job("b"))
    assert started(slots) == []
    slots.end("m")
    assert started(slots) == ["b"]
    slots.end("b")
    assert started(slots) == ["n"]


def test_the_end_of_a_job_that_does_not_run_changes_nothing() -> None:
    slots = filled(1, 100, job("a"), job("b"))
    started(slots)
    slots.end("b")
    assert slots.running == {"a"}


class Gate:
    """A toy worker that tells when it has begun, and then waits until it may go on."""

    def __init__(self) -> None:
        self.begun, self.may_end = threading.Event(), threading.Event()

    def __call__(self, params: Any, inputs: Any, outputs: Any, tell: Any) -> dict[str, Any]:
        self.begun.set()
        assert self.may_end.wait(PATIENCE)
        return cat(params, inputs, outputs, tell)


class Build:
    """A build in a thread of its own, whose workers a test holds back."""

    def __init__(self, root: Path, gates: dict[str, Gate], *actions: Any, **policy: Any) -> None:
        functions = {"cat": self._worker, "measure": self._worker}
        self.gates = gates
        self.bench = Bench(root, InlineRunner(functions))
        self._pool = ThreadPoolExecutor(1)
        self._outcomes = self._pool.submit(lambda: self.bench(*actions, **policy))

    def _worker(self, params: Any, inputs: Any, outputs: Any, tell: Any) -> dict[str, Any]:
        return self.gates[params.text](params, inputs, outputs, tell)

    def begun(self, *names: str) -> bool:
        return all(self.gates[name].begun.wait(PATIENCE) for name in names)

    def has_begun(self, name: str) -> bool:
        return self.gates[name].begun.is_set()

    def end(self, *names: str) -> None:
        for name in names:
            self.gates[name].may_end.set()

    def outcomes(self) -> dict[str, str]:
        return self._outcomes.result(PATIENCE)


def gated(root: Path, *actions: Any, **policy: Any) -> Build:
    return Build(root, {action.id: Gate() for action in actions}, *actions, **policy)


def gate(name: str, kind: str = "cat", **more: Any) -> Any:
    return step(name, kind, text=name, **more)


def test_two_jobs_run_at_the_same_time_and_the_third_waits(tmp_path: Path) -> None:
    build = gated(tmp_path, gate("a"), gate("b"), gate("c"), jobs=2)
    assert build.begun("a", "b")  # neither ends before both have begun
    assert not build.has_begun("c")
    build.end("a")
    assert build.begun("c")
    build.end("b", "c")
    assert build.outcomes() == {"a": "built", "b": "built", "c": "built"}


def test_one_job_runs_one_action_at_a_time(tmp_path: Path) -> None:
    build = gated(tmp_path, gate("a"), gate("b"), jobs=1)
    assert build.begun("a")
    assert not build.has_begun("b")
    build.end("a", "b")
    build.outcomes()
    assert set(build.bench.runner.most_together.values()) == {1}


def test_a_benchmark_waits_for_what_runs_and_for_what_that_makes_ready(tmp_path: Path) -> None:
    """`m` is ready from the start; `b` becomes ready only when `a` ends."""
    build = gated(tmp_path, gate("m", "measure"), gate("a"), gate("b", of="a"), jobs=4)
    assert build.begun("a")
    assert not build.has_begun("m")
    build.end("a")
    assert build.begun("b")
    assert not build.has_begun("m")
    build.end("b")
    assert build.begun("m")
    build.end("m")
    assert build.outcomes() == {"m": "built", "a": "built", "b": "built"}
    assert build.bench.runner.most_together["m"] == 1


def test_nothing_starts_beside_a_benchmark(tmp_path: Path) -> None:
    build = gated(tmp_path, gate("a"), gate("m", "measure", of="a"), gate("n", "measure", of="a"),
                  gate("b", of="m"), jobs=4)  # fmt: skip
    build.end("a")
    assert build.begun("m")
    assert not build.has_begun("n")
    assert not build.has_begun("b")
    build.end("m", "n", "b")
    assert set(build.outcomes().values()) == {"built"}
    assert build.bench.runner.most_together["m"] == build.bench.runner.most_together["n"] == 1


class Recorder(InlineRunner):
    """Keeps what the engine asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: dict[str, Request] = {}

    def submit(self, toolchain: str, request: Request, tell: Any) -> Any:
        self.requests[request.id] = request
        return super().submit(toolchain, request, tell)


@pytest.mark.parametrize(("jobs", "cores", "each"), [(1, 8, 8), (2, 8, 4), (3, 8, 2), (8, 8, 1), (9, 8, 1), (2, 1, 1)])
def test_the_cores_are_divided_among_the_jobs_and_a_benchmark_gets_all(
    jobs: int, cores: int, each: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "usable_cores", lambda: cores)
    bench = Bench(tmp_path, Recorder())
    bench(step("a"), step("m", "measure", text="m"), jobs=jobs)
    assert {name: one.threads for name, one in bench.runner.requests.items()} == {"a": each, "m": cores}


def test_the_estimate_of_memory_counts_every_input_and_the_frameworks(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_bytes(b"x" * 1000)
    bench = Bench(tmp_path)
    made = bench.outcomes(step("a", text="y" * 500))["a"]
    action = step("b", of="a", files=FilesSource(str(tmp_path / "in"), ("file",)), rows=({"text": "z"},))
    with Store(tmp_path / "store") as store:
        assessor = Assessor(TOYS, store, bench.runner)
        outputs = {"a": made.outputs}
        assert assessor.input_bytes(action, outputs) == 1500
        factor = TOYS["cat"].memory_factor
        assert assessor.memory_estimate(action, outputs) == (1 << 30) + int(factor * 1500)
        assert assessor.digest(action.inputs["rows"], outputs) == digest_value(({"text": "z"},))


def test_estimates_decide_what_runs_together(tmp_path: Path) -> None:
    """Two actions of 1 GiB each fit into 2 GiB; a third starts when one has given its memory back."""
    build = gated(tmp_path, gate("a"), gate("b"), gate("c"), jobs=4, memory_bytes=2.5 * 2**30)
    assert build.begun("a", "b")
    assert not build.has_begun("c")
    build.end("b")
    assert build.begun("c")
    build.end("a", "c")
    assert set(build.outcomes().values()) == {"built"}
