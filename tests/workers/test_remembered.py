"""What PyTorch computed for one variant is not computed again for the next, and is what it would compute."""

import numpy as np
import pytest

from onnxbuild.workers.validate.remembered import Memory, Remembered, identity_of


class Counter:
    """A model that changes its own state: its output tells how many runs there were since `renew`."""

    name = "torch"

    def __init__(self) -> None:
        self.state, self.calls, self.renewed = 100, [], 0

    def renew(self):
        self.state, self.renewed = 0, self.renewed + 1

    def run(self, stage, feeds):
        if stage == "fails":
            raise RuntimeError("no such stage")
        self.calls.append(stage)
        self.state += 1
        return {"y": feeds["x"] * self.state}


def ids(*values, dtype=np.int64):
    return {"x": np.array(values, dtype)}


@pytest.fixture
def sides():
    memory = Memory()

    def make(identity=("a",)):
        engine = Counter()
        return engine, Remembered(engine, identity, memory)

    return make


def sample(side, *runs):
    side.renew()
    return [side.run(stage, feeds)["y"].tolist() for stage, feeds in runs]


RUNS = [("prefill", ids(3, 5, 7)), ("decode", ids(3, 5, 7)), ("decode", ids(2))]


def test_the_second_variant_gets_what_was_computed_for_the_first(sides):
    first, one = sides()
    second, other = sides()
    assert sample(one, *RUNS) == sample(other, *RUNS) == [[3, 5, 7], [6, 10, 14], [6]]
    assert (first.calls, first.renewed) == (["prefill", "decode", "decode"], 1)
    assert (second.calls, second.renewed) == ([], 0)
    assert other.name == "torch"


def test_a_run_that_is_new_comes_after_those_before_it(sides):
    _, one = sides()
    engine, other = sides()
    sample(one, *RUNS[:2])
    assert sample(other, *RUNS) == [[3, 5, 7], [6, 10, 14], [6]]
    assert (engine.calls, engine.renewed) == (["prefill", "decode", "decode"], 1)
    assert sample(other, *RUNS, *RUNS[:1]) == [[3, 5, 7], [6, 10, 14], [6], [12, 20, 28]]


@pytest.mark.parametrize(
    ("identity", "run"),
    [
        (("b",), RUNS[0]),
        (("a",), ("encoder", ids(3, 5, 7))),
        (("a",), ("prefill", ids(3, 5, 8))),
        (("a",), ("prefill", ids(3, 5, 7, dtype=np.int32))),
        (("a",), ("prefill", {"x": np.array([[3, 5, 7]])})),
        (("a",), ("prefill", {**ids(3, 5, 7), "mask": np.array([1])})),
    ],
    ids=["model", "stage", "values", "type", "shape", "inputs"],
)
def test_what_differs_is_computed(sides, identity, run):
    sample(sides()[1], RUNS[0])
    engine, other = sides(identity)
    sample(other, run)
    assert engine.calls == [run[0]]


def test_the_order_of_runs_counts(sides):
    sample(sides()[1], RUNS[0], RUNS[2])
    engine, other = sides()
    assert sample(other, RUNS[2], RUNS[0]) == [[2], [6, 10, 14]]
    assert engine.calls == ["decode", "prefill"]


def test_a_failure_is_not_remembered(sides):
    engine, one = sides()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no such stage"):
            sample(one, RUNS[0], ("fails", ids(1)))
    assert engine.calls == ["prefill", "prefill"]


def test_a_caller_that_adds_to_its_outputs_changes_no_other(sides):
    _, one = sides()
    one.renew()
    one.run(*RUNS[0])["z"] = np.zeros(1)
    one.renew()
    assert set(one.run(*RUNS[0])) == {"y"}


def test_a_memory_has_a_limit_in_all_and_for_one():
    memory = Memory(most_bytes=80, most_of_one=40)
    three = {key: {"y": np.zeros(5)} for key in (b"a", b"b", b"c")}  # 40 bytes each
    memory.keep(b"a", three[b"a"])
    memory.keep(b"b", three[b"b"])
    assert memory.get(b"a") is three[b"a"]
    memory.keep(b"c", three[b"c"])
    assert [memory.get(key) is not None for key in (b"a", b"b", b"c")] == [True, False, True]
    memory.keep(b"d", {"y": np.zeros(6)})
    assert memory.get(b"d") is None


def test_a_folder_is_known_by_its_files_and_not_by_its_place(tmp_path):
    store = tmp_path / "blob"
    store.write_text("weights")
    for name in ("one", "two", "three"):
        (tmp_path / name / "1_Pooling").mkdir(parents=True)
        (tmp_path / name / "1_Pooling" / "config.json").hardlink_to(store)
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    assert identity_of(one) == identity_of(two)
    (three / "1_Pooling" / "config.json").unlink()
    (three / "1_Pooling" / "config.json").write_text("weights")
    assert identity_of(one) != identity_of(three)
    (two / "1_Pooling").rename(two / "2_Pooling")
    assert identity_of(one) != identity_of(two)
