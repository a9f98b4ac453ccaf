import random
from pathlib import Path

import jsonschema
import pytest
import yaml

from onnxbuild.commands.schema import run_schema, schema_text
from onnxbuild.manifest.json_schema import manifest_schema, step_schemas
from onnxbuild.manifest.reading.yaml_reader import read_document
from onnxbuild.manifest.structure.structure_checker import Structure
from onnxbuild.manifest.structure.structure_words import Place
from onnxbuild.planning.sources import SCHEMES
from onnxbuild.steps import KINDS
from onnxbuild.steps.compiling.backends import BACKENDS
from onnxbuild.tables.thresholds import METRICS

ROOT = Path(__file__).parents[2]
SCHEMA = manifest_schema(step_schemas(KINDS))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
STRUCTURE = Structure(SCHEMA)

WHOLE = """
onnxbuild: 1
include: [other.yaml]
vars: {a: 1, b: [x], c: {d: null}}
datasets: {rows: {source: [{text: hello}], columns: {text: text}, limit: 3}, file: {source: "file:x.csv", seed: 1}}
targets:
  fp32: {}
  o2: {optimize: O2, device: cpu, validate: false}
  q4: {quantize: {method: weight-only, bits: 4, block_size: 32, exclude: [a]}, benchmark: true}
  any: {steps: [{quantize: {method: dynamic}}, {optimize: {level: "${vars.a}"}}]}
defaults: {export: {opset: 18}}
models:
  m:
    source: {random: gpt2, config: {n_layer: 2}, seed: 0, tokenizer: {text: "file:t.txt", vocabulary: 300}}
    task: text-generation
    targets: [o2, {name: own, optimize: O1}]
    validate: {thresholds: {max_abs: 1, cosine_min: 0.9}, shapes: [[1, 8], [2, 3]], on_failure: warn}
    benchmark: {batch: [1], sequence: [8], threads: [1], baselines: [torch]}
    generate: {prompts: [a], max_new_tokens: 3}
    timeout: 60
  "n-${matrix.x}": {matrix: {x: [1, 2]}, source: "hub:a/b", targets: ["${vars.a}"], export: {opset: "${matrix.x}"}}
store: {path: x, remote: y}
"""


def document(value):
    """A plain value as the check gets it: through text."""
    faults = []
    table = read_document(yaml.safe_dump(value).encode(), "m.yaml", faults)
    assert faults == []
    return table


def verdicts(value):
    """The verdicts of jsonschema, msgspec and the check that uses both on a value."""
    table = document(value)
    return VALIDATOR.is_valid(value), STRUCTURE.converts(table, SCHEMA), STRUCTURE.is_valid(table, SCHEMA)


def test_the_file_is_fresh():
    text = (ROOT / "schemas" / "manifest.schema.json").read_text(encoding="utf-8")
    assert text == schema_text(), "run `onnxbuild schema > schemas/manifest.schema.json`"


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_command_prints_it(capsys):
    assert run_schema() == 0
    assert capsys.readouterr().out == schema_text()


def test_a_manifest_with_everything():
    value = yaml.safe_load(WHOLE)
    assert list(VALIDATOR.iter_errors(value)) == []
    assert verdicts(value) == (True, True, True)


def test_derived_params_are_no_words_of_the_language():
    steps = step_schemas(KINDS)
    assert "task" not in steps["export"]["properties"]
    assert "device" not in steps["optimize"]["anyOf"][0]["properties"]
    assert "fetch" not in steps


def test_each_backend_is_described_by_its_own_line():
    """An editor shows it above the block of the backend, and the reference above its table."""
    reference = (ROOT / "docs" / "reference" / "steps.md").read_text(encoding="utf-8")
    blocks = [one for one in SCHEMA["$defs"]["compile"]["anyOf"] if "properties" in one]
    lines = {one["properties"]["backend"]["anyOf"][0]["enum"][0]: one["description"] for one in blocks}
    assert lines == {one.name: one.summary for one in BACKENDS}
    assert len(set(lines.values())) == len(BACKENDS)
    for block in blocks:
        (name,) = block["properties"]["backend"]["anyOf"][0]["enum"]
        assert block["properties"]["backend"]["description"] == f"what compiles: {lines[name]}"
        assert f"## compile-{name}\n\n{lines[name]}.\n" in reference


def resolved(schema):
    return SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def keys(schema, place="manifest"):
    """Every key of the language with its schema, by place; each definition once."""
    if isinstance(schema, list):
        for one in schema:
            yield from keys(one, place)
    elif isinstance(schema, dict):
        for name, inner in schema.get("properties", {}).items():
            yield f"{place}.{name}", inner
            yield from keys(inner, f"{place}.{name}")
        for keyword in ("anyOf", "items", "prefixItems", "additionalProperties"):
            yield from keys(schema.get(keyword), place)


def test_every_key_has_a_description():
    written = [one for name, schema in [("manifest", SCHEMA), *SCHEMA["$defs"].items()] for one in keys(schema, name)]
    assert len(written) > 120
    assert [place for place, schema in written if not {**resolved(schema), **schema}.get("description")] == []


def test_a_step_block_is_one_definition():
    reference = {"$ref": "#/$defs/quantize"}
    for holder in ("TargetBlock", "NamedTargetBlock", "Step"):
        assert SCHEMA["$defs"][holder]["properties"]["quantize"] == reference
    holders = [
        name
        for name, one in SCHEMA["$defs"].items()
        if {"$ref": "#/$defs/validate"} in one.get("properties", {}).values()
    ]
    assert holders == ["ModelBlock", "NamedTargetBlock", "TargetBlock"]


