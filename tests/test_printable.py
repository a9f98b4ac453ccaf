"""Text from outside cannot command a terminal, reorder what a reader sees, or break an encoder."""

import json
import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxbuild.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\x9b31m", "\\u009b31m"),
        ("over\rwritten", "over\\rwritten"),
        ("bell\x07 and \x7f", "bell\\x07 and \\u007f"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2028b", "a\\u2028b"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("\ud800", "\\ud800"),
        ("名前 é 🙂", "名前 é 🙂"),
    ],
)
def test_control_characters_are_shown_and_others_stay(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(codec=None)))
def test_no_text_can_command_a_terminal(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert not any(ord(one) < 32 and one not in "\t\n" for one in shown)
    assert printable(shown) == shown


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_keeps_its_meaning(value: object) -> None:
    for text in (json.dumps(value, ensure_ascii=False, indent=2), msgspec.json.encode(value).decode()):
        assert json.loads(printable(text)) == value
