"""Texts per second in several processes: what is counted, who shares what, and that a lost process is an error."""

from __future__ import annotations

import os
import signal
import statistics

import pytest
from msgspec import structs

for module in ("torch", "optimum.onnxruntime"):
    pytest.importorskip(module)

from small_models import exported, minilm  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.steps.benchmark import BenchmarkParams, Throughput  # noqa: E402
from onnxbuild.steps.dataset_rows import Rows  # noqa: E402
from onnxbuild.workers.benchmark import crew as crew_module  # noqa: E402
from onnxbuild.workers.benchmark import throughput as throughput_module  # noqa: E402
from onnxbuild.workers.benchmark.comments import comments  # noqa: E402
from onnxbuild.workers.benchmark.crew import Crew, cores_of  # noqa: E402
from onnxbuild.workers.benchmark.lane import Open, Prepare  # noqa: E402
from onnxbuild.workers.benchmark.text_batches import (  # noqa: E402
    TextSet,
    batches,
    padded_tokens,
    shares,
    text_set,
    warming,
)
from onnxbuild.workers.benchmark.throughput import Passes, _measure, _speedup, _summary  # noqa: E402
from onnxbuild.workers.benchmark.worker import run  # noqa: E402
from onnxbuild.workers.engines.engine import described  # noqa: E402
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel  # noqa: E402

# Rows of 5, 2, 4, 1 and 3 tokens.
FIVE = TextSet(
    longer_than=0,
    name="five",
    texts=["e", "b", "d", "a", "c"],
    rows=[[1] * 5, [1] * 2, [1] * 4, [1], [1] * 3],
)


def test_padding_counts_up_to_the_longest_of_each_batch():
    as_is, by_length = batches(FIVE, "as-is", 2), batches(FIVE, "sorted", 2)
    assert [list(one) for one in as_is] == [[0, 1], [2, 3], [4]]
    assert [list(one) for one in by_length] == [[3, 1], [4, 2], [0]]
    assert FIVE.tokens == 15
    assert padded_tokens(FIVE, as_is) == 2 * 5 + 2 * 4 + 3
    assert padded_tokens(FIVE, by_length) == 2 * 2 + 2 * 4 + 5
    assert padded_tokens(FIVE, batches(FIVE, "as-is", 1)) == FIVE.tokens


def test_batches_are_dealt_in_turn_and_none_is_lost():
    made = batches(FIVE, "sorted", 1)
    first, second = shares(FIVE, made, 2, within=True)
    assert first == Prepare(texts=[["a"], ["c"], ["e"]], warm=[0, 1, 2])
    assert second == Prepare(texts=[["b"], ["d"]], warm=[0, 1])
    (rows,) = shares(FIVE, batches(FIVE, "as-is", 3), 1, within=False)
    assert rows == Prepare(rows=[[[1] * 5, [1] * 2, [1] * 4], [[1], [1] * 3]], warm=[0, 1])


def test_warming_up_reaches_each_shape_and_not_each_text():
    rows = [[1] * (4 if number == 700 else 2) for number in range(1000)]
    texts = TextSet(longer_than=0, name="many", texts=["t"] * len(rows), rows=rows)
    assert warming(texts, batches(texts, "as-is", 1)) == [*range(16), 700]
    assert warming(texts, batches(texts, "as-is", 3)) == [*range(16), 233, 333]  # the last batch has one text
    assert warming(texts, batches(texts, "sorted", 500)) == [0, 1]


def test_a_process_without_a_batch_is_an_error():
    with pytest.raises(CheckFailed) as caught:
        shares(FIVE, batches(FIVE, "as-is", 3), 3, within=False)
    assert caught.value.failure.code == "OBE127"
    assert caught.value.failure.message == "5 texts are 2 batches, too few for 3 processes"


def test_comments_are_the_same_every_time_and_vary_in_length():
    texts = list(comments(2000))
    assert texts == list(comments(2000))
    assert texts[:50] != list(comments(50, seed=1))
    assert 60 < statistics.median(map(len, texts)) < 140
    assert 0.1 < sum(len(text) > 200 for text in texts) / len(texts) < 0.3
    assert min(len(text) for text in comments(50, longer_than=200)) > 200


