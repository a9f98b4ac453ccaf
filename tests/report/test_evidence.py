# ruff: noqa: RUF001 - dashes are as the report prints them
import csv
import io
import json

from evidence_worlds import MACHINE, benchmark, evidence, outcomes, result, trace, validation
from msgspec import structs
from report_worlds import BERT, FP32

from onnxbuild.report.evidence.configurations import configuration_columns
from onnxbuild.report.evidence.evidence import Ratio, Step
from onnxbuild.report.evidence.figure_tables import (
    check_table,
    choice_table,
    in_markdown,
    latency_table,
    meanings,
    ratio_words,
)
from onnxbuild.report.evidence.formats import as_csv, as_json, as_markdown
from onnxbuild.report.evidence.front import Point, front_of, tradeoffs
from onnxbuild.report.evidence.gathering import gather
from onnxbuild.report.evidence.session_table import session_table
from onnxbuild.report.page.html_page import html_page
from onnxbuild.report.result.result_table import drawn
from onnxbuild.tables.choices import Choice, condition


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_every_measured_configuration_and_baseline_is_shown():
    table = latency_table(evidence())
    shown = {tuple(row[table.head.index(name)] for name in ("variant", "engine", "batch")) for row in texts(table)}
    assert shown == {
        ("bert/fp32", "onnxruntime", "1"), ("bert/fp32", "torch", "1"), ("bert/fp32", "torch.compile", "1"),
        ("bert/fp32", "onnxruntime", "8"), ("bert/fp32", "torch", "8"),
        ("bert/o2", "onnxruntime", "1"), ("bert/o2", "torch", "1"),
        ("bert/int8", "onnxruntime", "1"), ("bert/int8", "torch", "1"),
    }  # fmt: skip
    assert "past" not in table.head  # no engine had a past


def test_a_ratio_is_shown_only_where_its_range_excludes_1():
    assert ratio_words(Ratio(baseline="torch", median=1.5, least=1.35, most=1.65)) == "1.50× torch (1.35 to 1.65)"
    assert ratio_words(Ratio(baseline="torch", median=1.02, least=0.98, most=1.06)) == "as torch (0.98 to 1.06)"
    assert ratio_words(Ratio(baseline="torch", median=0.5, least=0.45, most=0.6)) == "0.50× torch (0.45 to 0.60)"


def test_a_failed_check_shows_its_value_its_bound_and_its_place():
    table = check_table(evidence())
    row = next(row for row in table.rows if row[0].text == "bert/int8" and row[1].text == "cosine_mean")
    assert [(cell.text, cell.wrong) for cell in row] == [
        ("bert/int8", False), ("cosine_mean", False), ("0.6500", True), ("≥ 0.98", False), ("FAILED", True),
        ("46 rows, 924 tokens: sentences", False), ("output `logits`, shape 1×37", False),
    ]  # fmt: skip


def test_each_metric_is_explained():
    assert meanings(evidence()) == {
        "cosine_mean": "mean cosine of the rows, worst output",
        "max_abs": "largest absolute difference of any element of any output",
    }


def test_the_front_is_what_no_other_variant_beats_in_both():
    points = [Point("fast", 5, 0.02), Point("exact", 20, 0.0), Point("worse", 21.5, 0.03), Point("between", 10, 0.01)]
    assert front_of(points) == {"fast", "exact", "between"}


def test_noise_beats_nothing():
    close = [Point("one", 20.0, 3e-8), Point("other", 20.8, 9e-8)]
    assert front_of(close) == {"one", "other"}
    assert front_of([*close, Point("slower", 22.0, 5e-8)]) == {"one", "other"}
    assert front_of([Point("one", 20.0, 0.01), Point("less exact", 20.4, 0.02)]) == {"one"}


def test_the_tradeoff_has_the_deviation_from_the_ideal():
    (tradeoff,) = tradeoffs(evidence().variants)
    assert tradeoff.words == "1 - mean cosine"
    assert [(point.name, point.milliseconds, round(point.deviation, 6)) for point in tradeoff.points] == [
        ("bert/fp32", 20.0, 0.0), ("bert/o2", 20.4, 0.00001), ("bert/int8", 6.0, 0.35),
    ]  # fmt: skip
    assert tradeoff.front == {"bert/fp32"}  # int8, the fastest, failed


