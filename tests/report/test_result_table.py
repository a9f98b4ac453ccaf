# ruff: noqa: RUF001 - dashes and signs are as the table prints them
import json
import re

import pytest
from msgspec import structs
from report_worlds import BERT, FP32, outcome, outcomes_of

from onnxbuild.deliver.variant_rows import Metric, Row, rows
from onnxbuild.report.result.result_table import as_json, as_markdown, as_text
from onnxbuild.report.result.result_table import columns_of as table_of
from onnxbuild.report.wording import cells


def row(name, **fields):
    return Row(name=name, size_bytes=90_400_000, latency_ms=25.61, baseline_ms=33.2, speedup=1.296, **fields)


def judged(value, bound=None, *, passed=True):
    return Metric(value=value, bound=bound, passed=passed)


GPT = (
    row(
        "gpt2/fp32",
        metrics={"max_abs": judged(0.0003, 0.01), "top1": judged(1.0, 0.999), "perplexity_ratio": judged(1.0, 1.001)},
        verdict="passed",
        tokens_per_second=24.04,
        baseline_tokens_per_second=21.7,
        first_token_ms=61.04,
        generation_speedup=1.108,
    ),
    row(
        "gpt2/int8",
        metrics={"top1": judged(0.97), "kl_mean": judged(0.0523, 0.01, passed=False)},
        verdict="failed",
    ),
)


def headings(table):
    return re.split(r" {2,}", table.splitlines()[0])


def without_colour(text):
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def test_generation_gets_its_columns():
    spread = {"median": 24.04, "min": 23.0, "max": 25.0}
    facts = {
        "engines": {
            "onnxruntime": {"tokens_per_second": spread, "time_to_first_token_ms": {"median": 61.0}},
            "torch": {"tokens_per_second": {"median": 21.7}},
        },
        "speedup": {"median": 1.1},
    }
    measured = {"headline": {"p50_ms": 130.4, "baseline_p50_ms": 141.2, "speedup": 141.2 / 130.4}}
    generated = outcome(f"{FP32.name}:generate", "built", facts=facts)
    benchmark = outcome(f"{FP32.name}:benchmark", "built", facts=measured)
    assert as_text(rows(BERT, outcomes_of(generated, benchmark))[:1]) == (
        "variant    latency p50  PyTorch p50  speed-up  first token  tokens/s  PyTorch tokens/s  generation speed-up\n"
        "bert/fp32       130 ms       141 ms     1.08×      61.0 ms      24.0              21.7                1.10×"
    )


def test_a_dash_stands_for_what_one_variant_lacks_and_no_column_holds_dashes_alone():
    assert as_text([Row(name="a/b"), Row(name="a/int8", size_bytes=22_850_000)]) == (
        "variant     size\na/b            –\na/int8   22.9 MB"
    )


@pytest.mark.parametrize("found", [[], [Row(name="a/b")]])
def test_without_a_measurement_there_is_no_table(found):
    assert as_text(found) == ""


@pytest.mark.parametrize(
    ("thresholds", "shown"),
    [
        ({"kl_mean": 0.01, "perplexity_ratio": 1.01}, {"perplexity ratio": "1.0020", "KL divergence": "4.7e-03"}),
        ({"max_probability": 0.02, "top1": 0.995}, {"top-1": "0.9980", "probability diff": "0.0154"}),
        ({"cosine_mean": 0.98}, {"cosine": "0.9931"}),
        ({"max_abs": 0.2, "cosine_min": 0.5}, {"cosine": "0.9931"}),
        ({"max_abs": 0.2}, {"cosine": "0.9931"}),
        ({"max_abs": 1e-3}, {"max diff": "0.1000 > 0.001"}),
        ({"cosine_min": 0.9}, {"cosine": "0.9931", "worst cosine": "0.8700 < 0.9"}),
    ],
)
def test_the_columns_are_what_the_task_is_judged_by(thresholds, shown):
    metrics = {
        "max_abs": 0.1,
        "cosine_mean": 0.9931,
        "cosine_min": 0.87,
        "top1": 0.998,
        "perplexity_ratio": 1.002,
        "kl_mean": 0.0047,
        "max_probability": 0.0154,
    }
    checked = outcome(f"{FP32.name}:validate", "hit", facts={"metrics": metrics, "thresholds": thresholds})
    table = as_text(rows(BERT, outcomes_of(checked))[:1])
    assert dict(zip(headings(table)[1:], re.split(r" {2,}", table.splitlines()[1])[1:], strict=True)) == shown


