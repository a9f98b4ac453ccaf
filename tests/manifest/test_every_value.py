"""A manifest in which one value at a time is replaced by another type: faults with a place, never an exception."""

import copy
import json
import os

import pytest

from onnxbuild.commands.lint import lint
from onnxbuild.machine import Machine
from onnxbuild.permissions import Permissions
from onnxbuild.report.render_diagnostics import render
from onnxbuild.steps import KINDS

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=(), cores=2)
WHOLE = {
    "onnxbuild": 1,
    "include": ["more.yaml"],
    "vars": {"text": "Once upon", "number": 1, "list": [1, 2]},
    "toolchains": {"old": {"requirements": ["torch==2.13.0"]}, "own": {"python": "venv/bin/python"}},
    "datasets": {
        "rows": {"source": [{"text": "hello"}], "columns": {"text": "text"}, "limit": 1, "seed": 0},
        "far": {"source": "hub:org/rows", "files": "a-*.parquet"},
        "file": {"source": "file:rows.jsonl"},
    },
    "targets": {
        "fp32": {},
        "o2": {"optimize": "O2", "device": "cpu"},
        "q4": {"quantize": {"method": "weight-only", "bits": 4, "block_size": 32}},
        "any": {"steps": [{"optimize": {"level": "O1"}}, {"quantize": {"method": "dynamic", "per_channel": True}}]},
    },
    "defaults": {"export": {"opset": 18}, "timeout": 100},
    "models": {
        "m": {
            "source": {
                "random": "gpt2",
                "config": {"n_layer": 2},
                "seed": 0,
                "tokenizer": {"text": "file:text.txt", "vocabulary": 300},
            },
            "task": "text-generation-with-past",
            "targets": ["o2", {"name": "mine", "optimize": "O1"}],
            "toolchain": "old",
            "validate": {"thresholds": {"max_abs": 0.001}, "shapes": [[1, 8]], "dataset": "rows"},
            "benchmark": {"batch": [1], "sequence": [8]},
            "generate": {"prompts": ["${vars.text}"], "max_new_tokens": 3},
            "tune": {"threads": [1], "minimize": "cpu_time", "subject_to": {"latency.p99": "<= 9"}},
        },
        "n-${matrix.x}": {
            "matrix": {"x": [1, 2], "exclude": [{"x": 2}]},
            "source": "hub:org/n-${matrix.x}",
            "task": "fill-mask",
            "export": {"exporter": "mine.py:export"},
            "targets": ["q4", "any"],
        },
    },
    "store": {"path": "store", "remote": "s3://${env.KEY}@bucket/x", "readonly": True},
}
TYPES = [-1, 1.5, True, None, [[1], None], {"a": {"b": []}}]
TEXTS = [
    "",
    "a$${x}b",
    "${vars.nope}",
    "${vars.list}",
    "a${env.KEY}",
    "~\0",
    "\x7f\u202e",
    "local:" + "x/" * 3000,
    "s3://[x]:y",
    "package:..",
    "/dev/zero",
]


