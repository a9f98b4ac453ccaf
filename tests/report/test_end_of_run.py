"""What is printed around the table: generated text, the folders that were written."""

import os

import pytest
from msgspec import structs
from report_worlds import BERT, FP32, INT8, action, graph_of, outcome, outcomes_of

from onnxbuild.report.result.folders_written import folders_in_words
from onnxbuild.report.result.generated_text import generated_text
from onnxbuild.report.result.summary import summary

PROMPTS = {"prompts": ["The harbour", "Once\nupon"]}
GENERATES = tuple(structs.replace(action(f"{v.name}:generate"), params=PROMPTS) for v in (FP32, INT8))
GRAPH = graph_of(*BERT.actions.values(), *GENERATES, variants=(FP32, INT8))


def generated(variant, texts, torch=None):
    facts = {"engines": {"onnxruntime": {"text": texts}, **({"torch": {"text": torch}} if torch else {})}}
    return outcome(f"{variant.name}:generate", "built", facts=facts)


def test_each_prompt_stands_above_what_every_variant_made_of_it():
    outcomes = outcomes_of(
        generated(FP32, [" was\nquiet \x1b[2J.", " a time"], [" was\nquiet \x1b[2J.", " a midnight"]),
        generated(INT8, [" burned", " a night"]),
    )
    assert generated_text(GRAPH, outcomes) == (
        'prompt: "The harbour"\n'
        '  bert/fp32, as PyTorch: "was quiet [2J."\n'
        '  bert/int8: "burned"\n'
        'prompt: "Once upon"\n'
        '  bert/fp32: "a time"\n'
        '  bert/fp32, PyTorch: "a midnight"\n'
        '  bert/int8: "a night"'
    )


def test_a_long_text_is_cropped_by_cells():
    outcomes = outcomes_of(generated(INT8, ["モデル" * 30, "x" * 300]))
    assert generated_text(GRAPH, outcomes, width=30).splitlines() == [
        'prompt: "The harbour"',
        '  bert/int8: "モデルモデルモ…',
        'prompt: "Once upon"',
        '  bert/int8: "xxxxxxxxxxxxxxx…',
    ]
    assert generated_text(GRAPH, outcomes).splitlines()[3] == f'  bert/int8: "{"x" * 99}…"'


def test_generated_text_stands_below_the_table():
    end = summary(GRAPH, outcomes_of(generated(INT8, [" burned", " a night"])), seconds=7.2)
    assert end.startswith('prompt: "The harbour"\n  bert/int8: "burned"')
    assert end.endswith("\n\nbuilt 1, unchanged 0, hit 0, failed 0 in 7.2s")


@pytest.mark.parametrize("options", [{"brief": True}, {"interrupted": True}])
def test_a_brief_or_interrupted_end_has_neither_table_nor_text(options):
    end = summary(GRAPH, outcomes_of(generated(INT8, [" burned", " a night"])), seconds=7.2, **options)
    assert "\n" not in end


@pytest.mark.parametrize("facts", [{}, {"engines": None}, {"engines": {"onnxruntime": {"text": None}}}])
def test_facts_without_text_show_nothing(facts):
    assert generated_text(GRAPH, outcomes_of(outcome(f"{INT8.name}:generate", "built", facts=facts))).count("bert") == 0


def test_a_few_folders_are_named_and_many_are_counted(tmp_path, monkeypatch):
    inside = tmp_path / "here"
    inside.mkdir()
    monkeypatch.chdir(inside)
    few = [os.path.join("out", "bert", target) for target in ("fp32", "int8")]
    assert folders_in_words([str(inside / one) for one in few]) == f"wrote {few[0]}{os.sep}, {few[1]}{os.sep}"
    many = [str(inside / "out" / "bert" / f"t{number}") for number in range(7)]
    assert folders_in_words(many) == f"wrote 7 folders below {os.path.join('out', 'bert')}{os.sep}"
    elsewhere = str(tmp_path / "there" / "out" / "bert" / "o2")
    assert folders_in_words([elsewhere]) == f"wrote {elsewhere}{os.sep}"