def test_a_metric_is_shown_for_every_variant_that_measured_it():
    assert as_text(GPT).splitlines()[2].split() == [
        "gpt2/int8", "90.4", "MB", "–", "0.0523", ">", "0.01", "0.9700", "FAILED", "25.6", "ms", "33.2", "ms", "1.30×",
        "–", "–", "–", "–",
    ]  # fmt: skip


LONG = tuple(
    structs.replace(one, name=f"a-rather-long-model-name-for-the-production-system-of-2026/{target}")
    for one, target in zip(GPT, ("fp32", "int8-for-the-old-servers"), strict=True)
)
VALUES = [cell for one in table_of(GPT)[1:] for cell in (one.heading, *(cell.text for cell in one.cells))]


@pytest.mark.parametrize("found", [GPT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_a_table_fits_the_width_and_neither_a_heading_nor_a_number_is_wrapped(width, found):
    table = as_text(found, width)
    names = [one.name for one in found]
    others = [line for line in table.splitlines() if line not in names]
    assert max(map(cells, others)) <= width
    for value in VALUES:
        assert re.search(rf"(^|  ){re.escape(value)}(  |$)", table, re.MULTILINE), value
    # Each block of columns begins with the names of all rows, whole.
    assert {table.count(name) for name in [*names, "variant"]} == {table.count("\n\n") + 1}


@pytest.mark.parametrize("found", [GPT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("width", [None, 10, 40, 80, 200])
def test_colour_changes_no_character_of_a_table(width, found):
    coloured = as_text(found, width, colour=True)
    assert without_colour(coloured) == as_text(found, width)
    assert "\x1b[31m0.0523 > 0.01\x1b[0m" in coloured
    assert "\x1b[1mvariant\x1b[0m" in coloured


def test_long_names_stand_above_their_values():
    assert as_text([structs.replace(one, metrics={}) for one in LONG], 80) == (
        "variant\n"
        "     size   check  latency p50  PyTorch p50  speed-up  first token  tokens/s\n"
        "a-rather-long-model-name-for-the-production-system-of-2026/fp32\n"
        "  90.4 MB  passed      25.6 ms      33.2 ms     1.30×      61.0 ms      24.0\n"
        "a-rather-long-model-name-for-the-production-system-of-2026/int8-for-the-old-servers\n"
        "  90.4 MB  FAILED      25.6 ms      33.2 ms     1.30×            –         –\n"
        "\n"
        "variant\n"
        "  PyTorch tokens/s  generation speed-up\n"
        "a-rather-long-model-name-for-the-production-system-of-2026/fp32\n"
        "              21.7                1.11×\n"
        "a-rather-long-model-name-for-the-production-system-of-2026/int8-for-the-old-servers\n"
        "                 –                    –"
    )


def test_a_speed_up_that_the_two_columns_contradict_has_a_note():
    found = [Row(name="bert/o2", latency_ms=66.4, baseline_ms=91.9, speedup=1.92), row("bert/o3")]
    assert as_text(found) == (
        "variant     size  latency p50  PyTorch p50  speed-up\n"
        "bert/o2        –      66.4 ms      91.9 ms    1.92×†\n"
        "bert/o3  90.4 MB      25.6 ms      33.2 ms     1.30×\n"
        "\n"
        "† the median of the ratios of single rounds; the medians of all calls differ from it by more than 5 %"
    )


@pytest.mark.parametrize(
    ("speedup", "torch", "own", "noted"),
    [(0.92, 26.7, 29.3, False), (1.05, 100, 100, False), (1.06, 100, 100, True), (1.0, 107, 100, True),
     (1.9, None, 100, False), (None, 100, 50, False)],
)  # fmt: skip
def test_a_difference_of_five_percent_is_noted_for_latencies_and_for_rates(speedup, torch, own, noted):
    latencies = Row(name="a/b", latency_ms=own, baseline_ms=torch, speedup=speedup)
    rates = Row(
        name="a/b", tokens_per_second=torch, baseline_tokens_per_second=own, generation_speedup=speedup, size_bytes=1
    )
    assert ["†" in as_text([latencies]), "†" in as_text([rates])] == [noted, noted]


@pytest.mark.parametrize(
    ("value", "bound", "shown"),
    [
        (0.971, 0.99, "0.9710 < 0.99"),
        (0.9999984, 1.0, "0.999998 < 1"),
        (0.99999, 0.999995, "0.99999 < 0.999995"),
        (0.99, 0.99999999, "0.9900 < 0.99999999"),
        (1.0000000000000002, 1.0, "1.0000000000000002 > 1"),
        (float("nan"), 0.9, "nan ≠ 0.9"),
    ],
)
def test_a_broken_bound_has_as_many_digits_as_show_that_it_is_broken(value, bound, shown):
    table = as_text([row("bert/o2", metrics={"cosine_mean": judged(value, bound, passed=False)})])
    assert shown in table


def test_a_narrow_terminal_shows_the_columns_below_one_another():
    found = [row("bert/o2", metrics={"cosine_mean": judged(1.0, 0.99)}, contended=True)]
    assert as_text(found, 40) == (
        "variant     size  cosine  latency p50\n"
        "bert/o2  90.4 MB  1.0000     25.6 ms*\n"
        "\n"
        "variant  PyTorch p50  speed-up\n"
        "bert/o2      33.2 ms     1.30×\n"
        "\n"
        "* measured while other programs used the\n"
        "  cores: compare within a row, not\n"
        "  across runs"
    )


def test_a_variant_that_was_not_validated_has_no_verdict():
    blocked = outcome(f"{FP32.name}:validate", "blocked", blocked_by="bert:export")
    assert rows(BERT, outcomes_of(blocked))[0].verdict is None


def test_markdown_holds_the_same_cells():
    lines = as_markdown([row("a|b/o2", contended=True), GPT[1]]).splitlines()
    assert lines == [
        "| variant | size | KL divergence | check | latency p50 | PyTorch p50 | speed-up |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| a\\|b/o2 | 90.4 MB | – | – | 25.6 ms\\* | 33.2 ms | 1.30× |",
        "| gpt2/int8 | 90.4 MB | 0.0523 > 0.01 | FAILED | 25.6 ms | 33.2 ms | 1.30× |",
        "",
        "\\* measured while other programs used the cores: compare within a row, not across runs",
    ]


def test_json_holds_values_and_bounds():
    found = json.loads(as_json(GPT))
    assert [one["name"] for one in found] == ["gpt2/fp32", "gpt2/int8"]
    assert found[1]["metrics"]["kl_mean"] == {"value": 0.0523, "bound": 0.01, "passed": False}
    assert (found[1]["verdict"], found[1]["tokens_per_second"], found[0]["first_token_ms"]) == ("failed", None, 61.04)


SPREAD = {"median": 1.9, "min": 0.92, "max": 2.84}


@pytest.mark.parametrize(("least", "most", "shown"), [(0.92, 2.84, "≈ 1"), (1.0, 1.3, "≈ 1"), (1.01, 2.84, "1.90×")])
def test_no_ratio_is_shown_where_the_rounds_lie_on_both_sides_of_one(least, most, shown):
    spread = {**SPREAD, "min": least, "max": most}
    measured = {
        "headline": {"p50_ms": 10.0, "baseline_p50_ms": 19.0, "baseline": "torch", "speedup": 1.9},
        "results": [{"speedup": {"torch": spread}}, {"speedup": {"torch": SPREAD}}],
    }
    generated = {"engines": {"onnxruntime": {"tokens_per_second": {"median": 24.0}}}, "speedup": spread}
    made = (("benchmark", measured), ("generate", generated))
    outcomes = outcomes_of(*(outcome(f"{FP32.name}:{kind}", "built", facts=facts) for kind, facts in made))
    found = rows(BERT, outcomes)[0]
    assert (found.is_as_fast, found.generates_as_fast) == (shown == "≈ 1", shown == "≈ 1")
    text = as_text([found])
    assert text.count(shown) == (3 if shown == "≈ 1" else 2)  # with the note
    assert ("on both sides of 1" in text) is (shown == "≈ 1")
