"""Files of rows that are not what they seem: each is read as what it means, or refused with its line."""

import pytest

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.dataset_rows import Rows
from onnxbuild.workers.inputs.dataset_texts import texts


def read(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    return list(texts(tmp_path, Rows(), samples=10, seed=0))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", '{"text": "one"}\n{"text": null}\n', ["one", ""]),
        ("a.jsonl", '{"text": 3}\n', ["3"]),
        ("a.jsonl", '\ufeff{"text": "one"}\n', ["one"]),
        ("a.csv", "\ufefftext,label\none,1\n", ["one"]),
        ("a.csv", 'text,label\n"one, two",1\nthree\n', ["one, two", "three"]),
        ("a.csv", "label,text\n1\n", [""]),
    ],
)
def test_what_a_row_says(tmp_path, name, content, expected):
    assert read(tmp_path, name, content) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "one"}\n\n[1, 2]\n', "a.jsonl cannot be read: line 3 is no object with columns: [1, 2]"),
        ("a.jsonl", '{"text": "one"}\n{bad\n', "a.jsonl cannot be read: line 2, column 2: Expecting property name"),
        ("a.jsonl", '{"text": ["one"]}\n', "row 1 of a.jsonl has a list where a text is expected: ['one']"),
        ("a.jsonl", '{"text": {"a": 1}}\n', "row 1 of a.jsonl has an object where a text is expected"),
        (
            "a.csv",
            "text,label\none, two,1\n",
            "a.csv cannot be read: line 2 has more values than columns: quote a text",
        ),
        ("a.csv", "text,text\none,two\n", "a.csv cannot be read: two columns have the same name: text, text"),
    ],
)
def test_what_is_refused(tmp_path, name, content, message):
    with pytest.raises(CheckFailed, match="OBE58") as caught:
        read(tmp_path, name, content)
    assert caught.value.failure.message.startswith(message)
