"""Which branch of a union a fault is attributed to, and the advice that it gets."""

from typing import Annotated, Any

import pytest
from msgspec import Meta

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.manifest.json_schema import manifest_schema, step_schemas
from onnxbuild.manifest.load import load_manifest, structure_of
from onnxbuild.manifest.reading.yaml_reader import read_document
from onnxbuild.manifest.structure.schema_types import SchemaTypes, Undecidable
from onnxbuild.manifest.structure.structure_checker import Structure
from onnxbuild.manifest.structure.structure_words import Place
from onnxbuild.steps import KINDS
from onnxbuild.steps.kind import Kind, Params

HEAD = 'onnxbuild: 1\nmodels: {m: {source: "random:bert", task: fill-mask, targets: [t]}}\n'


@pytest.fixture
def advice(tmp_path):
    def run(text):
        (tmp_path / "m.yaml").write_text(HEAD + text)
        try:
            load_manifest(tmp_path / "m.yaml", kinds=KINDS)
        except DiagnosticError as error:
            return [(f"{one.code} {one.message}", dict(one.notes).get("hint")) for one in error.diagnostics]
        return []

    return run


METHODS = "`auto`, `dynamic`, `static`, `stored`, `weight-only`"
SHORT = "`int4`, `int8`, `q4`, `q8`, `stored`"


@pytest.mark.parametrize(
    ("target", "message", "hint"),
    [
        # What a new user writes.
        ("", "OB011 expected a mapping, found nothing (null)", "write `{}`"),
        ("{device: gpu}", "OB013 expected one of `cpu`, `cuda`, found `gpu`", "did you mean `cuda`?"),
        ("{device: CPU}", "OB013 expected one of `cpu`, `cuda`, found `CPU`", "did you mean `cpu`?"),
        ("{precision: half}", "OB013 expected one of `bf16`, `fp16`, found `half`", "did you mean `fp16`?"),
        (
            "{quantize: {method: dynamic, per_channel: yes}}",
            "OB011 expected `true` or `false`, found the string `yes`",
            "write `true`: in YAML 1.2 `yes` is a string",
        ),
        (
            "{quantize: {method: weight-only, symmetric: Off}}",
            "OB011 expected `true` or `false`, found the string `Off`",
            "write `false`: in YAML 1.2 `Off` is a string",
        ),
        ("{quantize: int9}", f"OB013 expected one of {SHORT}, found `int9`", "did you mean `int8`?"),
        ("{quantize: 8}", f"OB011 expected a mapping or one of {SHORT}, found the integer `8`", None),
        (
            "{quantize: true}",
            f"OB011 expected a mapping or one of {SHORT}, found the boolean `true`",
            "name what the weights become: `quantize: int8`",
        ),
        (
            "{optimize: o5}",
            "OB013 expected one of `O1`, `O2`, `O3`, `O4`, found `o5`",
            None,
        ),
        ("{quantize: [int8]}", f"OB011 expected a mapping or one of {SHORT}, found a list", None),
        # A mapping is checked against the branch of mappings, and a scalar against its own.
        ("{quantize: {}}", "OB012 missing key `method`", f"`method` is one of {METHODS}"),
        ("{optimize: {levle: O1, level: O2}}", "OB001 unknown key `levle`", "did you mean `level`?"),
        ("{benchmark: {batch: 3}}", "OB011 expected a list, found the integer `3`", "write `[3]`"),
        ("{benchmark: 3}", "OB011 expected a mapping or `true` or `false`, found the integer `3`", None),
        ("{validate: {shapes: [[3]]}}", "OB011 expected a list of 2, found 1", None),
        ("{validate: {shapes: [[3, 7, 9]]}}", "OB011 expected a list of 2, found 3", None),
        ("{validate: {thresholds: {top1: [1]}}}", "OB011 expected a number or a string, found a list", None),
        (
            "{quantize: {method: weight-only, modules: {enc: {bits: 5}}}}",
            "OB013 expected one of `4`, `8`, found `5`",
            None,
        ),
        (
            "{quantize: {method: weight-only, modules: {enc: fp16}}}",
            "OB013 expected `fp32`, found `fp16`",
            None,
        ),
    ],
)
def test_a_fault_of_a_target(advice, target, message, hint):
    assert advice(f"targets: {{t: {target}}}\n" if target else "targets:\n  t:\n") == [(message, hint)]


