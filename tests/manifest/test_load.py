import msgspec
import pytest

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.manifest.load import load_manifest
from onnxbuild.permissions import Permissions
from onnxbuild.steps import KINDS

HEAD = "onnxbuild: 1\ntargets: {fp32: {}, o2: {optimize: O2}}\n"


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(text, *, defines=None, environment=None, allowed=(), **files):
        for name, content in files.items():
            (tmp_path / f"{name}.yaml").write_text(content)
        (tmp_path / "m.yaml").write_text(text)
        return load_manifest(
            "m.yaml",
            kinds=KINDS,
            defines=defines or {},
            environment=environment or {},
            permissions=Permissions(environment=tuple(allowed)),
        )

    return run


def faults(load, text, **more):
    with pytest.raises(DiagnosticError) as raised:
        load(text, **more)
    return [(one.code, one.message, str(one.span)) for one in raised.value.diagnostics]


def test_a_model(load):
    manifest = load(
        HEAD + "models: {m: {source: random:bert, task: fill-mask, targets: [o2, {name: own, device: cuda}]}}\n"
    )
    (model,) = manifest.models
    assert (model.name, model.source, model.task, str(model.span)) == ("m", "random:bert", "fill-mask", "m.yaml:3:10")
    assert [(target.name, target.device) for target in model.targets] == [("o2", "cpu"), ("own", "cuda")]
    assert (manifest.files, manifest.environment) == (("m.yaml",), {})


def test_a_reference_takes_the_type_of_its_variable(load):
    manifest = load(
        HEAD + "vars: {opset: 17, sizes: [1, 8], who: you}\n"
        "models: {m: {source: random:bert, targets: [o2], export: {opset: '${vars.opset}'},"
        " benchmark: {batch: '${vars.sizes}'}, generate: {prompts: ['$${x} ${vars.who}${vars.opset}']}}}\n"
    )
    block = manifest.models[0].block
    assert block["export"] == {"opset": 17}
    assert block["benchmark"] == {"batch": [1, 8]}
    assert block["generate"] == {"prompts": ["${x} you17"]}


def test_a_reference_may_stand_for_a_short_form(load):
    text = "onnxbuild: 1\nvars: {how: int4}\ntargets: {q: {quantize: '${vars.how}'}}\n"
    text += "models: {m: {source: random:bert, targets: [q]}}\n"
    assert load(text).models[0].targets[0].block["quantize"] == "int4"
    assert faults(load, text, defines={"how": "int5"}) == [
        ("OB013", "expected one of `int4`, `int8`, `q4`, `q8`, `stored`, found `int5`", "m.yaml:3:25")
    ]


def test_defines_come_before_vars(load):
    text = HEAD + "vars: {n: 1}\nmodels: {m: {source: random:bert, targets: [o2], export: {opset: '${vars.n}'}}}\n"
    assert load(text, defines={"n": "19"}).models[0].block["export"] == {"opset": 19}
    assert faults(load, text, defines={"n": "many"}) == [
        ("OB011", "expected an integer, found the string `many`", "m.yaml:4:66")
    ]
    assert faults(load, text, defines={"m": "1"}) == [("OB004", "`-D m=…` sets a variable that is not defined", "None")]


