import pytest

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.action_graph import FilesSource, OutputRef
from onnxbuild.planning.expand import expand, survey, watched_files
from onnxbuild.planning.known_versions import known_versions
from onnxbuild.planning.locked import Lock, LockedSource
from onnxbuild.steps import KINDS
from onnxbuild.steps.export import unknown_task
from onnxbuild.steps.kind import Kind, Params

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=("avx2",), cores=2)
TARGETS = "onnxbuild: 1\ntargets: {fp32: {}, o2: {optimize: O2}, int8: {optimize: O2, quantize: {method: dynamic}}}\n"


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(text):
        (tmp_path / "m.yaml").write_text(text)
        return load_manifest("m.yaml", kinds=KINDS)

    return run


@pytest.fixture
def graph(load):
    return lambda text, lock=Lock(): expand(load(TARGETS + text), KINDS, lock, MACHINE)  # noqa: B008 - it is frozen


def model(targets, more=""):
    return f"models: {{m: {{source: random:bert, task: fill-mask, targets: {targets}{more}}}}}\n"


def files_read(graph):
    """The files from outside that the actions of a graph read."""
    return [one for action in graph.actions.values() for one in action.inputs.values() if isinstance(one, FilesSource)]


def test_the_actions_of_a_model(graph):
    found = graph(model("[fp32, int8]", ", validate: false, load: false"))
    assert {name: (action.kind, action.needs) for name, action in found.actions.items()} == {
        "m:fetch": ("fetch", ()),
        "m:export": ("export", ("m:fetch",)),
        "m/int8:optimize": ("optimize", ("m:export",)),
        "m/int8:quantize": ("quantize", ("m/int8:optimize",)),
    }
    assert [(v.name, v.output, v.precision, v.steps, v.checks, v.measures) for v in found.variants] == [
        ("m/fp32", OutputRef("m:export", "model"), "fp32", ("m:fetch", "m:export"), (), ()),
        (
            "m/int8",
            OutputRef("m/int8:quantize", "model"),
            "int8",
            ("m:fetch", "m:export", "m/int8:optimize", "m/int8:quantize"),
            (),
            (),
        ),
    ]


def test_params_are_resolved_in_full(graph):
    actions = graph(model("[int8]")).actions
    assert actions["m:export"].params["task"] == "fill-mask"
    assert actions["m/int8:quantize"].params["preset"] == "avx2"
    assert actions["m/int8:validate"].params["precision"] == "int8"
    assert actions["m/int8:validate"].params["thresholds"] == {"top1": 0.97}
    assert actions["m:fetch"].params["task"] == "fill-mask"


def test_trust_in_the_checkpoints_code_is_handed_to_every_step_that_opens_it(graph):
    asked = """
        , benchmark: true, generate: {prompts: [a]}
        , targets: [{name: int8, quantize: {method: static, dataset: d}}, {name: half, precision: fp16}]
    """
    text = "datasets: {d: {source: [{text: a}]}}\nmodels: {m: {source: random:gpt2, task: text-generation%s%s}}\n"
    without = graph(text % (asked, "")).actions
    trusting = graph(text % (asked, ", export: {trust_remote_code: true}")).actions
    assert not any("trust_remote_code" in action.params for action in without.values())
    assert {name for name, action in trusting.items() if action.params.get("trust_remote_code")} == {
        "m:export", "m/int8:quantize", "m/int8:validate-fp32",
        *(f"m/{target}:{kind}" for target in ("int8", "half") for kind in ("validate", "benchmark", "generate")),
    }  # fmt: skip
    for name, action in without.items():  # nothing else differs, so that keys of models without code are what they were
        assert action.params == {k: v for k, v in trusting[name].params.items() if k != "trust_remote_code"}


def test_a_step_that_two_targets_share_is_one_action(graph):
    found = graph(model("[o2, int8, {name: again, optimize: O2}]"))
    assert found.aliases == {
        "m/int8:optimize": "m/o2:optimize",
        "m/int8:validate-fp32": "m/o2:validate",
        "m/again:optimize": "m/o2:optimize",
        "m/again:validate": "m/o2:validate",
    }
    assert [variant.output.action for variant in found.variants] == [
        "m/o2:optimize",
        "m/int8:quantize",
        "m/o2:optimize",
    ]


def test_models_share_too(graph):
    found = graph("models: {a: &m {source: random:bert, task: fill-mask, targets: [o2]}, b: *m}\n")
    assert list(found.actions) == ["a:fetch", "a:export", "a/o2:optimize", "a/o2:validate"]
    assert found.aliases["b:fetch"] == "a:fetch"


