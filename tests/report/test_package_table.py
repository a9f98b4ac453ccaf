"""The rows of packages: what each outcome of a check with a client is called, in every place that shows it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from onnxbuild.deliver.package_rows import package_rows, skipped_because
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import Action, ActionGraph, OutputRef, Packed, Variant
from onnxbuild.protocol import Failure
from onnxbuild.report.evidence.formats import as_markdown
from onnxbuild.report.evidence.gathering import gather
from onnxbuild.report.page.html_page import html_page
from onnxbuild.report.progress.lines import finished_lines
from onnxbuild.report.result import status_text
from onnxbuild.report.result.package_table import packages_as_text
from onnxbuild.report.result.summary import summary

WRITTEN = {"bytes": 12_345_678, "files": 11, "graphs": ["model.onnx"]}
CHECKED = {"client": "toy 3.1", "max_difference": {"model": 2.5e-7, "other": 1e-9}, "bound": 1e-6}


def world(
    checked: Mapping[str, Any] | Failure | None, *, client: bool = True
) -> tuple[ActionGraph, dict[str, Outcome]]:
    """A package `toy` of the model `m`; `checked`: the facts of its check, its failure, or None if it has not run."""
    packed = Packed(
        name="toy",
        client="m:client-toy" if client else None,
        variant=Variant(
            model="m", target="packages/toy", output=OutputRef("m:package-toy", "package"), precision="fp32",
            steps=("m:package-toy",), checks=("m:client-toy",) if client else (), measures=(),
        ),
    )  # fmt: skip
    names = ("m:package-toy", *(("m:client-toy",) if client else ()))
    actions = {name: Action(id=name, kind=name.partition(":")[2], params={}, inputs={}) for name in names}
    outcomes = {"m:package-toy": Outcome(id="m:package-toy", kind="package-toy", outcome="built", facts=WRITTEN)}
    if isinstance(checked, Failure):
        outcomes["m:client-toy"] = Outcome(id="m:client-toy", kind="client-toy", outcome="failed", failure=checked)
    elif checked is not None:
        outcomes["m:client-toy"] = Outcome(id="m:client-toy", kind="client-toy", outcome="hit", facts=checked)
    return ActionGraph(actions, packages=(packed,)), outcomes


@pytest.mark.parametrize(
    ("checked", "client", "check", "words"),
    [
        (CHECKED, True, "passed", "passed: toy 3.1"),
        ({}, True, "passed", "passed"),
        ({"skipped": "needs node"}, True, "skipped", "skipped: needs node"),
        (Failure(code="OBE190", message="other numbers"), True, "failed", "FAILED"),
        (None, True, None, "–"),  # noqa: RUF001
        (None, False, "off", "off"),
    ],
)
def test_each_outcome_of_a_check_has_its_words(checked: Any, client: Any, check: str, words: str) -> None:
    graph, outcomes = world(checked, client=client)
    (row,) = package_rows(graph, outcomes)
    assert (row.name, row.size_bytes, row.files, row.check) == ("m/packages/toy", 12_345_678, 11, check)
    head, line = packages_as_text([row]).splitlines()
    assert [one.strip() for one in line.split("  ") if one][:4] == ["m/packages/toy", "12.3 MB", "11", words]
    assert head.startswith("package ")


def test_a_skipped_check_is_never_called_passed() -> None:
    graph, outcomes = world({"skipped": "needs node"})
    texts = [
        summary(graph, outcomes, seconds=1.0),
        status_text.as_text(graph, outcomes, 1.0),
        status_text.as_markdown(graph, outcomes, 1.0),
        as_markdown(gather(graph, outcomes, lambda _key: None, source="m.yaml", ended=None)),
        html_page(gather(graph, outcomes, lambda _key: None, source="m.yaml", ended=None), ()),
    ]
    for text in texts:
        assert "skipped: needs node" in text
        assert "passed" not in text
    status = json.loads(status_text.as_json(graph, outcomes, 1.0))
    assert status["packages"] == [
        {"name": "m/packages/toy", "size_bytes": 12_345_678, "files": 11, "check": "skipped", "needs": "needs node",
         "client": None, "max_difference": None, "states": {}, "targets": []}
    ]  # fmt: skip


def test_the_line_of_a_skipped_check_says_what_it_needs() -> None:
    built = Outcome(id="m:client-toy", kind="client-toy", outcome="built", facts={"skipped": "needs node"}, seconds=2)
    first, second = finished_lines(built)
    assert first.split() == ["skipped", "m:client-toy", "2.0s"]
    assert second.strip() == "needs node"
    assert skipped_because(Outcome(id="a", kind="b", outcome="built", facts={"skipped": 3})) is None


def test_hostile_facts_stay_one_line() -> None:
    graph, outcomes = world({"client": "a\nb\x1b[31m", "max_difference": {"x": True, "y": "z"}})
    (row,) = package_rows(graph, outcomes)
    assert row.client == "a b\\x1b[31m"
    assert row.max_difference is None


@pytest.mark.parametrize("width", [80, 120])
def test_long_words_about_a_check_are_broken_at_spaces(width: int) -> None:
    needs = "needs a Triton server with the onnxruntime backend and tritonclient with the extra for HTTP, " * 2
    graph, outcomes = world({"skipped": needs.strip()})
    text = packages_as_text(package_rows(graph, outcomes), width)
    assert max(map(len, text.splitlines())) <= width
    table, below = text.split("\n\n")
    assert [one.strip() for one in table.splitlines()[-1].split("  ") if one][:4] == [
        "m/packages/toy", "12.3 MB", "11", "skipped",
    ]  # fmt: skip
    assert " ".join(below.split()) == f"m/packages/toy: skipped: {needs.strip()}"
