"""tune: comparisons by hand, that noise never chooses, the descent, refusals, and a search on a small model."""

from __future__ import annotations

import itertools
import json
import random
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from families import run_step, scratch, silent
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.checks.tune import TuneParams
from onnxbuild.tables.sessions.session_settings import SETTINGS, as_session, in_words, thread_counts
from onnxbuild.workers.engines import timing
from onnxbuild.workers.tune.descent import Verdict, descend
from onnxbuild.workers.tune.equal_outputs import bounds_of, why_not_equal
from onnxbuild.workers.tune.interleaved import BEST, CANDIDATE, CONTROL, compare
from onnxbuild.workers.tune.session_process import session_options
from onnxbuild.workers.tune.worker import run

ROOT = Path(__file__).parents[2]
STEADY = timing.Warmup(first_ms=1.0, calls=1, steady=True)


class Played:
    """A session that takes the given milliseconds: for each work, one list of calls per round."""

    def __init__(self, *works: list[list[float]], cpu: float = 1.0, log: list | None = None, name: str = ""):
        self._works = [iter(rounds) for rounds in works]
        self._cpu, self._log, self._name = cpu, [] if log is None else log, name

    def time(self, work: int, calls: int) -> timing.Series:
        self._log.append((self._name, work))
        values = next(self._works[work])[:calls]
        wall = sum(values) / 1000
        return timing.Series(warmup=STEADY, rounds=[values], wall_seconds=wall, cpu_seconds=wall * self._cpu)


def steady(*ms: float) -> list[list[float]]:
    return [[one] * 5 for one in ms]


def played(best, control, candidate, goal="latency.p50", batches=(1,), rounds=3, **more):
    sessions = {BEST: best, CONTROL: control, CANDIDATE: candidate}
    return compare(sessions, batches, goal, calls=5 * rounds, rounds=rounds, rest=lambda _seconds: None, **more)


# -- comparisons ------------------------------------------------------------------------------------------------------


def test_a_clear_gain_by_hand():
    found = played(Played(steady(10, 20, 10)), Played(steady(10, 19, 11)), Played(steady(5, 8, 4)))
    assert (found.candidate.median, found.candidate.min, found.candidate.max) == (2.5, 2.0, 2.5)
    assert (found.control.min, found.control.max) == (10 / 11, 20 / 19)
    assert (found.is_better, found.rounds) == (True, 3)


def test_a_candidate_is_dropped_when_its_range_touches_that_of_the_control():
    candidate = Played(steady(5, 9.7, 1))
    found = played(Played(steady(10, 10, 10)), Played(steady(10, 9.6, 10)), candidate)
    assert (found.is_better, found.rounds) == (False, 2)


def test_one_round_that_is_not_better_keeps_the_default():
    found = played(Played(steady(10, 10, 10)), Played(steady(11, 11, 11)), Played(steady(5, 5, 10)))
    assert not found.is_better


def test_figures_that_are_reported_are_measured_to_the_end():
    found = played(Played(steady(1, 1, 1)), Played(steady(1, 1, 1)), Played(steady(2, 2, 2)), to_the_end=True)
    assert (found.rounds, found.is_better) == (3, False)


def test_throughput_is_better_where_it_is_larger():
    found = played(*(Played(steady(ms)) for ms in (10, 10, 4)), goal="throughput", batches=(8,), rounds=1)
    assert found.candidate.median == pytest.approx(2.5)
    assert found.sessions[CANDIDATE].figure("throughput", 0, 8).value == pytest.approx(2000)


def test_cpu_time_counts_all_threads():
    found = played(*(Played(steady(10), cpu=cpu) for cpu in (2.0, 2.0, 1.0)), goal="cpu_time", rounds=1)
    assert found.candidate.median == pytest.approx(2)
    assert found.sessions[BEST].figure("cpu_time", 0, 1).value == pytest.approx(20)


def test_several_shapes_count_by_their_geometric_mean():
    best, control = (Played(steady(10), steady(100)) for _ in range(2))
    found = played(best, control, Played(steady(2.5), steady(100)), batches=(1, 8), rounds=1)
    assert found.candidate.median == pytest.approx(2)
    assert found.sessions[CANDIDATE].worst("latency.p50", (1, 8)) == 100
    assert found.sessions[CANDIDATE].worst("throughput", (1, 8)) == pytest.approx(80)


def test_the_99th_percentile_is_that_of_all_calls():
    calls = [[float(number) for number in range(1 + 50 * half, 51 + 50 * half)] for half in range(2)]
    session = Played(calls)
    found = compare(
        {BEST: session, CONTROL: Played(calls)}, (1,), "latency.p99", calls=100, rounds=2, to_the_end=True,
        rest=lambda _seconds: None,
    )  # fmt: skip
    assert found.sessions[BEST].figure("latency.p99", 0, 1).value == pytest.approx(np.percentile(range(1, 101), 99))
    assert found.candidate == found.control