def test_a_define_in_place_of_a_list_is_a_list(load):
    block = "{source: random:bert, targets: [o2], benchmark: {batch: '${vars.b}'}}"
    text = HEAD + f"vars: {{b: [1, 8]}}\nmodels: {{m: {block}}}\n"
    assert load(text, defines={"b": "[1]"}).models[0].block["benchmark"] == {"batch": [1]}
    assert load(text, defines={"b": "[2, 16]"}).models[0].block["benchmark"] == {"batch": [2, 16]}
    # What is no list stays a text, and the check of the block says what is expected.
    assert [code for code, *_ in faults(load, text, defines={"b": "[1"})] == ["OB011"]


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("package: true", "name the package: `package: plain`"),
        ("package: null", "name the package: `package: plain`, or leave it out"),
        ("publish: true", "name the destination: `publish: {hub: OWNER/NAME}`"),
        ("publish: null", "name the destination: `publish: {hub: OWNER/NAME}`, or leave it out"),
        ("select: true", "name the figure that decides: `select: {minimize: latency.p50}`"),
        ("select: false", "leave it out"),
        ("export: false", "leave it out"),
        ("export: null", "leave it out"),
        ("adapter: true", "name the adapter: `adapter: hub:OWNER/NAME`"),
        ("validate: null", "write `validate: true`, or leave it out"),
        ("benchmark: null", "write `benchmark: true`, or leave it out"),
        ("generate: null", "write `generate: {prompts: ['Once upon a time']}`, or leave it out"),
    ],
)
def test_a_block_of_a_model_that_needs_words_says_which(load, written, hint):
    only = _only_fault(load, f"source: random:bert, targets: [o2], {written}")
    assert (only.code, only.notes) == ("OB011", (("hint", hint),))


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("optimize: true", "name the level: `optimize: O2`"),
        ("optimize: null", "name the level: `optimize: O2`, or leave it out"),
        ("optimize: false", "leave it out"),
        ("quantize: true", "name what the weights become: `quantize: int8`"),
        ("quantize: false", "leave it out"),
        ("precision: true", "say which: `precision: fp16`"),
        ("precision: null", "say which: `precision: fp16`, or leave it out"),
        ("compile: false", "leave it out"),
    ],
)
def test_a_step_of_a_target_that_needs_words_says_which(load, written, hint):
    only = _only_fault(load, f"source: random:bert, targets: [{{name: t, {written}}}]")
    assert (only.code, only.notes) == ("OB011", (("hint", hint),))


@pytest.mark.parametrize(
    ("block", "key"),
    [
        ("source: random:bert, targets: [o2], quantize: int8", "quantize"),
        ("source: random:bert, targets: [o2], compile: openvino", "compile"),
        ("source: random:bert, targets: [{name: t, package: plain}]", "package"),
        ("source: random:bert, targets: [{name: t, select: {minimize: size_mb}}]", "select"),
    ],
)
def test_a_key_of_another_block_is_said_to_belong_there(load, block, key):
    only = _only_fault(load, block)
    where = "target" if key in {"quantize", "compile"} else "model"
    assert (only.code, only.message) == ("OB001", f"unknown key `{key}`")
    assert only.notes[0][1].startswith(f"write it in {'a' if where == 'target' else 'the'} {where}: ")


@pytest.mark.parametrize(("written", "hint"), [("openvno", ("did you mean `openvino`?",)), ("null", ()), ("7", ())])
def test_a_backend_that_is_none_names_all(load, written, hint):
    only = _only_fault(load, f"source: random:bert, targets: [{{name: t, compile: {{backend: {written}}}}}]")
    assert only.code == "OB013"
    assert only.message.startswith("expected one of `coreml`, `cuda`, ")
    assert only.message.endswith(f"`webgpu`, found `{written}`")
    assert tuple(text for _, text in only.notes) == hint


def _only_fault(load, block):
    with pytest.raises(DiagnosticError) as caught:
        load(HEAD + f"models: {{m: {{{block}}}}}\n")
    (only,) = caught.value.diagnostics
    return only


def test_a_matrix_makes_one_model_a_point(load):
    manifest = load(
        HEAD + "models:\n  'm-${matrix.a}-${matrix.b}':\n    matrix: {a: [x, y], b: [1, 2], exclude: [{a: y, b: 1}]}\n"
        "    source: hub:org/${matrix.a}\n    targets: [o2]\n    export: {opset: '${matrix.b}'}\n"
    )
    assert [(m.name, m.source, m.block["export"]["opset"]) for m in manifest.models] == [
        ("m-x-1", "hub:org/x", 1),
        ("m-x-2", "hub:org/x", 2),
        ("m-y-2", "hub:org/y", 2),
    ]


def test_a_matrix_excludes_by_known_axes(load):
    text = HEAD + "models:\n  'm-${matrix.a}':\n    matrix: {a: [1], exclude: [{aa: 1}]}\n    source: random:x\n"
    text += "    targets: [o2]\n"
    assert faults(load, text) == [("OB004", "the matrix has no axis `aa`", "m.yaml:5:33")]