def test_steps_in_any_order(graph):
    text = "[{name: x, steps: [{optimize: O1}, {optimize: {level: O2}}, {quantize: {method: weight-only}}]}]"
    found = graph(model(text, ", validate: false, load: false"))
    assert list(found.actions)[2:] == ["m/x:optimize", "m/x:optimize-2", "m/x:quantize"]
    assert found.variants[0].precision == "q4"


def test_checks_at_model_and_target(graph):
    off = "{name: off, optimize: O1, validate: false, benchmark: false}"
    targets = f"[fp32, {off}, {{name: own, optimize: O3, benchmark: {{batch: [4]}}, validate: true}}]"
    found = graph(model(targets, ", benchmark: {batch: [1], sequence: [8]}, validate: {seed: 5}"))
    checks = {variant.target: (variant.checks, variant.measures) for variant in found.variants}
    assert checks == {
        "fp32": (("m/fp32:validate",), ("m/fp32:benchmark",)),
        "off": (("m/off:load",), ()),
        "own": (("m/own:validate",), ("m/own:benchmark",)),
    }
    own = found.actions["m/own:benchmark"]
    assert (own.params["batch"], own.params["sequence"], own.pool) == ([4], [8], "alone")
    assert found.actions["m/own:validate"].params["seed"] == 5
    assert own.inputs == {"model": OutputRef("m/own:optimize", "model"), "reference": OutputRef("m:fetch", "model")}


def test_precision_flows(graph):
    found = graph(
        "models: {m: {source: random:bert, task: fill-mask, export: {dtype: fp16},"
        " targets: [fp32, {name: fast, device: cuda, optimize: O4}]}}\n"
    )
    assert [variant.precision for variant in found.variants] == ["fp16", "fp16"]
    assert found.actions["m/fast:optimize"].params["device"] == "cuda"


def test_random_with_a_tokenizer(graph, tmp_path):
    (tmp_path / "t.txt").write_text("text")
    found = graph(
        "models: {m: {source: {random: gpt2, config: {n_layer: 2}, seed: 3,"
        " tokenizer: {text: 'file:t.txt', vocabulary: 300}},"
        " task: text-generation-with-past, targets: [fp32]}}\n"
    )
    fetch = found.actions["m:fetch"]
    assert fetch.inputs == {"text": FilesSource(str(tmp_path), ("t.txt",))}
    params = {key: fetch.params[key] for key in ("origin", "architecture", "config", "seed", "tokenizer_vocabulary")}
    assert params == {
        "origin": "random", "architecture": "gpt2", "config": {"n_layer": 2}, "seed": 3, "tokenizer_vocabulary": 300
    }  # fmt: skip
    assert files_read(found) == [FilesSource(str(tmp_path), ("t.txt",))]


def test_onnx_is_its_own_reference(graph, tmp_path):
    (tmp_path / "g.onnx").write_bytes(b"x")
    found = graph("models: {m: {source: onnx:g.onnx, targets: [fp32, o2]}}\n")
    assert list(found.actions) == ["m:fetch", "m/fp32:load", "m/o2:optimize", "m/o2:validate"]
    assert found.actions["m:fetch"].inputs == {"files": FilesSource(str(tmp_path), ("g.onnx",))}
    assert [variant.checks for variant in found.variants] == [("m/fp32:load",), ("m/o2:validate",)]


def test_hub_from_the_lock(graph):
    lock = Lock(
        sources={"hub:o/m@main": LockedSource("c0ffee", ("model.safetensors",), {"architectures": ["BertForMaskedLM"]})}
    )
    found = graph("models: {m: {source: 'hub:o/m', targets: [fp32]}}\n", lock)
    assert found.actions["m:fetch"].params["revision"] == "c0ffee"
    assert found.actions["m:export"].params["task"] == "fill-mask"


def test_hub_with_onnx_files_alone(graph):
    lock = Lock(sources={"hub:o/m@main": LockedSource("c0ffee", ("onnx/model.onnx", "config.json"), {})})
    found = graph("models: {m: {source: 'hub:o/m', targets: [o2]}}\n", lock)
    assert list(found.actions) == ["m:fetch", "m/o2:optimize", "m/o2:validate"]


def test_hub_before_it_is_locked(graph):
    found = graph("models: {m: {source: 'hub:o/m@v1', targets: [fp32]}}\n")
    assert found.actions["m:fetch"].params["revision"] == "v1"