def test_sessions_take_turns_in_an_order_that_changes():
    log: list = []
    sessions = (
        Played(steady(ms, ms, ms), log=log, name=name) for name, ms in ((BEST, 4), (CONTROL, 4), (CANDIDATE, 1))
    )
    played(*sessions)
    assert [name for name, _ in log[::3]] == [BEST, CONTROL, CANDIDATE]
    assert [sorted(name for name, _ in log[i : i + 3]) for i in (0, 3, 6)] == [sorted((BEST, CONTROL, CANDIDATE))] * 3


@settings(max_examples=200)
@given(st.integers(0, 1 << 30), st.floats(0.9, 1.1))
def test_what_is_kept_was_better_than_both_equal_sessions_in_every_round(seed, factor):
    chance = random.Random(seed)
    times = [[[chance.lognormvariate(0, 0.05) for _ in range(5)] for _ in range(4)] for _ in range(3)]
    times[2] = [[one * factor for one in calls] for calls in times[2]]
    found = played(*map(Played, times), rounds=4)
    medians = [[float(np.median(calls)) for calls in rounds] for rounds in times]
    gains = [best / other for best, other in zip(medians[0], medians[2], strict=True)]
    controls = [best / other for best, other in zip(medians[0], medians[1], strict=True)]
    assert found.is_better == (min(gains) > max(1, *controls))


def test_noise_seldom_passes_a_search_and_its_confirmation():
    """Three equal sessions: with eight rounds, chance passes a comparison in less than 1 of 1,000 cases."""
    chance = random.Random(7)
    passed = 0
    for _ in range(2000):
        times = [[[chance.lognormvariate(0, 0.2) for _ in range(5)] for _ in range(8)] for _ in range(3)]
        passed += played(*map(Played, times), rounds=8).is_better
    assert passed <= 2


# -- the descent ------------------------------------------------------------------------------------------------------


def by_cost(cost):
    """A comparison that knows what each combination costs."""
    asked = []

    def compare_costs(best, other):
        asked.append((dict(best), dict(other)))
        return Verdict(kept=cost(other) < cost(best), why="", figure="latency.p50")

    return compare_costs, asked


def test_the_descent_finds_settings_that_do_not_depend_on_each_other():
    gains = {"threads": {"2": 3}, "spinning": {"off": 1}, "memory_arena": {"off": -5}}

    def cost(values):
        return -sum(gains.get(name, {}).get(value, 0) for name, value in values.items())

    best, trials = descend(tuple(SETTINGS), (1, 2, 4), 4, by_cost(cost)[0])
    assert best == {"threads": "2", "spinning": "off"}
    assert [trial.setting for trial in trials if trial.verdict.kept] == ["threads", "spinning"]
    assert {trial.setting for trial in trials} == set(SETTINGS)


def test_a_tie_goes_to_the_default():
    best, trials = descend(tuple(SETTINGS), (1, 2), 2, by_cost(lambda _values: 0)[0])
    assert best == {}
    assert {trial.against for trial in trials} == {"the defaults"}


def test_a_second_pass_takes_back_what_a_later_setting_made_useless():
    def cost(values):
        if "denormals" in values:
            return 0 if "graph_level" not in values else 1
        return 2 if values.get("graph_level") == "basic" else 3

    best, trials = descend(("graph_level", "denormals"), (), 2, by_cost(cost)[0])
    assert best == {"denormals": "zero"}
    assert [(one.setting, one.value) for one in trials if one.verdict.kept] == [
        ("graph_level", "basic"), ("denormals", "zero"), ("graph_level", "default"),
    ]  # fmt: skip


def test_nothing_is_compared_twice_and_no_way_back():
    compare_costs, asked = by_cost(lambda values: -len(values))
    descend(tuple(SETTINGS), (1, 2), 2, compare_costs)
    pairs = [frozenset([str(best), str(other)]) for best, other in asked]
    assert len(set(pairs)) == len(pairs)


def test_what_does_nothing_with_one_thread_is_not_tried():
    _, trials = descend(tuple(SETTINGS), (1,), 1, by_cost(lambda _values: 0)[0])
    assert not {"spinning", "execution", "block_base"} & {trial.setting for trial in trials}
    compare_costs, asked = by_cost(lambda values: 0 if values.get("threads") == "1" else 1)
    descend(("threads", "spinning"), (1, 4), 4, compare_costs)
    assert all("spinning" not in other for _, other in asked)


