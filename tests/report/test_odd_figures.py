"""Figures that are no numbers, and results of earlier versions: every format is written, and none is the best."""

from __future__ import annotations

import copy
import csv
import io
import math
from typing import Any

import pytest
from evidence_worlds import benchmark, outcome, outcomes, result, trace
from msgspec import structs
from report_worlds import BERT, FP32, INT8, O2

from onnxbuild.execute.events import Outcome
from onnxbuild.report.evidence.comparison import compare
from onnxbuild.report.evidence.evidence import Evidence
from onnxbuild.report.evidence.formats import as_csv, as_json, as_markdown
from onnxbuild.report.evidence.front import tradeoffs
from onnxbuild.report.evidence.gathering import gather
from onnxbuild.report.evidence.saved import read_report
from onnxbuild.report.page.html_page import html_page
from onnxbuild.report.page.plots import plots


def with_outcome(one: Outcome) -> Evidence:
    return gather(BERT, {**outcomes(), one.id: one}, trace, source="toy.yaml", ended=1.0)


def written(evidence: Evidence) -> str:
    """Every format, one after the other; a comparison with what was saved finds nothing new."""
    saved = read_report(as_json(evidence).encode())
    assert compare(evidence, saved).gone == ()
    assert list(csv.reader(io.StringIO(as_csv(evidence))))
    return html_page(evidence, plots(evidence)) + as_markdown(evidence)


def cosine(value: float) -> Outcome:
    facts = {"passed": True, "metrics": {"cosine_mean": value}, "thresholds": {}}
    return outcome(f"{O2.name}:validate", "hit", facts=facts)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_an_accuracy_that_is_no_number_is_not_perfect(value: float) -> None:
    evidence = with_outcome(cosine(value))
    (tradeoff,) = tradeoffs(evidence.variants)
    assert O2.name not in {point.name for point in tradeoff.points} | tradeoff.front
    assert str(value) in written(evidence)
    saved = read_report(as_json(evidence).encode())
    assert math.isnan(next(one for one in saved.variants if one.name == O2.name).checks[0].value)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_latency_that_is_no_number_has_no_bar(value: float) -> None:
    evidence = with_outcome(benchmark(O2.name, result(value, 30.0)))
    (tradeoff,) = tradeoffs(evidence.variants)
    assert tradeoff.front == {FP32.name}
    assert written(evidence)


def test_what_failed_or_is_outdated_is_no_choice() -> None:
    evidence = with_outcome(benchmark(O2.name, result(20.0, 30.0)))
    (tradeoff,) = tradeoffs(evidence.variants)
    # INT8, the fastest, failed its validation.
    assert {point.name for point in tradeoff.points} == {FP32.name, O2.name, INT8.name}
    assert tradeoff.front == {FP32.name}
    old = [structs.replace(one, outdated="edited") if one.name == FP32.name else one for one in evidence.variants]
    assert tradeoffs(old)[0].front == {O2.name}
    lines = csv.DictReader(io.StringIO(as_csv(structs.replace(evidence, variants=tuple(old)))))
    assert {(line["target"], line["outdated"]) for line in lines} == {
        ("fp32", "true"),
        ("o2", "false"),
        ("int8", "false"),
    }


PLACES: list[tuple[Any, ...]] = [
    ("results", 0, "engines"), ("results", 0, "past"), ("results", 0, "speedup"), ("results", 0, "stage"),
    ("results", 0, "engines", "onnxruntime", "n"), ("results", 0, "engines", "onnxruntime", "p90_ms"),
    ("results", 0, "engines", "onnxruntime", "p50_ms"), ("results", 0, "speedup", "torch", "min"), ("headline",),
]  # fmt: skip


@pytest.mark.parametrize("value", ["missing", None, "text", [], {}])
@pytest.mark.parametrize("place", PLACES, ids=lambda place: str(place[-1]))
def test_results_of_another_shape_are_left_out(place: tuple[Any, ...], value: Any) -> None:
    whole = benchmark(O2.name, result(20.0, 30.0))
    facts = copy.deepcopy(dict(whole.facts))
    inner: Any = facts
    for part in place[:-1]:
        inner = inner[part]
    if value == "missing":
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    evidence = with_outcome(structs.replace(whole, facts=facts))
    assert [one.engine for one in evidence.variants[0].measurements][:2] == ["onnxruntime", "torch"]
    assert as_markdown(evidence)
    assert read_report(as_json(evidence).encode()).variants


def test_a_message_of_a_library_stays_text_in_markdown() -> None:
    from onnxbuild.protocol import Failure

    message = "`a_b` bad </details> <img src=x> @everyone **bold**\n\n# heading | cell `"
    failed = outcome(f"{O2.name}:benchmark", "failed", failure=Failure(code="OBE99", message=message, facts={}))
    text = as_markdown(with_outcome(failed))
    (line,) = [line for line in text.splitlines() if "OBE99" in line]
    shown = r"OBE99 `a_b` bad \</details\> \<img src=x\> \@everyone \*\*bold\*\* \# heading \| cell \`"
    assert line == f"- **bert/o2:benchmark** {shown}"


def test_what_was_not_measured_has_no_table_in_markdown() -> None:
    names = [name for name in outcomes() if not name.endswith((":benchmark", ":validate"))]
    text = as_markdown(gather(BERT, {name: outcomes()[name] for name in names}, trace, source="t.yaml", ended=1.0))
    assert "3 variants (3 not validated)" in text
    assert "Validation" not in text
    assert "Benchmarks" not in text