def test_timeout(graph):
    actions = graph(model("[fp32]", ", timeout: 60")).actions
    assert {action.timeout_seconds for action in actions.values()} == {60}


def test_every_action_stands_after_what_it_needs(graph):
    found = graph(model("[int8, o2, fp32]", ", benchmark: true"))
    seen = set()
    for action in found.actions.values():
        assert set(action.needs) <= seen
        seen.add(action.id)


def test_all_faults_at_once(load):
    manifest = load(
        TARGETS + "models:\n"
        "  a: {source: random:bert, targets: [fp32]}\n"
        "  b: {source: random:bert, targets: [fp32]}\n"
        "  c: {source: 'local:nowhere', targets: [fp32]}\n"
        "  d: {source: random:bert, task: fill-mask, export: {opset: 9}, targets: [fp32]}\n"
        "  e: {source: random:bert, task: fill-mask, targets: [fp32], benchmark: {threads: [9]}}\n"
    )
    with pytest.raises(DiagnosticError) as raised:
        expand(manifest, KINDS, Lock(), MACHINE)
    assert [(one.code, str(one.span)) for one in raised.value.diagnostics] == [
        ("OB303", "m.yaml:4:3"),
        ("OB303", "m.yaml:5:3"),
        ("OB016", "m.yaml:6:15"),
        ("OB308", "m.yaml:7:61"),
    ]
    found = survey(manifest, KINDS, Lock(), MACHINE)
    assert [one.code for one in found.diagnostics] == ["OB303", "OB303", "OB016", "OB308", "OB613"]


@pytest.mark.parametrize("block", ["generate: true", "targets: [{name: t, generate: true}]"])
def test_true_for_a_step_that_has_to_be_told_something_names_what(load, block):
    of_model = block if block.startswith("targets") else f"targets: [fp32], {block}"
    manifest = load(f"{TARGETS}models: {{m: {{source: random:gpt2, task: text-generation-with-past, {of_model}}}}}\n")
    (only,) = survey(manifest, KINDS, Lock(), MACHINE).diagnostics
    assert (only.code, only.message) == ("OB012", "missing key `prompts` of `generate`")
    assert only.notes == (("hint", 'write `generate: {prompts: ["Once upon a time"]}`'),)


def test_what_a_plan_depends_on(load, tmp_path):
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text("x")
    (folder / "config.json").write_text('{"architectures": ["BertModel"]}')
    (folder / "README.md").write_text("x")
    manifest = load(TARGETS + "models: {m: {source: 'local:model', targets: [fp32]}}\n")
    found = survey(manifest, KINDS, Lock(), MACHINE)
    read = (str(folder / "config.json"), str(folder / "README.md"))  # which may state the license
    assert watched_files(manifest, found, "onnxbuild.lock") == ("m.yaml", "onnxbuild.lock", *read)
    assert found.directories == (str(folder), str(folder / "1_Pooling"))
    files = ("1_Pooling/config.json", "config.json", "model.safetensors")
    assert files_read(found.graph) == [FilesSource(str(folder), files)]
    assert found.graph.actions["m:export"].params["task"] == "feature-extraction"


def test_a_thousand_models(load):
    body = "".join(
        f"  m{i}: {{source: 'hub:o/m{i}', task: fill-mask, targets: [fp32, o2, int8], benchmark: {{batch: [1]}}}}\n"
        for i in range(1000)
    )
    found = expand(load(TARGETS + "models:\n" + body), KINDS, Lock(), MACHINE)
    assert (len(found.actions), len(found.variants)) == (10_000, 3_000)


def plain_form(graph):
    """What keys are made of, with the names under which it stands."""
    return {
        name: (action.kind, action.params, action.inputs, action.toolchain) for name, action in graph.actions.items()
    }


@pytest.mark.parametrize(
    ("alias", "task"),
    [("causal-lm", "text-generation"), ("causal-lm-with-past", "text-generation-with-past")],
)
def test_an_alias_of_a_task_gives_the_same_actions(graph, alias, task):
    text = "models: {m: {source: random:gpt2, task: %s, targets: [fp32, int8], benchmark: true}}\n"
    assert plain_form(graph(text % alias)) == plain_form(graph(text % task))


def test_an_alias_may_stand_in_the_defaults(graph):
    found = graph("defaults: {task: seq2seq-lm}\nmodels: {m: {source: random:t5, targets: [fp32]}}\n")
    assert found.actions["m:export"].params["task"] == "text2text-generation"


