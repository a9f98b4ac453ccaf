"""Packages for ONNX Runtime itself: model packages opened by version 1.32, and folders that onnxruntime-genai runs."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from families import checkpoint, exported, run_step, scratch
from newer_clients import ONNXRUNTIME, runner_with
from toolchain5 import Workers

from onnxbuild.protocol import CheckFailed, Failure
from onnxbuild.steps.packaging.genai_package import GenaiParams
from onnxbuild.steps.packaging.ort_package import OrtPackageParams
from onnxbuild.steps.packaging.package_kind import ClientParams
from onnxbuild.workers.package import client_checks
from onnxbuild.workers.package.runtimes.genai_client import run as check_genai
from onnxbuild.workers.package.runtimes.genai_folder import run as write_genai
from onnxbuild.workers.package.runtimes.ort_package_client import run as check_here
from onnxbuild.workers.package.runtimes.ort_package_folder import run as write_package

pytestmark = pytest.mark.heavy

ORT_CLIENT = "onnxbuild.workers.package.runtimes.ort_package_client:run"


@pytest.fixture(scope="module")
def newer(tmp_path_factory):
    found = Workers(tmp_path_factory.mktemp("newer"), ONNXRUNTIME, runner_with(ONNXRUNTIME))
    yield found
    found.close()


def changed(folder: Path, change, name: str = "model.onnx") -> Path:
    """A copy of a model with its weights in a file of their own, and a changed graph."""
    copy = scratch()
    shutil.copytree(folder, copy, dirs_exist_ok=True)
    for path in copy.glob("*.onnx"):
        model = onnx.load(path)
        change(model)
        location = f"{path.name}_data"
        onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=64)
    return copy


def as_it_is(_model) -> None:
    pass


def doubled(model) -> None:
    """The logits times two, by a node more: the weights stay."""
    result = model.graph.output[0]
    inner = f"{result.name}_half"
    for node in model.graph.node:
        node.output[:] = [inner if name == result.name else name for name in node.output]
    model.graph.node.append(onnx.helper.make_node("Add", [inner, inner], [result.name]))


def packed(task: str, source: Path, devices: dict[str, str], **targets: Path):
    graphs = {role: f"t-{role}" for role in targets}
    params = OrtPackageParams(task=task, graphs=graphs, devices=devices)
    ports = {f"graph-t-{role}": folder for role, folder in targets.items()}
    return run_step(write_package, params, "package", model=source, **ports)


def opened(newer, package: Path, *roles: str):
    params = ClientParams(graphs={role: f"t-{role}" for role in roles})
    return newer.run(ORT_CLIENT, params, "report", model=package)[0]


@pytest.fixture(scope="module")
def bert() -> Path:
    return exported("bert")[1]


@pytest.fixture(scope="module")
def three(bert: Path):
    """Two variants for the CPU with the same weights, and one for CUDA with others."""
    loud = changed(bert, lambda model: model.graph.initializer[0].CopyFrom(louder(model.graph.initializer[0])))
    targets = {"loud": changed(bert, doubled), "as-it-is": changed(bert, as_it_is), "gpu": loud}
    return packed("fill-mask", checkpoint("bert"), {"gpu": "cuda"}, **targets)


def louder(tensor):
    values = onnx.numpy_helper.to_array(tensor)
    return onnx.numpy_helper.from_array(values + np.ones((), values.dtype), tensor.name)


def test_onnxruntime_selects_the_first_variant_of_a_provider_and_computes_what_its_graph_does(newer, three) -> None:
    facts, package = three
    assert (facts["components"], facts["shared_weights"]) == (["model"], 1)
    found = opened(newer, package, "loud", "as-it-is", "gpu")
    assert found == {
        "client": "onnxruntime 1.32.0",
        "max_difference": {"model/loud": 0.0, "model/as-it-is": 0.0},
        "bound": 1e-5,
        "not_run": ["gpu"],
    }


def test_equal_weights_are_stored_once_under_the_hash_of_their_content(three) -> None:
    _, package = three
    stored = sorted(path.relative_to(package).as_posix() for path in package.rglob("*_data"))
    line = hashlib.sha256((package / stored[1]).read_bytes()).hexdigest() + "  model.onnx_data\n"
    name = hashlib.sha256(line.encode()).hexdigest()
    assert stored == ["model/gpu/model.onnx_data", f"shared_assets/sha256-{name}/model.onnx_data"]
    variants = json.loads((package / "model" / "component.json").read_text())["variants"]
    assert [(role, one["ep"], one["device"]) for role, one in variants.items()] == [
        ("loud", "CPUExecutionProvider", "cpu"),
        ("as-it-is", "CPUExecutionProvider", "cpu"),
        ("gpu", "CUDAExecutionProvider", "gpu"),
    ]
    assert (package / "tokenizer.json").is_file()


def test_each_graph_of_an_encoder_decoder_is_a_component(newer) -> None:
    _, folder = exported("t5")
    facts, package = packed("text2text-generation", checkpoint("t5"), {}, cpu=folder)
    names = sorted(path.stem for path in folder.glob("*.onnx"))
    assert facts["components"] == names
    found = opened(newer, package, "cpu")
    assert found["max_difference"] == {f"{name}/cpu": 0.0 for name in names}


@pytest.mark.parametrize(
    ("damage", "code", "says"),
    [
        ("model/loud/model.onnx", "OBE191", "onnxruntime.ModelPackage does not open `model/loud`"),
        ("model/component.json", "OBE191", "onnxruntime.ModelPackage does not open `manifest.json`"),
        ("weights", "OBE191", "onnxruntime.ModelPackage does not open `shared_assets/sha256-"),
        ("name", "OBE191", "onnxruntime.ModelPackage does not open `component.json`"),
    ],
)
def test_a_broken_model_package_fails_its_check(newer, three, damage: str, code: str, says: str) -> None:
    package = scratch()
    shutil.copytree(three[1], package, dirs_exist_ok=True)
    if damage == "weights":
        path = next((package / "shared_assets").rglob("*_data"))
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    elif damage == "name":
        path = package / "model" / "component.json"
        path.write_text(path.read_text().replace('"as-it-is": {', '"as-it-was": {'))
    else:
        (package / damage).unlink()
    found = opened(newer, package, "loud", "as-it-is", "gpu")
    assert isinstance(found, Failure)
    assert (found.code, found.message[: len(says)]) == (code, says)


def test_a_package_without_a_variant_for_the_cpu_is_not_called_right(newer, bert: Path) -> None:
    _, package = packed("fill-mask", checkpoint("bert"), {"gpu": "cuda"}, gpu=bert)
    assert opened(newer, package, "gpu") == {"skipped": "needs CUDAExecutionProvider"}


def test_the_check_is_skipped_before_onnxruntime_1_32(three, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(onnxruntime, "ModelPackageContext", raising=False)
    params = ClientParams(graphs={"loud": "t-loud"})
    facts, report = run_step(check_here, params, "report", model=three[1])
    assert facts == {"skipped": "needs onnxruntime 1.32"}
    assert json.loads((report / "client.json").read_text()) == facts


def genai(folder: Path, source: Path, **more):
    params = GenaiParams(task="text-generation-with-past", graphs={"": "t"}, **more)
    return run_step(write_genai, params, "package", **{"model": source, "graph-t": folder})


def continued(package: Path):
    return run_step(check_genai, ClientParams(graphs={"": "t"}), "report", model=package)[0]


@pytest.mark.parametrize(("name", "heads"), [("gpt2", 2), ("llama", 1)])
def test_genai_continues_prompts_with_the_tokens_of_greedy_generation(name: str, heads: int) -> None:
    _, folder = exported(name)
    facts, package = genai(folder, checkpoint(name))
    assert facts["config_of"] == "onnxbuild"
    model = json.loads((package / "genai_config.json").read_text())["model"]
    assert (model["type"], model["decoder"]["num_key_value_heads"], model["decoder"]["head_size"]) == (
        "decoder", heads, 16
    )  # fmt: skip
    found = continued(package)
    assert (found["client"], found["prompts"]) == ("onnxruntime-genai 0.18.0", 3)
    assert 3 <= found["equal_tokens"] <= 48


def test_prompts_fit_into_a_short_context() -> None:
    _, folder = exported("llama")
    _, package = genai(folder, checkpoint("llama"), max_length=20)
    found = continued(package)
    assert 3 <= found["equal_tokens"] <= 48


def test_a_graph_that_computes_other_logits_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder = exported("llama")
    _, package = genai(folder, checkpoint("llama"))
    from onnxbuild.workers.package.runtimes import genai_client

    generated = genai_client._generated
    monkeypatch.setattr(genai_client, "_generated", lambda *a: [one + 1 for one in generated(*a)])
    with pytest.raises(CheckFailed) as error:
        continued(package)
    assert error.value.failure.code == "OBE190"
    assert error.value.failure.message.startswith("onnxruntime-genai continues [")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda one: one["model"]["decoder"].update(filename="other.onnx"), "File doesn't exist"),
        (lambda one: one["model"]["decoder"]["inputs"].update(past_key_names="past.%d.k"), "past"),
        (lambda one: one["model"].update(type="nonsense"), "nonsense"),
    ],
)
def test_a_broken_genai_folder_fails_its_check(change, says: str) -> None:
    _, folder = exported("llama")
    _, package = genai(folder, checkpoint("llama"))
    path = package / "genai_config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    with pytest.raises(CheckFailed) as error:
        continued(package)
    assert error.value.failure.code == "OBE191"
    assert says in error.value.failure.notes[0][1]


def test_the_config_of_the_exporter_is_kept_and_the_chat_template_is_inlined() -> None:
    _, folder = exported("llama")
    source = scratch()
    shutil.copytree(folder, source, dirs_exist_ok=True)
    config = {"model": {"type": "llama", "decoder": {"filename": "other.onnx"}}}
    (source / "genai_config.json").write_text(json.dumps(config))
    (source / "chat_template.jinja").write_text("{{ messages }}")
    facts, package = genai(source, checkpoint("llama"))
    assert facts["config_of"] == "the exporter"
    config["model"]["decoder"]["filename"] = "model.onnx"
    assert json.loads((package / "genai_config.json").read_text()) == config
    assert json.loads((package / "tokenizer_config.json").read_text())["chat_template"] == "{{ messages }}"


def renamed_input(model, old: str, new: str) -> None:
    for value in model.graph.input:
        value.name = new if value.name == old else value.name
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("past_key_values.1.value", "rnn_state", "the graph takes `rnn_state`, which onnxruntime-genai does not feed"),
        ("past_key_values.1.value", "past_key_values.1.key_value", "the names of keys and values differ"),
        ("input_ids", "past_key_values.7.value", "does not take `input_ids`"),
    ],
)
def test_a_graph_that_genai_cannot_feed_is_not_packed(old: str, new: str, says: str) -> None:
    _, folder = exported("llama")
    odd = changed(folder, lambda model: renamed_input(model, old, new))
    with pytest.raises(CheckFailed) as error:
        genai(odd, checkpoint("llama"))
    assert error.value.failure.code == "OBE198"
    assert says in error.value.failure.message


def test_the_limit_of_the_export_is_the_length_of_the_context() -> None:
    _, folder = exported("gpt2")
    lengths = []
    for more in ({}, {"max_length": 40}):
        config = json.loads((genai(folder, checkpoint("gpt2"), **more)[1] / "genai_config.json").read_text())
        lengths.append((config["model"]["context_length"], config["search"]["max_length"]))
    assert lengths == [(64, 64), (40, 40)]
    config = json.loads((folder / "config.json").read_text())
    nameless = changed(folder, as_it_is)
    (nameless / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != "n_positions"}))
    with pytest.raises(CheckFailed) as error:
        genai(nameless, checkpoint("gpt2"))
    assert "does not say how many tokens the model accepts" in error.value.failure.message


def test_the_check_without_genai_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_checks, "find_spec", lambda _name: None)
    assert continued(scratch()) == {"skipped": "needs onnxruntime-genai"}
