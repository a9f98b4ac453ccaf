import random
from pathlib import Path

import jsonschema
import pytest
import yaml

from onnxbuild.commands.schema import run_schema, schema_text
from onnxbuild.manifest.document import read_document
from onnxbuild.manifest.json_schema import manifest_schema, step_schemas
from onnxbuild.manifest.structure import Place, check
from onnxbuild.steps import KINDS

ROOT = Path(__file__).parents[2]
SCHEMA = manifest_schema(step_schemas(KINDS))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

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


def ours(value):
    """Whether our walk finds a plain value sound: through text, as it gets there."""
    found = []
    table = read_document(yaml.safe_dump(value).encode(), "m.yaml", found)
    assert found == []
    return not list(check(table, SCHEMA, SCHEMA["$defs"], Place(table.span, table.span)))


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
    assert ours(value)


def test_derived_params_are_no_words_of_the_language():
    steps = step_schemas(KINDS)
    assert "task" not in steps["export"]["properties"]
    assert "device" not in steps["optimize"]["anyOf"][0]["properties"]
    assert "fetch" not in steps


def test_an_editor_finds_values_and_descriptions():
    quantize = SCHEMA["$defs"]["TargetBlock"]["properties"]["quantize"]["anyOf"][0]["properties"]
    assert quantize["method"]["anyOf"][0]["enum"] == ["dynamic", "static", "weight-only"]
    assert "power of two" in quantize["block_size"]["description"]
    assert all("description" in one for one in SCHEMA["$defs"]["ModelBlock"]["properties"].values())


VALUES = [
    None,
    True,
    0,
    -1,
    18,
    2.5,
    "",
    "O2",
    "fp32",
    "${vars.a}",
    "18",
    [],
    [1],
    ["a"],
    {},
    {"a": 1},
    [[1, 8]],
    [[1]],
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


@pytest.mark.parametrize("seed", range(300))
def test_our_walk_and_jsonschema_agree(seed):
    chance = random.Random(seed)
    value = yaml.safe_load(WHOLE)
    for _ in range(chance.randint(1, 3)):
        value = mutated(value, chance)
    assert ours(value) == VALIDATOR.is_valid(value), value