@pytest.mark.parametrize(
    ("short", "long"),
    [("int8", "{method: dynamic}"), ("q4", "{method: weight-only}"), ("q8", "{method: weight-only, bits: 8}")],
)
def test_a_short_form_gives_the_same_actions(graph, short, long):
    targets = "[{name: a, quantize: %s}, {name: b, steps: [{optimize: O1}, {quantize: %s}]}]"
    assert plain_form(graph(model(targets % (short, short)))) == plain_form(graph(model(targets % (long, long))))


class HalveParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A plugin's params."""

    rounds: int = 3


class Looked(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Params of a plugin's check."""

    closely: bool = False


HALVE = Kind(
    name="halve",
    version=1,
    params=HalveParams,
    inputs={"model": "onnx"},
    outputs={"model": "onnx"},
    worker="toy:halve",
    precision_after=lambda _params, context: "fp16" if context.precision == "fp32" else f"{context.precision}f16",
)
LOOK = Kind(
    name="look",
    version=1,
    params=Looked,
    inputs={"model": "onnx"},
    outputs={"report": "report"},
    worker="toy:look",
    on_by_default=True,
)


def test_a_plugin_changes_the_precision_and_the_bounds_that_follow(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kinds = {**KINDS, "halve": HALVE, "look": LOOK}
    targets = "[{name: a, halve: {rounds: 2}}, {name: b, steps: [{quantize: q4}, {halve: {rounds: 6}}], look: false}]"
    (tmp_path / "m.yaml").write_text(TARGETS + model(targets))
    found = expand(load_manifest("m.yaml", kinds=kinds), kinds, Lock(), MACHINE)
    assert [(one.precision, one.checks) for one in found.variants] == [
        ("fp16", ("m/a:validate", "m/a:look")),
        ("q4f16", ("m/b:validate",)),
    ]
    validations = [found.actions[f"m/{target}:validate"].params for target in "ab"]
    assert [(one["precision"], one["thresholds"]) for one in validations] == [
        ("fp16", {"max_probability": 0.02, "top1": 0.995}),
        ("q4f16", {"top1": 0.95}),
    ]


def test_equal_blocks_of_a_thousand_models_are_settled_apart_from_others(graph):
    """A block that is made for one model and dropped must not lend its place in memory to the next one."""
    targets = ", ".join(f"{{name: t{number}, validate: {{seed: {number}}}}}" for number in range(40))
    found = graph(
        model(f"[{targets}]", ", validate: {sequence: 7, dataset: d}") + "datasets: {d: {source: [{text: a}]}}\n"
    )
    assert [found.actions[f"m/t{number}:validate"].params["seed"] for number in range(40)] == list(range(40))


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [("{text: b}", ["b"]), ("{}", ["text"])],
)
def test_the_columns_of_a_file_are_looked_at_once_and_watched(load, tmp_path, columns, wanted):
    (tmp_path / "rows.csv").write_text('"a;b",c\n1,2\n')
    manifest = load(
        TARGETS + f"datasets: {{d: {{source: 'file:rows.csv', columns: {columns}}}}}\n"
        "models: {m: {source: random:bert, task: masked-lm, targets: [fp32], validate: {dataset: d}}}\n"
    )
    found = survey(manifest, KINDS, Lock(), MACHINE)
    assert [(one.code, one.message) for one in found.diagnostics] == [
        ("OB621", f"the dataset `d` has no column `{name}`") for name in wanted
    ]
    assert str(tmp_path / "rows.csv") in found.files


@pytest.mark.parametrize("name", ["rows.parquet", "rows.jsonl"])
def test_columns_that_cannot_be_read_are_no_fault_of_a_plan(load, tmp_path, name):
    (tmp_path / name).write_text("PAR1, not JSON\n")
    manifest = load(
        TARGETS + f"datasets: {{d: {{source: 'file:{name}'}}}}\n"
        "models: {m: {source: random:bert, task: masked-lm, targets: [fp32], validate: {dataset: d}}}\n"
    )
    assert survey(manifest, KINDS, Lock(), MACHINE).diagnostics == ()


def test_a_checkpoint_of_images_needs_no_tokenizer(load, tmp_path):
    (tmp_path / "vit").mkdir()
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (tmp_path / "vit" / name).write_text('{"model_type": "vit", "architectures": ["ViTModel"]}')
    manifest = load(TARGETS + "models: {m: {source: 'local:vit', targets: [fp32]}}\n")
    assert survey(manifest, KINDS, Lock(), MACHINE).diagnostics == ()


@pytest.mark.parametrize(("files", "codes"), [(("model.safetensors",), ["OB330"]), ((), [])])
def test_the_lock_tells_of_a_missing_tokenizer(load, files, codes):
    lock = Lock(sources={"hub:o/m@main": LockedSource("c0ffee", files, {"architectures": ["BertForMaskedLM"]})})
    manifest = load(TARGETS + "models: {m: {source: 'hub:o/m', targets: [fp32]}}\n")
    assert [one.code for one in survey(manifest, KINDS, lock, MACHINE).diagnostics] == codes


@pytest.mark.parametrize(
    ("task", "hint"),
    [("text-clasification", "did you mean `text-classification`?"), ("sequence-classification", None)],
)
def test_an_unknown_task_of_an_onnx_model_is_a_warning(load, tmp_path, task, hint):
    (tmp_path / "g.onnx").write_bytes(b"x")
    manifest = load(TARGETS + f"models: {{m: {{source: onnx:g.onnx, task: {task}, targets: [o2]}}}}\n")
    found = survey(manifest, KINDS, Lock(), MACHINE)
    assert [(one.code, one.severity, one.notes) for one in found.diagnostics] == (
        [("OB302", "warning", (("hint", hint),))] if hint else []
    )
    assert found.graph.actions["m/o2:validate"].params["task"] == (task if hint else "text-classification")


def test_an_unknown_task_of_an_onnx_model_comes_with_those_of_its_type(load, tmp_path):
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "a.onnx").write_bytes(b"x")
    (tmp_path / "g" / "config.json").write_text('{"model_type": "vit"}')
    manifest = load(TARGETS + "models: {m: {source: onnx:g, task: chess, targets: [o2]}}\n")
    (found,) = survey(manifest, KINDS, Lock(), MACHINE).diagnostics
    expected = unknown_task("chess", "vit", known_versions(manifest, Lock(), None))
    assert (found.code, found.severity, str(found.span)) == ("OB302", "warning", "m.yaml:3:36")
    assert found.notes == (("hint", expected.hint),)