def test_the_numbers_of_threads():
    assert [thread_counts(cores) for cores in (1, 2, 6, 8)] == [(1,), (1, 2), (1, 2, 4, 6), (1, 2, 4, 8)]
    assert [thread_counts(*cores) for cores in ((12, 6), (8, 4), (2, 2), (2, 1))] == [
        (1, 2, 4, 6, 8, 12), (1, 2, 4, 8), (1, 2), (1, 2),
    ]  # fmt: skip
    assert thread_counts(4, 16) == (1, 2, 4)  # a container may use fewer than there are


# -- settings and outputs ---------------------------------------------------------------------------------------------


def test_every_setting_is_one_that_this_onnxruntime_has():
    import onnxruntime

    library = next(Path(onnxruntime.__file__).parent.glob("capi/onnxruntime_pybind11_state*")).read_bytes()
    defaults = onnxruntime.SessionOptions()
    for name, setting in SETTINGS.items():
        for value in setting.values or {"3": None}:
            options, entries = as_session({name: value})
            session = session_options(options, entries)
            assert all(getattr(session, key) != getattr(defaults, key) for key in options)
            assert all(key.encode() in library for key in entries)
            assert options or entries


def test_words():
    assert in_words({}) == "the defaults"
    assert in_words({"threads": "1", "memory_arena": "off"}) == "threads 1, memory arena off"


def saved(**arrays):
    path = scratch() / "outputs.npz"
    np.savez(path, **{f"0 {name}": value for name, value in arrays.items()})
    return path


BOUNDS = {"max_abs": 1e-3, "cosine_min": 0.9999}


@pytest.mark.parametrize(
    ("exact", "found", "why"),
    [
        ([[1.0, 2.0]], [[1.0, 2.0005]], None),
        ([[1.0, 2.0]], [[1.0, 2.01]], "output `y` differs: `max_abs` is 0.01, and the bound 0.001"),
        ([[1e-4, 0.0]], [[0.0, 1e-4]], "output `y` differs: `cosine_min` is 0, and the bound 0.9999"),
        ([[1.0, 2.0]], [[1.0, np.nan]], "output `y` has values that are not finite"),
        ([[-np.inf, 2.0]], [[-np.inf, 2.0]], None),
        ([[1.0, 2.0]], [[1.0], [2.0]], "output `y` has another shape"),
    ],
)
def test_outputs_are_compared(exact, found, why):
    assert why_not_equal(saved(y=np.float32(exact)), saved(y=np.float32(found)), BOUNDS) == why


def test_integers_must_be_equal():
    assert why_not_equal(saved(ids=np.array([1, 2])), saved(ids=np.array([1, 3])), BOUNDS) == "output `ids` differs"


def test_a_quantized_graph_gets_the_bounds_of_fp32():
    assert bounds_of("feature-extraction", {}, "int8") == bounds_of("feature-extraction", {}, "fp32") == BOUNDS
    assert bounds_of("feature-extraction", {}, "q4f16") == bounds_of("feature-extraction", {}, "fp16") != BOUNDS


# -- on models --------------------------------------------------------------------------------------------------------


def tiny_numbers(exponent: int) -> Path:
    """A model of ids that it multiplies by 10 ** exponent and then takes back."""

    def number(name, value):
        return helper.make_tensor(name, TensorProto.FLOAT, [1], [value])

    nodes = [
        helper.make_node("Cast", ["input_ids"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x", "down"], ["small"]),
        helper.make_node("Mul", ["small", "further"], ["tiny"]),
        helper.make_node("Mul", ["tiny", "up"], ["last_hidden_state"]),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "sequence"])],
        [number("down", 1e-20), number("further", 10.0 ** (exponent + 20)), number("up", 1e38)],
    )  # fmt: skip
    folder = scratch()
    onnx.save(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]), folder / "model.onnx"
    )
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 50}))
    return folder


def tuned(folder, **params):
    return run_step(run, TuneParams(task="feature-extraction", **params), "settings", model=folder)


@pytest.mark.heavy
def test_a_setting_that_changes_outputs_is_refused():
    facts, _ = tuned(tiny_numbers(-41), settings=("denormals",), sequence=(8,), iterations=2, rounds=2)
    (trial,) = facts["tried"]
    assert (trial["kept"], facts["settings"]) == (False, {})
    assert trial["why"].startswith("refused: output `last_hidden_state` differs: `max_abs` is ")
    facts, _ = tuned(tiny_numbers(-30), settings=("denormals",), sequence=(8,), iterations=2, rounds=2)
    assert "refused" not in facts["tried"][0]["why"]