def branches(schema):
    return [one for branch in resolved(schema)["anyOf"] for one in [resolved(branch)]]


def test_an_editor_finds_what_it_can_complete():
    model, target = SCHEMA["$defs"]["ModelBlock"]["properties"], SCHEMA["$defs"]["TargetBlock"]["properties"]
    quantize = branches(target["quantize"])[0]["properties"]
    assert branches(quantize["method"])[0]["enum"] == ["auto", "dynamic", "static", "stored", "weight-only"]
    assert (quantize["preset"]["default"], "avx512_vnni" in branches(quantize["preset"])[0]["enum"]) == ("auto", True)
    assert "power of two" in quantize["block_size"]["description"]
    assert branches(target["optimize"])[1]["enum"] == ["O1", "O2", "O3", "O4"]
    assert {"fill-mask", "causal-lm"} <= set(model["task"]["examples"])
    assert {one.partition(":")[0] for one in model["source"]["examples"]} == set(SCHEMES)
    opset = resolved(model["export"])["properties"]["opset"]
    assert (opset["default"], 18 in opset["examples"], "14 to 23" in opset["description"]) == (18, True, True)
    thresholds = branches(model["validate"])[0]["properties"]["thresholds"]["properties"]
    assert set(thresholds) == set(METRICS)
    assert thresholds["cosine_mean"]["description"] == METRICS["cosine_mean"].meaning


VALUES = [
    *(None, True, False, 0, -1, 1, 3, 4, 8, 18, 2.5, 0.25, "", "O2", "fp32", "18", "yes", "dynamic", "torch", "fp"),
    *("${vars.a}", "a ${vars.a} b", "${", "${}", "$${", "$${x}", "${a}${"),
    *([], [1], ["a"], ["${vars.a}"], ["${"], [None], {}, {"a": 1}, {"a": [1]}, {"a": "${vars.a}"}, {"a": "${"}),
    *([[1, 8]], [[1]], [[1, 8, 3]], [["${vars.a}", 8]], [["x", 8]], {"optimize": "O2"}, [{"optimize": "O2"}]),
    *([{"optimize": "O2", "quantize": {"method": "static"}}], [{}], {"max_abs": 1}, {"encoder": "fp32"}),
    *({"decoder*": {"bits": 8}}, {"d": {"bits": 7}}, [{"name": "t"}], {"method": "dynamic"}, {"random": "bert"}),
]


def mutated(value, chance):
    """The value with one random place changed."""
    places = []

    def walk(node):
        if isinstance(node, (dict, list)):
            for key in list(node) if isinstance(node, dict) else range(len(node)):
                places.append((node, key))
                walk(node[key])

    walk(value)
    node, key = chance.choice(places)
    what = chance.random()
    if what < 0.15:
        del node[key]
    elif what < 0.3 and isinstance(node, dict):
        node[key + chance.choice("xs")] = node.pop(key)
    else:
        node[key] = chance.choice(VALUES)
    return value


@pytest.mark.parametrize("seed", range(400))
def test_msgspec_and_jsonschema_agree(seed):
    chance = random.Random(seed)
    value = yaml.safe_load(WHOLE)
    for _ in range(chance.randint(1, 3)):
        value = mutated(value, chance)
    by_schema, by_types, ours = verdicts(value)
    assert by_types == by_schema, value
    assert ours == by_schema, value


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("definition", sorted(SCHEMA["$defs"]))
def test_msgspec_and_jsonschema_agree_on_every_block(definition, value):
    schema = {"$ref": f"#/$defs/{definition}"}
    assert STRUCTURE.converts(value, schema) == VALIDATOR.evolve(schema=schema).is_valid(value)


def test_a_whole_number_is_an_integer_for_the_schema_and_becomes_one():
    value = yaml.safe_load(WHOLE)
    value["models"]["m"] |= {"export": {"opset": 17.0}, "timeout": 61.0, "benchmark": {"batch": [3.0, "${vars.a}"]}}
    value["models"]["m"]["validate"] = {"shapes": [[2.0, 9]], "thresholds": {"max_abs": 2.0}}
    value["targets"]["q4"]["quantize"] |= {"bits": 8.0, "modules": {"decoder": {"block_size": 64.0}}}
    table = document(value)
    assert (VALIDATOR.is_valid(value), STRUCTURE.converts(table, SCHEMA)) == (True, False)
    assert STRUCTURE.faults(table, Place(table.span, table.span)) == []
    model, quantize = table["models"]["m"], table["targets"]["q4"]["quantize"]
    numbers = [
        model["export"]["opset"],
        model["timeout"],
        model["benchmark"]["batch"][0],
        *model["validate"]["shapes"][0],
    ]
    numbers += [quantize["bits"], quantize["modules"]["decoder"]["block_size"]]
    assert [(type(one), one) for one in numbers] == [(int, one) for one in (17, 61, 3, 2, 9, 8, 64)]
    assert type(model["validate"]["thresholds"]["max_abs"]) is float
    assert STRUCTURE.converts(table, SCHEMA)


@pytest.mark.parametrize("section", ["store", "defaults"])
def test_no_reference_may_stand_for_a_whole_section(section):
    """The reader refuses it, and so does the schema that editors use."""
    document = {"onnxbuild": 1, section: "${vars.x}", "models": {}}
    errors = list(jsonschema.Draft202012Validator(manifest_schema(step_schemas(KINDS))).iter_errors(document))
    assert [list(one.path) for one in errors] == [[section]]