@pytest.mark.parametrize(("name", "hint"), [("rows2", "did you mean `rows`?"), ("zzz", "define it under `datasets:`")])
def test_a_dataset_that_is_not_defined_has_its_place_in_a_check(load, name, hint):
    manifest = load(
        TARGETS + "datasets: {rows: {source: [{text: a}]}}\n"
        f"models: {{m: {{source: random:bert, task: fill-mask, targets: [fp32], validate: {{dataset: {name}}}}}}}\n"
    )
    (found,) = survey(manifest, KINDS, Lock(), MACHINE).diagnostics
    assert (found.code, found.message) == ("OB004", f"dataset `{name}` is not defined")
    assert (str(found.span), found.notes) == ("m.yaml:4:89", (("hint", hint),))


def test_steps_beside_the_short_form_and_a_check_that_is_off_at_the_target(load):
    targets = "[{name: x, optimize: O1, steps: [{quantize: q8}]}, {name: y, validate: false}]"
    found = survey(load("onnxbuild: 1\n" + model(targets, ", validate: {seed: 5}")), KINDS, Lock(), MACHINE)
    (one,) = found.diagnostics
    assert (one.code, one.message) == ("OB032", "`optimize` next to `steps` has no place in the order")
    assert one.notes == (("hint", "put it into `steps`"),)
    assert [(variant.name, variant.checks) for variant in found.graph.variants] == [
        ("m/x", ("m/x:validate",)), ("m/y", ("m/y:load",)),
    ]  # fmt: skip


def test_a_variant_is_tuned_where_the_model_or_the_target_asks_for_it(graph):
    text = model("[fp32, {name: small, optimize: O2, tune: {minimize: cpu_time}}]", ", validate: false, load: false")
    (tuned,) = (one for one in graph(text.replace("load: false", "load: {}")).variants if one.measures)
    assert (tuned.name, tuned.measures) == ("m/small", ("m/small:tune",))
    found = graph(model("[fp32, {name: not, optimize: O2, tune: false}]", ", tune: {}"))
    assert [one.measures for one in found.variants] == [("m/fp32:tune",), ()]
    assert found.actions["m/fp32:tune"].needs == ("m:export",)
    assert found.actions["m/fp32:tune"].params["task"] == "fill-mask"


def test_a_source_that_is_onnx_is_tuned_without_any_step(graph, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "model.onnx").write_bytes(b"")
    found = graph("models: {m: {source: onnx:a, task: fill-mask, targets: [fp32], tune: {}}}\n")
    (variant,) = found.variants
    assert found.actions[variant.measures[0]].kind == "tune"
    assert found.actions[variant.measures[0]].needs == variant.steps