def test_defaults_are_merged_below(load):
    manifest = load(
        HEAD + "defaults: {targets: [o2], export: {opset: 17, dtype: fp16}, benchmark: {batch: [1]}}\n"
        "models: {m: {source: random:bert, export: {dtype: fp32}, benchmark: false}}\n"
    )
    block = manifest.models[0].block
    assert (block["export"], block["benchmark"], block["targets"]) == ({"opset": 17, "dtype": "fp32"}, False, ["o2"])
    assert str(block["export"].value_span("opset")) == "m.yaml:3:43"


def test_a_source_is_not_merged(load):
    manifest = load(
        HEAD
        + "defaults: {source: {random: gpt2, seed: 3}, targets: [o2]}\nmodels: {a: {}, b: {source: {random: bert}}}\n"
    )
    assert [model.source for model in manifest.models] == [{"random": "gpt2", "seed": 3}, {"random": "bert"}]


def test_includes_join(load, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "more.yaml").write_text(
        "include: ../last.yaml\nmodels: {n: {source: random:b, targets: [o1]}}\n"
    )
    manifest = load(
        HEAD + "include: [sub/more.yaml, last.yaml]\nmodels: {m: {source: random:a, targets: [o1]}}\n",
        last="targets: {o1: {optimize: O1}}\n",
    )
    assert [model.name for model in manifest.models] == ["m", "n"]
    assert manifest.files == ("m.yaml", "sub/more.yaml", "last.yaml")


def test_duplicates_between_files(load):
    text = HEAD + "include: [b.yaml]\nmodels: {m: {source: random:a, targets: [o2]}}\nstore: {path: x}\n"
    assert faults(load, text, b="targets: {o2: {}}\nstore: {path: y}\n") == [
        ("OB014", "duplicate key `o2`", "b.yaml:1:11"),
        ("OB014", "duplicate key `store`", "b.yaml:2:1"),
    ]


def test_a_fault_in_an_included_file_is_shown_there(load):
    text = HEAD + "include: [b.yaml]\nmodels: {m: {source: random:a, targets: [o2]}}\n"
    assert faults(load, text, b="targets:\n  int8: {quantise: {}}\n") == [
        ("OB001", "unknown key `quantise`", "b.yaml:2:10")
    ]


def test_secrets_where_they_are_allowed(load):
    text = HEAD + "store: {remote: 's3://${env.KEY}@x'}\nmodels: {m: {source: random:a, targets: [o2]}}\n"
    manifest = load(text, environment={"KEY": "hush", "OTHER": "1"}, allowed=["KEY"])
    assert (manifest.store.remote, manifest.environment) == ("s3://hush@x", {"KEY": "hush"})
    assert faults(load, text, allowed=["K*"]) == [("OB004", "the environment variable `KEY` is not set", "m.yaml:3:23")]


def test_a_key_may_be_a_variable_and_the_place_of_a_store_may_not(load):
    text = HEAD + "store: {%s: '${env.KEY}'}\nmodels: {m: {source: random:a, targets: [o2]}}\n"
    more = {"environment": {"KEY": "secret:x"}, "allowed": ["KEY"]}
    assert load(text % "sign", **more).store.sign == "secret:x"
    assert [code for code, _, _ in faults(load, text % "path", **more)] == ["OB061"]


def test_missing_manifest():
    with pytest.raises(DiagnosticError) as raised:
        load_manifest("nowhere/m.yaml", kinds=KINDS)
    assert str(raised.value) == "OB016 `nowhere/m.yaml` does not exist"


def test_a_folder_is_no_manifest(tmp_path):
    with pytest.raises(DiagnosticError) as raised:
        load_manifest(tmp_path, kinds=KINDS)
    assert str(raised.value) == f"OB016 `{tmp_path}` is a folder, and a manifest is a file"


def test_required_keys(load):
    assert faults(load, "vars: {}\n") == [
        ("OB012", "missing key `models`", "m.yaml:1:1"),
        ("OB012", "missing key `onnxbuild`", "m.yaml:1:1"),
    ]


def test_tables_convert_as_mappings(load):
    manifest = load(HEAD + "models: {m: {source: random:a, targets: [o2], benchmark: {batch: [1, 2]}}}\n")
    params = msgspec.convert(manifest.models[0].block["benchmark"], KINDS["benchmark"].params)
    assert params.batch == (1, 2)