def test_csv_has_one_line_per_figure():
    lines = list(csv.DictReader(io.StringIO(as_csv(evidence()))))
    sizes = {line["target"]: line["value"] for line in lines if line["figure"] == "size"}
    assert sizes == {"fp32": "90400000", "o2": "90300000", "int8": "22800000"}
    failed = [line for line in lines if line["passed"] == "false"]
    assert [(line["figure"], line["value"], line["bound"], line["side"]) for line in failed] == [
        ("cosine_mean", "0.65", "0.98", "min")
    ]
    compiled = [line["value"] for line in lines if line["engine"] == "torch.compile" and line["figure"] == "p50"]
    assert compiled == ["25.0"]


def test_json_holds_what_the_page_is_made_from():
    whole = json.loads(as_json(evidence()))
    assert whole["source"] == "toy.yaml"
    assert [variant["row"]["verdict"] for variant in whole["variants"]] == ["passed", "passed", "failed"]
    steps = {step["id"]: step for step in whole["variants"][0]["steps"]}
    assert steps["bert/fp32:benchmark"]["machine"] == MACHINE
    assert steps["bert:export"]["seconds"] == 61.5


def test_markdown_is_a_table_with_the_others_folded_in():
    text = as_markdown(evidence())
    assert "3 variants (2 passed, 1 failed) of 1 model" in text
    assert "| **0.6500 &lt; 0.98** | **FAILED** |" in text
    assert "- **bert/int8:validate** OBE04 `cosine_mean` is 0.65, below 0.98" in text
    assert "- measured on Toy 3000, x86_64, 3 cores, avx2" in text
    assert text.count("<details>") == text.count("</details>") == 3


def test_markdown_fits_a_comment_whatever_was_built():
    big = evidence()
    many = type(big)(onnxbuild="1", source="x", ended=None, variants=big.variants * 200)
    text = as_markdown(many)
    assert len(text) < 65_536
    assert "too long for a comment" in text


def test_cells_cannot_break_a_table():
    table = check_table(evidence())
    odd = type(table)(table.head, (tuple(type(cell)("a|b*<i>") for cell in table.rows[0]),))
    assert in_markdown(odd).splitlines()[2].startswith("| a\\|b\\*&lt;i> |")


def test_nothing_built_yet_is_evidence_too():
    nothing = gather(BERT, {}, lambda _key: None, source="toy.yaml", ended=None)
    assert "Nothing has been run yet." in as_markdown(nothing)
    assert [variant.steps for variant in nothing.variants] == [(), (), ()]


def test_a_terminal_shows_every_configuration_once_there_are_several():
    text = drawn(configuration_columns(BERT, outcomes()))
    assert [line.split() for line in text.splitlines()] == [
        ["variant", "batch", "tokens", "p50", "torch", "p50", "speed-up", "torch.compile", "p50", "speed-up"],
        ["bert/fp32", "1", "37", "20.0", "ms", "30.0", "ms", "1.50×", "25.0", "ms", "1.25×"],
        ["bert/fp32", "8", "37", "90.0", "ms", "88.0", "ms", "≈", "1", "–", "–"],
        ["bert/o2", "1", "37", "20.4", "ms", "30.6", "ms", "1.50×", "–", "–"],
        ["bert/int8", "1", "37", "6.00", "ms", "30.0", "ms", "5.00×", "–", "–"],
    ]
    one_each = {name: one for name, one in outcomes().items() if name != "bert/fp32:benchmark"}
    assert configuration_columns(BERT, one_each) == []


def test_a_tuned_variant_has_a_row_with_what_its_server_should_set():
    facts = {
        "settings": {"threads": "1", "memory_arena": "off"},
        "goal": "smallest cpu_time",
        "gain": {"median": 2.147, "min": 1.879, "max": 2.883},
        "because": "threads 1, memory arena off: better",
        "tried": [{}, {}],
        "contended": False,
    }
    step = Step(id="bert/int8:tune", kind="tune", outcome="built", facts=facts)
    first, *others = evidence().variants
    tuned = structs.replace(evidence(), variants=(structs.replace(first, steps=(*first.steps, step)), *others))
    assert [[cell.text for cell in row] for row in session_table(tuned).rows] == [
        [
            first.name, "threads 1, memory arena off", "smallest cpu_time", "2.15× (1.88 to 2.88)", "2",
            "threads 1, memory arena off: better",
        ]
    ]  # fmt: skip
    assert "<summary>Session settings</summary>" in as_markdown(tuned)
    assert "Session settings" not in as_markdown(evidence())