@pytest.mark.parametrize(
    ("value", "found", "hint"),
    [
        ("transformers", "the string `transformers`", "write `export: {exporter: transformers}`"),
        ("eager", "the string `eager`", "write `export: {attention: eager}`"),
        ("true", "the boolean `true`", "write `export: {}`"),
        ("e.py:export", "the string `e.py:export`", "write `export: {exporter: e.py:export}`"),
        ("my.mod:fn", "the string `my.mod:fn`", "write `export: {exporter: my.mod:fn}`"),
        ("nonsense", "the string `nonsense`", None),
        ("[true]", "a list", None),
    ],
)
def test_a_scalar_instead_of_a_block_is_advised_as_the_field_that_has_it(advice, value, found, hint):
    text = f"targets: {{t: {{}}}}\ndefaults: {{export: {value}}}\n"
    assert advice(text) == [(f"OB011 expected a mapping, found {found}", hint)]


@pytest.mark.parametrize("written", ["targets:", "targets: null"])
def test_a_model_without_targets(tmp_path, written):
    (tmp_path / "m.yaml").write_text(f"onnxbuild: 1\nmodels:\n  m:\n    source: random:bert\n    {written}\n")
    with pytest.raises(DiagnosticError) as caught:
        load_manifest(tmp_path / "m.yaml", kinds=KINDS)
    hints = [dict(one.notes).get("hint") for one in caught.value.diagnostics]
    assert "name one or more targets, such as `targets: [fp32]`" in hints


@pytest.mark.parametrize(
    ("targets", "hint"),
    [
        ("{fp32:}", "give the key a value: `{fp32: {}}`"),
        ("{a: {}, b-7:, c: {}}", "give the key a value: `{b-7: {}}`"),
        ("{fp32:{}}", "put a blank after the `:`"),
    ],
)
def test_a_colon_without_a_blank_in_flow_style(advice, targets, hint):
    assert advice(f"targets: {targets}\n") == [("OB015 found unexpected ':'", hint)]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("hello: [", "the `[` in line 1 is not closed, or a comma is missing"),
        ("onnxbuild: 1\ntargets: [\n", "the `[` in line 2 is not closed, or a comma is missing"),
        ("a: {b: \n", "the `{` in line 1 is not closed, or a comma is missing"),
        ("a: {b: [1, 2}\n", "the `[` in line 1 is not closed, or a comma is missing"),
        ('a:\n  - "[" # {\n  - [b,\n    {c: 1},\n\n', "the `[` in line 3 is not closed, or a comma is missing"),
        ("a: {b: [1],\n  c: ${{x}}\n", "inside `{`, put a value with `${…}` in quotes"),
    ],
)
def test_an_open_bracket_is_named_with_its_line(tmp_path, text, hint):
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(DiagnosticError) as raised:
        load_manifest(tmp_path / "m.yaml", kinds=KINDS)
    assert [(one.code, dict(one.notes).get("hint")) for one in raised.value.diagnostics] == [("OB015", hint)]


def test_a_model_without_a_block(tmp_path):
    (tmp_path / "m.yaml").write_text("onnxbuild: 1\nmodels:\n  m:\n")
    with pytest.raises(DiagnosticError) as raised:
        load_manifest(tmp_path / "m.yaml", kinds=KINDS)
    (fault,) = raised.value.diagnostics
    assert fault.message == "expected a mapping, found nothing (null)"
    assert fault.notes == (("hint", "give it `source:` and `targets:`"),)