def characters(texts, **_options):
    """A tokenizer of letters."""
    return {"input_ids": [[ord(letter) for letter in text] for text in texts]}


characters.batch_decode = None


def test_texts_come_from_the_dataset_and_are_long_enough(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"t": "short"}\n{"t": "a longer one"}\n{"t": ""}\n{"t": "another long one"}\n')
    params = BenchmarkParams(throughput=Throughput(dataset="d", texts=2), rows=Rows(columns={"text": "t"}))
    long = text_set(params, {"dataset": tmp_path}, characters, 99, longer_than=5)
    assert (long.texts, long.facts()["source"]) == (("a longer one", "another long one"), "rows of `d`")
    assert long.facts()["tokens"] == 28
    assert text_set(params, {"dataset": tmp_path}, characters, 99, longer_than=0).texts == ("short", "a longer one")
    with pytest.raises(CheckFailed) as caught:
        text_set(params, {"dataset": tmp_path}, characters, 99, longer_than=50)
    assert caught.value.failure.code == "OBE126"
    assert caught.value.failure.message == "the rows of `d` have no text of more than 50 characters"


def report(**fields):
    return {"cpu_utilisation": 1.0, "involuntary_switches": 0, "contended": False} | fields


def test_rates_are_those_of_the_real_tokens_of_whole_passes():
    passes = Passes(seconds=[0.5, 1.0, 2.0], reports=[report(), report(contended=True, cpu_utilisation=0.5)])
    found = _summary(passes, FIVE)
    assert found["texts_per_second"] == {"median": 5.0, "min": 2.5, "max": 10.0}
    assert found["tokens_per_second"] == 15.0
    assert (found["contended"], found["cpu_utilisation"]) == (True, 0.75)
    slower = Passes(seconds=[1.0, 2.0, 5.0], reports=[])
    assert _speedup(passes, slower) == {"median": 2.0, "min": 2.0, "max": 2.5}


def test_each_process_has_its_own_cores_where_there_are_enough(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 1, 7, 5}, raising=False)
    assert cores_of(2, 2) == [(1, 3), (5, 7)]
    assert cores_of(3, 1) == [(1,), (3,), (5,)]
    assert cores_of(5, 1) == cores_of(1, 5) == []
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores_of(1, 1) == []


def opened(engine="onnxruntime", model=None):
    model = model or minilm()
    graphs = described(OnnxModel(model.onnx, threads=1))
    return Open(
        engine=engine,
        task=model.task,
        graphs=graphs,
        threads=1,
        device="cpu",
        cores=(),
        longest=64,
        pad=0,
        seed=0,
        trusts_code=False,
    )


@pytest.mark.heavy
def test_engines_share_the_texts_in_processes_of_their_own(tmp_path):
    throughput = Throughput(
        texts=12, batch=(4,), order=("sorted", "as-is"), tokenized=("before", "within"), workers=(2,), rounds=2
    )
    params = BenchmarkParams(task=minilm().task, sequence=(8,), iterations=2, rounds=1, throughput=throughput)
    facts = run(params, minilm().inputs, {"samples": tmp_path}, lambda *_: None)["throughput"]
    assert [(one["order"], one["tokenized"], one["engines"].keys()) for one in facts["results"]] == [
        ("sorted", "before", {"onnxruntime", "torch"}),
        ("as-is", "before", {"onnxruntime", "torch"}),
        ("sorted", "within", {"onnxruntime", "torch"}),
        ("as-is", "within", {"onnxruntime", "torch"}),
    ]
    by_length, as_is = facts["results"][:2]
    assert 1 < by_length["padding_ratio"] < as_is["padding_ratio"]
    assert (as_is["texts"], as_is["tokens"]) == (12, facts["texts"][0]["tokens"])
    rate = as_is["engines"]["torch"]
    assert rate["texts_per_second"]["median"] * as_is["tokens"] / 12 == pytest.approx(
        rate["tokens_per_second"], rel=0.3
    )
    assert {one["engine"] for one in facts["best"]} == {"onnxruntime", "torch"}
    processes = {one["engine"]: one for one in facts["processes"]}
    assert processes["torch"]["threads_used"] == processes["onnxruntime"]["threads_used"] == [1, 1]
    if cores_of(2, 1):
        assert processes["torch"]["cores"] == [list(cores) for cores in cores_of(2, 1)]
    # A process of ONNX Runtime never loads PyTorch, so the memory of each is its own.
    assert processes["onnxruntime"]["peak_bytes"] < processes["torch"]["peak_bytes"]