def with_warning(text):
    base = outcomes()
    warned = structs.replace(base[f"{FP32.name}:validate"], facts={"warnings": [text, 7]})
    return gather(BERT, base | {warned.id: warned}, trace, source="toy.yaml", ended=None)


def test_a_report_shows_what_a_step_warned_of():
    text = as_markdown(with_warning("compared on seeded ids <b>"))
    assert f"- {FP32.name}:validate warning: compared on seeded ids &lt;b>" in text
    page = html_page(with_warning("compared on seeded ids <b>"), [])
    assert f"<strong>{FP32.name}:validate</strong> warning: compared on seeded ids &lt;b&gt;" in page
    assert json.loads(as_json(with_warning("x")))["variants"][0]["steps"][-2]["facts"]["warnings"] == ["x", 7]


def test_a_variant_of_one_shape_shows_what_it_ran_beside_what_was_asked_for():
    """A text of 5 tokens is filled up to 37, and 7 rows take 4 calls."""
    ran = {"ran_as": {"batch": 2, "sequence": 37, "calls": 4}}
    world = {"bert/o2:benchmark": benchmark("bert/o2", result(20.0, 30.0, batch=7, sequence=5) | ran)}
    assert [line.split() for line in drawn(configuration_columns(BERT, world)).splitlines()] == [
        ["variant", "batch", "tokens", "ran", "as", "p50", "torch", "p50", "speed-up"],
        ["bert/o2", "7", "5", "4", "calls", "of", "2×37", "20.0", "ms", "30.0", "ms", "1.50×"],
    ]
    built = gather(BERT, world, trace, source="toy.yaml", ended=1_800_000_000.0)
    table = latency_table(built)
    assert [row[table.head.index("ran as")] for row in texts(table)] == ["4 calls of 2×37", "–"]
    assert "| tokens | ran as |" in as_markdown(built)
    lines = csv.DictReader(io.StringIO(as_csv(built)))
    assert {(line["tokens"], line["ran_as"]) for line in lines if line["engine"] == "onnxruntime"} == {
        ("5", "4 calls of 2×37")
    }
    (own, torch) = json.loads(as_json(built))["variants"][1]["measurements"]
    assert (own["sequence"], own["ran_as"], torch["ran_as"]) == (5, ran["ran_as"], None)


def test_a_report_has_the_choice_in_every_format():
    conditions = tuple(filter(None, (condition("cosine_mean", ">= 0.9"), condition("size_mb", "<= 100"))))
    one = Choice("bert", "latency.p50", False, conditions, ("fp32", "o2", "int8"))
    passed = outcomes() | {"bert/int8:validate": validation("bert/int8", 0.65, 0.5)}
    variants = tuple(structs.replace(variant, measures=variant.measures[:1]) for variant in BERT.variants)
    graph = structs.replace(BERT, variants=variants, choices=(one,))
    built = gather(graph, passed, trace, source="toy.yaml", ended=1_800_000_000.0)
    words = "best of bert: fp32, the smallest latency.p50 (20) where cosine_mean >= 0.9 and size_mb <= 100"
    assert texts(choice_table(built)) == [
        ["bert/fp32", "20 (smallest latency.p50)", "1 (cosine_mean >= 0.9), 90.4 (size_mb <= 100)", "best"],
        ["bert/o2", "20.4 (smallest latency.p50)", "1 (cosine_mean >= 0.9), 90.3 (size_mb <= 100)",
         "fits, and is not the best"],
        ["bert/int8", "6 (smallest latency.p50)", "0.65 (cosine_mean >= 0.9), 22.8 (size_mb <= 100)",
         "excluded: cosine_mean is 0.65, not >= 0.9"],
    ]  # fmt: skip
    assert json.loads(as_json(built))["choices"][0]["text"] == words
    assert words in as_markdown(built).replace("\\", "")
    page = html_page(built, [])
    assert words.replace(">", "&gt;").replace("<", "&lt;") in page
    assert '<a href="#choices">Choice</a>' in page
    best = [line for line in csv.DictReader(io.StringIO(as_csv(built))) if line["figure"].startswith("best: ")]
    assert [(line["target"], line["figure"], line["value"], line["bound"]) for line in best] == [
        ("fp32", "best: smallest latency.p50", "20.0", "cosine_mean >= 0.9 and size_mb <= 100")
    ]