def test_a_broken_reference_is_reported_once(advice):
    faults = advice('targets: {t: {benchmark: {batch: "${vars.b"}}}\n')
    assert [message for message, _ in faults] == ["OB015 `${` without its `}`"]
    faults = advice('targets: {t: {benchmark: {batch: "$${"}}}\n')
    assert ("OB011 expected a list, found the string `$${`", "write `[$${]`") in faults


BACKENDS = ", ".join(f"`{one}`" for one in sorted(kind.backend for kind in KINDS.values() if kind.backend))


def blocks(schema, defs):
    if "$ref" in schema:
        schema = defs[schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        return [block for one in schema["anyOf"] for block in blocks(one, defs)]
    return [schema] if schema.get("type") == "object" else []


def unions(schema):
    """Each union of several blocks in a schema."""
    inner = list(schema.values()) if isinstance(schema, dict) else schema if isinstance(schema, list) else []
    own = [schema] if isinstance(schema, dict) and "anyOf" in schema else []
    return own + [union for one in inner for union in unions(one)]


def test_every_union_of_blocks_is_one_of_backends():
    schema = manifest_schema(step_schemas(KINDS))
    several = [found for one in unions(schema) if len(found := blocks(one, schema["$defs"])) > 1]
    assert several
    for found in several:
        assert SchemaTypes(schema["$defs"]).choosing_key(found) == "backend"


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.backend], ids=lambda kind: kind.backend)
def test_the_word_of_a_block_chooses_its_branch(advice, kind):
    keys = [key for key in kind.params.__struct_fields__ if key not in {*kind.params.DERIVED, "backend"}]
    wrong = ", ".join(f"{key}: {{1: [[]]}}" for key in keys)
    faults = advice(f"targets: {{t: {{compile: {{backend: {kind.backend}, {wrong}}}}}}}\n")
    assert len(faults) >= len(keys)
    assert {message.partition(" ")[0] for message, _ in faults} == {"OB011"}
    faults = advice(f"targets: {{t: {{steps: [{{compile: {{backend: {kind.backend}, odd: 1, even: 2}}}}]}}}}\n")
    assert [message for message, _ in faults] == ["OB001 unknown key `odd`", "OB001 unknown key `even`"]


def test_a_block_without_its_word_is_judged_by_no_branch(advice):
    wrong = "bounds: {a: [1], b: [2]}"
    assert advice(f"targets: {{t: {{compile: {{{wrong}}}}}}}\n") == [
        ("OB012 missing key `backend`", f"`backend` is one of {BACKENDS}")
    ]
    expected = [("OB011 expected an integer or a string, found a list", None)] * 2
    assert advice(f"targets: {{t: {{compile: {{backend: openvino, {wrong}}}}}}}\n") == expected
    referring = f'vars: {{b: openvino}}\ntargets: {{t: {{compile: {{backend: "${{vars.b}}", {wrong}}}}}}}\n'
    assert advice(referring) == expected


class OddParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What plugins may bring and the built-in kinds do not have."""

    label: Annotated[str, Meta(min_length=3, pattern="^a")] = "abc"
    share: Annotated[float, Meta(gt=0, le=1)] = 1.0
    mixed: int | list[str] | str = 0
    few: Annotated[tuple[int, ...], Meta(max_length=2)] = ()
    free: Any = None


ODD = Kind(
    name="odd", version=1, params=OddParams, inputs={"model": "onnx"}, outputs={"model": "onnx"}, worker="odd:run"
)


def odd_faults(block):
    schema = manifest_schema(step_schemas({**KINDS, "odd": ODD}))
    table = read_document(f"onnxbuild: 1\nmodels: {{}}\ntargets: {{t: {{odd: {block}}}}}\n".encode(), "m.yaml", [])
    faults = Structure(schema).faults(table, Place(table.span, table.span))
    return [f"{one.code} {one.message} at {one.span}" for one in faults]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("{label: axy, share: 0.5, mixed: [a], few: [1], free: {any: thing}}", []),
        ("{mixed: text}", []),
        ("{label: ab}", ["OB013 expected a text of at least 3 characters, found the string `ab` at m.yaml:3:28"]),
        ("{label: xyz}", ["OB013 expected a text of the form `^a`, found the string `xyz` at m.yaml:3:28"]),
        ("{share: 0}", ["OB013 expected `exclusiveMinimum: 0`, found the integer `0` at m.yaml:3:28"]),
        ("{share: 1.5}", ["OB013 expected a number up to 1, found `1.5` at m.yaml:3:28"]),
        ("{few: [1, 2, 3]}", ["OB011 expected a list of at most 2, found 3 at m.yaml:3:26"]),
        ("{mixed: [3]}", ["OB011 expected a string, found the integer `3` at m.yaml:3:29"]),
    ],
)
def test_a_plugin_may_use_other_keywords(block, expected):
    assert odd_faults(block) == expected


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "format": "date"},
        {"anyOf": [{"type": "object"}, {"type": "object", "additionalProperties": {"type": "string"}}]},
        {"enum": [1, "a"]},
        {"type": "array", "prefixItems": [{"type": "string"}]},
        {"not": {"type": "string"}},
        False,
    ],
)
def test_what_msgspec_cannot_express_is_left_to_jsonschema(schema):
    with pytest.raises(Undecidable):
        SchemaTypes({}).of(schema)


def test_a_schema_that_refers_to_itself_is_left_to_jsonschema():
    tree = {
        "type": "object",
        "properties": {"below": {"$ref": "#/$defs/tree"}, "leaf": {"type": "integer"}},
        "additionalProperties": False,
    }
    structure = Structure({"$ref": "#/$defs/tree", "$defs": {"tree": tree}})
    assert not structure.converts({"below": {"leaf": 3}}, {"$ref": "#/$defs/tree"})
    assert structure.is_valid({"below": {"leaf": 3}}, {"$ref": "#/$defs/tree"})
    assert not structure.is_valid({"below": {"leaf": "x"}}, {"$ref": "#/$defs/tree"})


@pytest.mark.parametrize("number", ["1e19", "1e300", "9007199254740994.0", "-1e19"])
def test_a_whole_number_that_a_float_does_not_hold_exactly_is_no_integer(advice, number):
    (fault,) = advice(f"targets: {{t: {{}}}}\ndefaults: {{validate: {{seed: {number}}}}}\n")
    assert fault[0].startswith("OB011 expected an integer, found the number `"), fault


ESCAPED = [
    "targets: {t: {steps: '$${x}'}}", "targets: {t: {optimize: '$${x}'}}",
    "targets: {t: {}}\ndefaults: {benchmark: {batch: ['$${x}']}}", "targets: {t: {}}\ndefaults: {benchmark: '$${x}'}",
    "targets: {t: {}}\nvars: {x: '$${y}'}\ndefaults: {validate: {shapes: '${vars.x}'}}",
]  # fmt: skip


@pytest.mark.parametrize("text", ESCAPED)
def test_an_escaped_reference_is_text(advice, text):
    (fault,) = advice(text + "\n")
    assert fault[0].split()[0] in {"OB011", "OB013"}
    assert "found" in fault[0]


def test_the_structure_of_the_same_kinds_is_made_once_and_knows_others_apart():
    assert structure_of(KINDS) is structure_of(dict(KINDS))
    table = read_document(b"onnxbuild: 1\nmodels: {}\ntargets: {t: {odd: {few: [1]}}}\n", "m.yaml", [])
    place = Place(table.span, table.span)
    assert structure_of({**KINDS, "odd": ODD}).faults(table, place) == []
    assert [one.code for one in structure_of(KINDS).faults(table, place)] == ["OB001"]
