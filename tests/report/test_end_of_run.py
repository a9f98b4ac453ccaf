"""What stands around the table: generated text, the folders that were written."""

import os

import pytest
from msgspec import structs
from report_worlds import action, graph_of, outcome, outcomes_of

from onnxbuild.deliver.out_folder import Delivery
from onnxbuild.report.result.generated_text import generated_text
from onnxbuild.report.result.written_folders import written_folders

GENERATE = structs.replace(action("gpt2/q4:generate"), params={"prompts": ["The harbour", "Once\nupon"]})


def generated(texts):
    facts = {"engines": {"onnxruntime": {"text": texts}}}
    return outcomes_of(outcome("gpt2/q4:generate", "built", facts=facts))


def test_prompts_stand_with_their_continuation():
    assert generated_text(graph_of(GENERATE), generated([" was\nquiet \x1b[2J.", " a time"])) == (
        "gpt2/q4  The harbour → was quiet  [2J.\ngpt2/q4  Once upon → a time"
    )


def test_a_long_text_is_cropped_to_the_width():
    lines = generated_text(graph_of(GENERATE), generated(["モデル" * 30, "x" * 300]), width=40).splitlines()
    assert lines == ["gpt2/q4  The harbour → モデルモデルモデ…", "gpt2/q4  Once upon → " + "x" * 18 + "…"]


def test_only_what_the_selection_names_is_shown():
    assert generated_text(graph_of(GENERATE), generated(["a", "b"]), named={"gpt2/fp32:generate"}) == ""


@pytest.mark.parametrize("facts", [{}, {"engines": None}, {"engines": {"onnxruntime": {"text": None}}}])
def test_facts_without_text_show_nothing(facts):
    failed = outcomes_of(outcome("gpt2/q4:generate", "failed", facts=facts))
    assert generated_text(graph_of(GENERATE), failed) == ""


def delivery(model, target, state="written", root=None):
    return Delivery(f"{model}/{target}", os.path.join(root or os.getcwd(), "out", model, target), state)


def test_a_line_per_model_names_the_folders_that_were_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deliveries = [
        delivery("bert", "fp32"),
        delivery("bert", "o2", "intact"),
        delivery("bert", "int8", "mended"),
        delivery("gpt2", "q4", "withheld"),
        *(delivery("vit", f"t{number}") for number in range(11)),
    ]
    assert written_folders(deliveries) == [
        f"wrote out{os.sep}bert{os.sep} (fp32, int8)",
        f"wrote out{os.sep}vit{os.sep} (t0, t1, t2, t3, t4, t5, t6, t7 and 3 more)",
    ]


def test_a_folder_elsewhere_is_named_in_full(tmp_path, monkeypatch):
    inside = tmp_path / "here"
    inside.mkdir()
    monkeypatch.chdir(inside)
    elsewhere = str(tmp_path / "there")
    assert written_folders([delivery("bert", "o2", root=elsewhere)]) == [
        f"wrote {os.path.join(elsewhere, 'out', 'bert')}{os.sep} (o2)"
    ]
