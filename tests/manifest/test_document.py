import pytest

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.manifest.document import Array, Table
from onnxbuild.manifest.yaml_reader import DEEPEST, read_document
from onnxbuild.manifest.yaml_text import LARGEST_BYTES


def read(text):
    faults = []
    table = read_document(text if isinstance(text, bytes) else text.encode(), "m.yaml", faults)
    assert faults == []
    return table


def faults(text):
    found = []
    try:
        read_document(text if isinstance(text, bytes) else text.encode(), "m.yaml", found)
    except DiagnosticError as error:
        found = [*found, *error.diagnostics]
    return [(one.code, one.message, one.span and (one.span.line, one.span.column)) for one in found]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1.", 1.0),
        (".5", 0.5),
        ("-1E+2", -100.0),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("+7", 7),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("no", "no"),
        ("on", "on"),
        ("y", "y"),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("~", None),
        ("null", None),
        ("", None),
        ("2026-11-21", "2026-11-21"),
        ("'18'", "18"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("!!float 5", 5.0),
        ("!!int 5", 5),
        ("0b1", "0b1"),
        ("=", "="),
        ("hub:org/name@main", "hub:org/name@main"),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    found = read(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


def test_every_key_and_value_has_its_place():
    table = read("a: 1\nlonger:\n  - x\n  - {inner: 'é y'}\n")
    assert [(str(table.keys_at[key]), table.keys_at[key].length) for key in table] == [
        ("m.yaml:1:1", 1),
        ("m.yaml:2:1", 6),
    ]
    array = table["longer"]
    assert (type(array), [str(at) for at in array.items_at]) == (Array, ["m.yaml:3:5", "m.yaml:4:5"])
    assert (type(array[1]), str(array[1].value_span("inner")), array[1].value_span("inner").length) == (
        Table,
        "m.yaml:4:13",
        5,
    )


def test_an_alias_is_the_same_value():
    table = read("a: &x [1, 2]\nb: *x\n")
    assert table["b"] is table["a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("OB015", "the file is empty", (1, 1))]),
        ("# nothing\n", [("OB015", "the file is empty", (1, 1))]),
        ("- a\n", [("OB011", "expected a mapping, found a list", (1, 1))]),
        ("just text\n", [("OB011", "expected a mapping, found `just text`", (1, 1))]),
        ("a: 1\na: 2\nb: 3\nb: 4\n", [("OB014", "duplicate key `a`", (2, 1)), ("OB014", "duplicate key `b`", (4, 1))]),
        ("a:\n\tb: 1\n", [("OB015", "a tab cannot indent in YAML", (2, 1))]),
        ("a: 1\n---\nb: 2\n", [("OB015", "a second document begins here", (2, 1))]),
        ("a: *nope\n", [("OB004", "undefined alias `*nope`", (1, 4))]),
        ("a: &a [*a]\n", [("OB015", "the alias `*a` is inside the value that it refers to", (1, 8))]),
        ("1: x\n", [("OB011", "expected a string as the key, found the integer `1`", (1, 1))]),
        ("true: x\n", [("OB011", "expected a string as the key, found the boolean `true`", (1, 1))]),
        ("{a: 1}: x\n", [("OB011", "expected a string as the key, found a mapping", (1, 1))]),
        ("? [a]\n: x\n", [("OB011", "expected a string as the key, found a list", (1, 3))]),
        ("a: .nan\n", [("OB011", "expected a finite number, found `.nan`", (1, 4))]),
        ("a: 1e999\n", [("OB011", "the number `1e999` is too large", (1, 4))]),
        (
            f"a: {'9' * 5000}\n",
            [("OB011", f"the number `{'9' * 37}...` is too large: at most 9223372036854775807", (1, 4))],
        ),
        ("a: !thing 1\n", [("OB011", "unknown tag `!thing`", (1, 4))]),
        ("a: !!int x\n", [("OB011", "`x` does not have the type of its tag `!!int`", (1, 4))]),
        ("a: !!python/x {}\n", [("OB015", "unknown tag `tag:yaml.org,2002:python/x`", (1, 4))]),
        ("a: 'open\n", [("OB015", "found unexpected end of stream", (1, 4))]),
        (b"a: \xff\n", [("OB022", "not UTF-8: found the byte 0xff", (1, 4))]),
        ("a: 1\n".encode("utf-16"), [("OB022", "not UTF-8: found the byte 0xff", (1, 1))]),
        ("a: 1\nb: \x00\n", [("OB022", "the control character U+0000 is not allowed in YAML", (2, 4))]),
    ],
)  # fmt: skip
def test_faults(text, expected):
    assert faults(text) == expected


def test_a_byte_order_mark_is_no_fault():
    assert read(b"\xef\xbb\xbfa: 1\n") == {"a": 1}


@pytest.mark.parametrize(
    "text", ["a: " + "[" * 1_000_000, "".join(" " * i + "a:\n" for i in range(3000)), "- " * 90_000]
)
def test_depth_is_bounded(text):
    assert faults(text)[0][:2] == ("OB021", f"nested more than {DEEPEST} deep")


def test_size_is_bounded():
    message = f"`m.yaml` is too large: a manifest has at most {LARGEST_BYTES:,} bytes"
    assert faults(b"#" * (LARGEST_BYTES + 1)) == [("OB021", message, None)]


def test_aliases_are_bounded():
    levels = "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 30))
    assert faults(f"l0: &l0 [x]\n{levels}\n")[0][:2] == ("OB021", "aliases expand to more than 100,000 values")