@pytest.mark.heavy
def test_a_killed_throughput_measures_only_the_settings_that_are_left(tmp_path, monkeypatch):
    """The first run ends in its second setting; the second run begins with that one."""
    throughput = Throughput(texts=6, batch=(1, 2, 3), order=("as-is",), rounds=1)
    params = BenchmarkParams(
        task=minilm().task, sequence=(8,), iterations=1, rounds=1, baselines=(), throughput=throughput
    )
    outputs = {"samples": tmp_path, "journal": tmp_path}
    measured = []

    def measure(setting, *args):
        measured.append(setting.batch)
        if measured == [1, 2]:
            raise KeyboardInterrupt
        return _measure(setting, *args)

    monkeypatch.setattr(throughput_module, "_measure", measure)
    with pytest.raises(KeyboardInterrupt):
        run(params, minilm().inputs, outputs, lambda *_: None)
    facts = run(params, minilm().inputs, outputs, lambda *_: None)["throughput"]
    assert measured == [1, 2, 2, 3]
    assert [one["batch"] for one in facts["results"]] == [1, 2, 3]
    monkeypatch.setattr(throughput_module, "Crew", None)  # what is known opens no process
    assert run(params, minilm().inputs, outputs, lambda *_: None)["throughput"] == facts


@pytest.mark.heavy
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no signal that a process cannot catch")
def test_a_process_that_dies_is_an_error_of_the_benchmark():
    texts = Prepare(rows=[[[101, 2000, 102]]], warm=[0])
    with Crew(opened(), 2, minilm().inputs) as crew:
        crew.prepare([texts, texts])
        assert len(crew.timed_pass()) == 2
        crew.lanes[1].process.kill()
        crew.lanes[1].process.wait()
        with pytest.raises(CheckFailed) as caught:
            crew.timed_pass()
    assert caught.value.failure.code == "OBE125"
    assert caught.value.failure.message == "process 2 of 2 of onnxruntime ended by SIGKILL during the benchmark"
    assert all(lane.process.returncode is not None for lane in crew.lanes)


@pytest.mark.heavy
def test_an_error_in_a_process_is_an_error_of_the_benchmark(tmp_path):
    """The model has 30,522 tokens."""
    texts = Prepare(rows=[[[101, 99_999, 102]]], warm=[0])
    with Crew(opened(), 1, minilm().inputs) as crew, pytest.raises(CheckFailed) as caught:
        crew.prepare([texts])
    assert caught.value.failure.message.startswith("process 1 of 1 of onnxruntime: ")
    with pytest.raises(CheckFailed) as caught, Crew(opened(), 1, {"model": tmp_path}):
        pass
    assert caught.value.failure.code == "OBE41"


@pytest.mark.heavy
def test_processes_end_with_the_one_that_started_them():
    with Crew(opened(), 1, minilm().inputs) as crew:
        (lane,) = crew.lanes
        lane.process.stdin.close()
        lane.process.wait(60)  # its input has ended


@pytest.mark.heavy
def test_a_model_without_a_tokenizer_has_no_throughput(tmp_path):
    params = BenchmarkParams(task="text-classification", sequence=(8,), iterations=2, rounds=1, baselines=())
    with pytest.raises(CheckFailed) as caught:
        run(
            structs.replace(params, throughput=Throughput()),
            exported("bert").inputs,
            {"samples": tmp_path},
            lambda *_: None,
        )
    assert caught.value.failure.code == "OBE37"


def test_a_lane_is_started_as_this_interpreter_was():
    assert crew_module._options()[:2] == ["-P", "-u"]