def places(value, path=()):
    """The path of every value in a document."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from places(item, (*path, key))


def value_at(path):
    inside = WHOLE
    for key in path:
        inside = inside[key]
    return inside


def replaced(path, value):
    document = copy.deepcopy(WHOLE)
    inside = document
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return document


@pytest.fixture
def check(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KEY", "hush")
    (tmp_path / "more.yaml").write_text("vars: {more: 1}\n")
    (tmp_path / "mine.py").write_text("")
    (tmp_path / "text.txt").write_text("text")
    (tmp_path / "rows.jsonl").write_text('{"text": "hello"}\n')

    def faults(document):
        (tmp_path / "m.yaml").write_text(json.dumps(document))
        return lint("m.yaml", MACHINE, kinds=KINDS, permissions=Permissions(environment=("KEY",)))

    return faults


def test_the_whole_manifest_has_no_error(check):
    assert [one for one in check(WHOLE) if one.severity == "error"] == []


@pytest.mark.parametrize("path", [path for path in places(WHOLE) if path], ids=lambda path: ".".join(map(str, path)))
def test_every_value_may_be_anything(check, path):
    for value in [*TYPES, *(TEXTS if isinstance(value_at(path), str) else ())]:
        found = check(replaced(path, value))
        assert all(one.span or one.code == "OB031" for one in found), value
        assert "hush" not in render(found, "text"), value
        at = [(one.code, one.span) for one in found if one.message.startswith("expected")]
        assert len(set(at)) == len(at), f"one fault twice: {value!r}: {found}"


CASES = {
    "models: {m: {source: random:bert, targets: [fp32], toolchain: [a]}}": [
        ("OB011", "expected a string, found a list", "3:63")
    ],
    "models: {m: {source: random:bert, targets: [fp32], toolchain: {a: b}}}": [
        ("OB011", "expected a string, found a mapping", "3:63")
    ],
    "models: {m: {source: random:bert, targets: ['$${a}']}}": [("OB017", "unknown target `${a}`", "3:45")],
    "models: {m: {source: random:bert, targets: [fp32], toolchain: '$${x}'}}": [
        ("OB044", "unknown toolchain `${x}`", "3:63")
    ],
    "models: {'$${x}': {source: random:bert, targets: [fp32]}}": [("OB023", "`${x}` cannot name a model", "3:10")],
    "vars: {x: 5}\nmodels: {'m-${matrix.a}': {matrix: {a: '${vars.x}'}, source: random:bert, targets: [fp32]}}": [
        ("OB011", "expected a list, found the integer `5`", "4:40")
    ],
    'store: {remote: "webdavs://[::1"}\nmodels: {m: {source: random:bert, task: fill-mask, targets: [fp32]}}': [
        (
            "OB079",
            (
                "not the address of a remote store: its host or port is not valid; write special characters of a "
                "password as %XX"
            ),
            "3:17",
        )
    ],
    "vars: {v: {path: x}}\nstore: ${vars.v}\nmodels: {m: {source: random:bert, targets: [fp32]}}": [
        ("OB011", "expected a mapping, found the string `${vars.v}`", "4:8")
    ],
    "vars: {v: {task: x}}\ndefaults: ${vars.v}\nmodels: {m: {source: random:bert, targets: [fp32]}}": [
        ("OB011", "expected a mapping, found the string `${vars.v}`", "4:11")
    ],
    'models: {m: {source: random:bert, task: "a\\0b", targets: [fp32]}}': [
        ("OB022", "the character U+0000 is not allowed", "3:41")
    ],
    "include: '${vars.x}'\nmodels: {m: {source: random:bert, task: fill-mask, targets: [fp32]}}": [
        ("OB025", "a reference is not allowed in `include:`", "3:10")
    ],
    '"a\\0b": 1\nmodels: {m: {source: random:bert, task: fill-mask, targets: [fp32]}}': [
        ("OB022", "the character U+0000 is not allowed", "3:1")
    ],
}


@pytest.mark.parametrize("text", CASES)
def test_what_once_ended_a_lint(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yaml").write_text(f"onnxbuild: 1\ntargets: {{fp32: {{}}}}\n{text}\n")
    found = lint("m.yaml", MACHINE, kinds=KINDS)
    shown = [(one.code, one.message, f"{one.span.line}:{one.span.column}") for one in found]
    assert [one for one in shown if one[0] != "OB303"] == CASES[text]  # OB303: without weights, a task is missing


def test_one_wrong_target_is_one_fault(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yaml").write_text(
        "onnxbuild: 1\ntargets: {t: '$${x}'}\nmodels: {m: {source: random:bert, targets: [t]}}\n"
    )
    assert [(one.code, one.span.line) for one in lint("m.yaml", MACHINE, kinds=KINDS)] == [("OB011", 2)]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
@pytest.mark.parametrize("name", [b"m\xff.yaml", b"a\nb.yaml", b"\xe2\x80\xae.yaml"])
def test_a_manifest_may_have_any_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = os.fsdecode(name)
    (tmp_path / path).write_text("onnxbuild: 1\ntargets: {fp32: {}}\nmodels: {m: {source: 5, targets: [fp32]}}\n")
    found = lint(path, MACHINE, kinds=KINDS)
    assert [one.code for one in found] == ["OB011"]
    render(found, "text")
