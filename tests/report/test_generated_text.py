"""The text that variants generated, at the end of a run."""

import pytest
from msgspec import structs
from report_worlds import BERT, INT8, O2, outcome, outcomes_of

from onnxbuild.planning.action_graph import Action, ActionGraph
from onnxbuild.report.result.generated_text import generated_text

PROMPTS = ["Once upon", "The\nsea"]


def world():
    names = [f"{variant.name}:generate" for variant in (O2, INT8)]
    made = {name: Action(id=name, kind="generate", params={"prompts": PROMPTS}, inputs={}) for name in names}
    return ActionGraph({**BERT.actions, **made}, (O2, INT8))


def generated(name, own, baseline):
    return outcome(name, "hit", facts={"engines": {"onnxruntime": {"text": own}, "torch": {"text": baseline}}})


def test_each_prompt_with_what_every_variant_made_of_it():
    same = generated("bert/o2:generate", [" a time", "\x1b[31mis wide"], [" a time", "\x1b[31mis wide"])
    other = generated("bert/int8:generate", [" a tide", "is\nwide"], [" a time", "is\nwide"])
    assert generated_text(world(), outcomes_of(same, other)) == (
        'prompt: "Once upon"\n'
        '  bert/o2, as PyTorch: "a time"\n'
        '  bert/int8: "a tide"\n'
        '  bert/int8, PyTorch: "a time"\n'
        'prompt: "The sea"\n'
        '  bert/o2, as PyTorch: "[31mis wide"\n'
        '  bert/int8, as PyTorch: "is wide"'
    )


def test_a_long_text_is_cut():
    long = generated("bert/o2:generate", ["x" * 101, ""], ["x" * 101, ""])
    assert f'"{"x" * 99}…"' in generated_text(world(), outcomes_of(long))


@pytest.mark.parametrize(
    ("text", "tokens", "limit", "shown"),
    [
        ("", 1, 64, "(no text: the first token ends it)"),
        ("", 1, 1, "(1 token without visible text)"),
        ("\n \n", 17, 17, "(17 tokens without visible text)"),
        ("", None, 64, '""'),
        ("x", 1, 64, '"x"'),
    ],
)
def test_an_empty_text_says_why_it_is_empty(text, tokens, limit, shown):
    name = "bert/o2:generate"
    params = {"prompts": ["Once"], "max_new_tokens": limit}
    graph = ActionGraph({**BERT.actions, name: Action(id=name, kind="generate", params=params, inputs={})}, (O2,))
    counted = {"new_tokens": [tokens]} if tokens else {}
    engines = {"onnxruntime": {"text": [text], **counted}, "torch": {"text": [text + "y"], "new_tokens": [7]}}
    facts = generated_text(graph, outcomes_of(outcome(name, "hit", facts={"engines": engines})))
    assert facts.splitlines()[1] == f"  bert/o2: {shown}"


def test_without_a_generation_there_is_no_text():
    failed = structs.replace(generated("bert/o2:generate", ["a", "b"], ["a", "b"]), outcome="failed")
    assert generated_text(world(), outcomes_of(failed)) == ""
    assert generated_text(BERT, {}) == ""
    odd = outcome("bert/o2:generate", "hit", facts={"engines": {"onnxruntime": {"text": "no list"}}})
    assert generated_text(world(), outcomes_of(odd)) == ""