@pytest.mark.heavy
def test_the_snippet_of_the_docs_makes_the_session(monkeypatch):
    """The defaults may win on this machine, so that the file is one with every kind of setting in it."""
    folder = tiny_numbers(-30)
    page = (ROOT / "docs/how-to/tune.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    _, output = tuned(folder, settings=("memory_pattern",), sequence=(8,), iterations=1, rounds=1)
    written = json.loads((output / "session.json").read_text(encoding="utf-8"))
    values = {"threads": "1", "graph_level": "basic", "execution": "parallel", "memory_arena": "off", "block_base": "4"}
    options, entries = as_session(values)
    written |= {"options": options, "config_entries": entries}
    (folder / "session.json").write_text(json.dumps(written), encoding="utf-8")
    monkeypatch.chdir(folder)
    made: dict = {}
    exec(compile(snippet, "snippet", "exec"), made)
    used = made["session"].get_session_options()
    assert (used.intra_op_num_threads, used.inter_op_num_threads, used.enable_cpu_mem_arena) == (1, 2, False)
    assert (used.graph_optimization_level.name, used.execution_mode.name) == ("ORT_ENABLE_BASIC", "ORT_PARALLEL")
    assert used.get_session_config_entry("session.dynamic_block_base") == "4"
    assert made["session"].get_providers() == ["CPUExecutionProvider"]
    lines = [line for line in snippet.splitlines() if line and not line.startswith(("import", "from", "session ="))]
    assert len(lines) <= 6


@pytest.mark.heavy
def test_what_is_written_is_what_was_measured():
    facts, output = tuned(
        tiny_numbers(-30), settings=("memory_arena", "spinning"), batch=(1, 2), sequence=(4, 8), iterations=4, rounds=2,
        subject_to={"latency.p99": "<= 100000", "throughput": "> 0"}, minimize="cpu_time",
    )  # fmt: skip
    written = json.loads((output / "session.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(facts))
    assert [(one["stage"], one["batch"], one["sequence"]) for one in facts["figures"]] == [
        ("forward", batch, sequence) for batch, sequence in itertools.product((1, 2), (4, 8))
    ]
    for one in facts["figures"]:
        for name in ("latency.p50", "latency.p99", "cpu_time", "throughput"):
            figure = one["defaults"][name]
            assert 0 < figure["min"] <= figure["max"]
        p50, p99 = one["defaults"]["latency.p50"], one["defaults"]["latency.p99"]
        assert p50["value"] <= p99["value"]
    assert facts["goal"] == "smallest cpu_time"
    assert {trial["setting"] for trial in facts["tried"]} <= {"memory_arena", "spinning"}
    assert (facts["gain"] is None) == (facts["settings"] == {})
    assert facts["machine"]["cores"] >= 1


@pytest.mark.heavy
def test_a_condition_that_nothing_fulfils_fails():
    with pytest.raises(CheckFailed, match=r"OBE135 no session settings fulfil `latency\.p50 <= 1e-09`: it is "):
        tuned(tiny_numbers(-30), settings=("memory_pattern",), sequence=(4,), iterations=1, rounds=1,
              subject_to={"latency.p50": "<= 1e-9"})  # fmt: skip


@pytest.mark.heavy
def test_a_graph_that_does_not_open_fails(monkeypatch):
    from onnxbuild.workers.tune import sessions

    monkeypatch.setattr(sessions, "_START", "raise SystemExit(3)")
    with pytest.raises(CheckFailed, match="OBE136 a session with ONNX Runtime's defaults cannot be run: its process"):
        tuned(tiny_numbers(-30), sequence=(4,), iterations=1, rounds=1)


@pytest.mark.heavy
def test_a_setting_that_onnxruntime_refuses_is_no_failure(monkeypatch):
    from onnxbuild.workers.tune import sessions

    real = sessions.as_session
    monkeypatch.setattr(sessions, "as_session", lambda values: ({"no_such_option": 1}, {}) if values else real(values))
    facts, _ = tuned(tiny_numbers(-30), settings=("memory_arena",), sequence=(4,), iterations=1, rounds=1)
    assert facts["tried"][0]["why"].startswith("refused: AttributeError: ")
    assert facts["settings"] == {}


@pytest.mark.heavy
def test_a_decoder_is_tuned_in_both_of_its_stages():
    from families import exported

    folder = exported("gpt2")[1]
    params = TuneParams(
        task="text-generation-with-past", settings=("memory_pattern",), sequence=(8,), iterations=1, rounds=1
    )
    facts = run(params, {"model": folder}, {"settings": scratch()}, silent)
    assert [one["stage"] for one in facts["figures"]] == ["prefill", "decode"]
