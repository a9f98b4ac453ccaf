from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxbuild.workers.engines import timing

times = st.lists(st.floats(0.01, 1000), min_size=1, max_size=50)


def steady(milliseconds: float) -> timing.Series:
    return timing.Series(warmup=timing.Warmup(first_ms=1, calls=5, steady=True), rounds=[[milliseconds] * 2] * 3)


@settings(deadline=None)  # the first call is slow on a busy machine
@given(times)
def test_a_summary_is_in_order(values):
    found = timing.summary(values, rows=1, tokens=1)
    ordered = [found[name] for name in ("min_ms", "p50_ms", "p90_ms", "p99_ms", "max_ms")]
    assert ordered == sorted(ordered)
    assert found["n"] == len(values)
    assert found["min_ms"] * (1 - 1e-9) <= found["mean_ms"] <= found["max_ms"] * (1 + 1e-9)


@settings(deadline=None)  # the first call is slow on a busy machine
@given(times, st.floats(0, 100))
def test_percentiles_are_those_of_numpy(values, percent):
    np = pytest.importorskip("numpy")
    assert timing.percentile(sorted(values), percent) == pytest.approx(float(np.percentile(values, percent)))


@settings(deadline=None)  # the first call is slow on a busy machine
@given(st.integers(1, 200), st.integers(1, 50))
def test_rounds_share_the_iterations(iterations, rounds):
    parts = timing.split(iterations, rounds)
    assert sum(parts) == iterations
    assert max(parts) - min(parts) <= 1
    assert min(parts) >= 1


def test_rates_are_those_of_the_median_call():
    found = timing.summary([10.0, 20.0, 1000.0], rows=4, tokens=100)
    assert (found["samples_per_second"], found["tokens_per_second"]) == (200.0, 5000.0)


def test_engines_take_turns_and_change_their_order():
    heard: list[str] = []
    calls = {name: (lambda name=name: heard.append(name)) for name in ("a", "b")}
    found = timing.measure(calls, warmup=1, iterations=6, rounds=3)
    assert "".join(heard[-12:]) == "aabbbbaaaabb"
    assert {name: [len(part) for part in series.rounds] for name, series in found.items()} == {
        "a": [2, 2, 2],
        "b": [2, 2, 2],
    }


def test_what_never_settles_stops_at_the_cap():
    calls = iter(range(1000))

    def restless():
        if next(calls) % 2:
            sum(range(200_000))

    warmup = timing.warm_up(restless, 3)
    assert (warmup.calls, warmup.steady) == (20, False)


def test_speedup_is_the_median_of_the_rounds():
    slow, fast = steady(20.0), steady(10.0)
    slow.rounds[1] = [200.0, 200.0]  # a neighbour in one round
    assert timing.speedup(fast, slow) == {"median": 2.0, "min": 2.0, "max": 20.0}


@pytest.mark.parametrize(
    ("threads", "cpu_seconds", "switches", "contended"),
    [
        (1, 0.99, 0, False),
        (1, 0.80, 0, True),
        (2, 1.90, 50, False),
        (2, 1.50, 0, False),  # its threads waited for each other
        (2, 1.50, 50, True),
    ],
)
def test_an_engine_that_lost_its_cores_is_contended(threads, cpu_seconds, switches, contended):
    series = steady(1.0)
    series.wall_seconds, series.cpu_seconds, series.involuntary_switches = 1.0, cpu_seconds, switches
    assert timing.load_of(series, threads=threads)["contended"] is contended
