# ruff: noqa: RUF001 - dashes are as the report prints them
import csv
import io
import json

import msgspec
import pytest
from report_worlds import BERT
from throughput_worlds import THROUGHPUT, evidence_with_throughput, outcomes_with_throughput

from onnxbuild.report.evidence.evidence import Evidence
from onnxbuild.report.evidence.figure_tables import throughput_table
from onnxbuild.report.evidence.formats import as_csv, as_json, as_markdown
from onnxbuild.report.evidence.throughput_columns import measured_texts, throughput_columns
from onnxbuild.report.page.html_page import html_page
from onnxbuild.report.page.plots import plots
from onnxbuild.report.page.throughput_plots import panels_of
from onnxbuild.report.result import status_text
from onnxbuild.report.result.result_table import CONTENDED, drawn
from onnxbuild.report.result.summary import summary

TABLE = [
    ["variant", "batch", "workers", "padding", "texts/s", "tokens/s", "torch", "texts/s", "speed-up", "best", "of"],
    ["bert/fp32", "1", "1", "1.00×", "100.0", "2000", "50.0", "2.00×", "–"],
    ["bert/fp32", "8", "1", "1.25×", "150.0", "3000", "160.0*", "≈", "1", "torch"],
    ["bert/fp32", "1", "2", "1.00×", "190.0", "3800", "90.0", "2.11×", "onnxruntime"],
]


def test_a_terminal_shows_every_setting_and_the_best_of_each_engine():
    text = drawn(throughput_columns(BERT, outcomes_with_throughput()))
    assert [line.split() for line in text.splitlines()] == TABLE


def test_run_and_status_show_the_table_and_say_once_what_its_mark_means():
    found = outcomes_with_throughput()
    for text in (summary(BERT, found, seconds=1.0), status_text.as_text(BERT, found, 1.0)):
        shown = [line.split() for line in text.splitlines()]
        assert all(line in shown for line in TABLE)
        assert text.count(CONTENDED) == 1
    assert CONTENDED not in "".join(measured_texts(BERT, found, None, noted=True))


def test_a_build_without_a_throughput_shows_none():
    assert throughput_columns(BERT, {}) == []
    assert throughput_table(evidence_with_throughput(facts={"results": []})).rows == ()


def test_the_table_of_a_report_has_ranges_and_no_ratio_that_includes_1():
    table = throughput_table(evidence_with_throughput())
    rows = [dict(zip(table.head, (cell.text for cell in row), strict=True)) for row in table.rows]
    first, unclear = (row for row in rows if row["engine"] == "onnxruntime" and row["workers"] == "1")
    assert {name: first[name] for name in ("texts/s", "min", "max", "tokens/s", "padding", "texts", "speed-up")} == {
        "texts/s": "100.0", "min": "90.0", "max": "110.0", "tokens/s": "2000.0", "padding": "1.00×", "texts": "60",
        "speed-up": "2.00× torch (1.80 to 2.20)",
    }  # fmt: skip
    assert unclear["speed-up"] == "as torch (0.90 to 1.03)"
    assert [(row["engine"], row["batch"], row["workers"]) for row in rows if row["best"] == "best"] == [
        ("torch", "8", "1"),
        ("onnxruntime", "1", "2"),
    ]
    assert "characters" not in table.head  # every text was read


def test_every_format_has_the_rates():
    one = evidence_with_throughput()
    lines = [line for line in csv.DictReader(io.StringIO(as_csv(one))) if line["stage"] == "throughput"]
    rates = {
        (line["engine"], line["batch"], line["workers"]): line["value"]
        for line in lines
        if line["figure"] == "texts_per_second"
    }
    assert rates["torch", "8", "1"] == "160.0"
    assert len(rates) == 6
    text = as_json(one)
    assert json.loads(text)["variants"][0]["throughputs"][0]["texts_per_second"] == 100.0
    assert msgspec.json.decode(text, type=Evidence).variants[0].throughputs == one.variants[0].throughputs
    assert "<summary>Throughput</summary>" in as_markdown(one)
    assert "| bert/fp32 | torch | sorted | 8 | 1 | 1 | 160.0 |" in as_markdown(one)


@pytest.mark.parametrize("facts", [None, 3, {"results": 3}, {"results": [{"engines": {}}]}, {"best": []}])
def test_facts_of_another_form_are_no_throughput(facts):
    assert [variant.throughputs for variant in evidence_with_throughput(facts).variants] == [(), (), ()]
    assert throughput_columns(BERT, outcomes_with_throughput(facts)) == []


def test_the_page_has_the_table_and_the_plot_by_workers():
    one = evidence_with_throughput()
    panels = panels_of(one.variants)
    assert {name: {line: sorted(points) for line, points in lines.items()} for name, lines in panels.items()} == {
        "batch 1, sorted": {"fp32": [1, 2], "torch": [1, 2]},
        "batch 8, sorted": {"fp32": [1], "torch": [1]},
    }
    drawn_plots = {plot.name: plot for plot in plots(one)}
    plot = drawn_plots["throughput-bert"]
    assert plot.title == "bert: texts per second by workers"
    assert plot.description == (
        "The highest rates in texts per second: fp32 190.0 (batch 1, sorted, 2 workers); "
        "torch 160.0 (batch 8, sorted, 1 worker)."
    )
    page = html_page(one, list(drawn_plots.values()))
    assert '<section id="throughputs"><h2>Throughput</h2>' in page
    assert '<a href="#throughputs">Throughput</a>' in page
    assert 'id="throughput-bert"' in page


def test_one_setting_alone_is_drawn_too():
    facts = {"results": THROUGHPUT["results"][:1], "best": []}
    (plot,) = [plot for plot in plots(evidence_with_throughput(facts)) if plot.name.startswith("throughput")]
    assert plot.description.endswith("torch 50.0 (batch 1, sorted, 1 worker).")
