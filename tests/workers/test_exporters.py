from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from families import FAMILIES, SIZES, SMALL, contents, text_folder
from msgspec.structs import replace
from toolchain5 import Workers, environment, random_checkpoints

from onnxbuild.protocol import Failure
from onnxbuild.steps.benchmark import BenchmarkParams
from onnxbuild.steps.export import ExportParams
from onnxbuild.steps.exporters import EXPORTERS
from onnxbuild.steps.fetch import FetchParams
from onnxbuild.steps.generate import GenerateParams
from onnxbuild.steps.packaging.genai_package import GenaiParams
from onnxbuild.steps.packaging.package_kind import ClientParams
from onnxbuild.steps.validate import ValidateParams
from onnxbuild.tables.thresholds import THRESHOLDS, table_of

pytestmark = pytest.mark.heavy

HEADS = {"num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 128}
MODELS = {
    # Weights large enough for padding that is not masked to move the logits.
    "bert": (FAMILIES["bert"][0], {**FAMILIES["bert"][1], "initializer_range": 0.6}, 600),
    "t5": FAMILIES["t5"],
    "gpt2": (FAMILIES["gpt2"][0], {**FAMILIES["gpt2"][1], "n_positions": 128}, 600),
    # Normalized layer by layer, such models are trained with a mask.
    "hubert": (
        "automatic-speech-recognition",
        {**FAMILIES["wav2vec2"][1], "feat_extract_norm": "layer", "initializer_range": 0.2},
        0,
    ),
    "qwen3": ("text-generation-with-past", {**SIZES, **SMALL, **HEADS}, 600),
}
PARTS = ["decoder_model.onnx", "decoder_model_merged.onnx", "decoder_with_past_model.onnx", "encoder_model.onnx"]


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    found = Workers(tmp_path_factory.mktemp("tf5"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def another(tmp_path_factory):
    """A separate process, for exports that must be equal."""
    found = Workers(tmp_path_factory.mktemp("another"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def checkpoint(workers):
    return random_checkpoints(workers, MODELS)


def validation(task, precision="fp32"):
    bounds = THRESHOLDS[table_of(task)][precision]
    return ValidateParams(task=task, precision=precision, thresholds=bounds, shapes=((1, 8), (3, 20)))


@pytest.mark.parametrize("name", ["gpt2", "t5"])
def test_what_transformers_exports_is_timed_and_writes(workers, checkpoint, name):
    task = MODELS[name][0]
    params = ExportParams(task=task, exporter="transformers")
    facts, folder = workers.run("onnxbuild.workers.export.worker:run", params, "model", model=checkpoint(name))
    assert not isinstance(facts, Failure), facts
    assert sorted(facts["files"]) == (PARTS if name == "t5" else ["model.onnx"])
    assert facts["because"] == f"transformers knows {name} for {task}"
    ports = {"model": folder, "reference": checkpoint(name)}
    if name == "gpt2":
        timing = BenchmarkParams(task=task, sequence=(8,), iterations=4, rounds=2)
        timed, _ = workers.run("onnxbuild.workers.benchmark.worker:run", timing, "samples", **ports)
        assert {result["stage"] for result in timed["results"]} == {"prefill", "decode"}
    asked = GenerateParams(task=task, prompts=("The second run", "A manifest"), max_new_tokens=6, rounds=1)
    said, _ = workers.run("onnxbuild.workers.generate.worker:run", asked, "samples", **ports)
    assert not isinstance(said, Failure), said
    assert said["agreement"] == {"tokens": 12, "of": 12}


TOWER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
EXPERTS = {"num_experts": 4, "vocab_size": 1}
RARE = {
    # The decoder asks for the logits of the encoder's routers.
    "switch_transformers": (
        "text2text-generation-with-past",
        {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 2, **EXPERTS},
        600,
    ),
    # The decoder has its own config, with other sizes than the encoder's.
    "t5gemma": (
        "text2text-generation-with-past",
        {
            side: {
                **TOWER,
                "hidden_size": 48,
                "num_attention_heads": heads,
                "num_key_value_heads": 1,
                "head_dim": 16,
                "vocab_size": 600,
            }
            for side, heads in (("encoder", 3), ("decoder", 2))
        },
        600,
    ),
    # Spectra come frame by frame, with bins that only the encoder's config or another field names, and with a mask.
    "parakeet_ctc": (
        "automatic-speech-recognition",
        {
            "vocab_size": 40,
            "pad_token_id": 39,
            "encoder_config": {
                **TOWER,
                "num_mel_bins": 24,
                "subsampling_conv_channels": 16,
                "max_position_embeddings": 900,
            },
        },
        0,
    ),
    "wav2vec2-bert": (
        "automatic-speech-recognition",
        {
            **TOWER,
            "vocab_size": 40,
            "feature_projection_input_dim": 24,
            "output_hidden_size": 32,
            "conv_depthwise_kernel_size": 5,
        },
        0,
    ),
    # Its config does not say how many channels a picture has.
    "blip": (
        "feature-extraction",
        {"text_config": {**TOWER, "vocab_size": 200}, "vision_config": {**TOWER, "image_size": 32, "patch_size": 8}},
        0,
    ),
}


@pytest.mark.parametrize("name", sorted(RARE))
def test_types_that_are_read_in_a_way_of_their_own(workers, name):
    task, config, vocabulary = RARE[name]
    asked = FetchParams(origin="random", architecture=name, task=task, config=config, tokenizer_vocabulary=vocabulary)
    fetched, made = workers.run("onnxbuild.workers.fetch.worker:run", asked, "model", text=text_folder())
    assert not isinstance(fetched, Failure), fetched
    params = ExportParams(task=task, exporter="transformers")
    facts, model = workers.run("onnxbuild.workers.export.worker:run", params, "model", model=made)
    assert not isinstance(facts, Failure), facts
    bounds = ValidateParams(task=task, thresholds={"max_abs": 1e-4})
    proven, _ = workers.run("onnxbuild.workers.validate.worker:run", bounds, "report", model=model, reference=made)
    assert not isinstance(proven, Failure), proven
    assert proven["passed"]


def test_what_pytorch_itself_does_not_run_is_a_coded_failure(workers):
    config = {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 1, "state_size": 8, "time_step_rank": 4}
    task = "text-generation-with-past"
    asked = FetchParams(origin="random", architecture="mamba", task=task, config=config, tokenizer_vocabulary=600)
    fetched, made = workers.run("onnxbuild.workers.fetch.worker:run", asked, "model", text=text_folder())
    assert not isinstance(fetched, Failure), fetched
    params = ExportParams(task=task, exporter="transformers")
    failure, _ = workers.run("onnxbuild.workers.export.worker:run", params, "model", model=made)
    assert failure.code == "OBE92"
    reason = "PyTorch does not run the model on the inputs that are made to trace it: RuntimeError: The size of tensor"
    assert failure.message.startswith(reason)


WITHOUT_MASK = """
import torch
from transformers import AutoModelForSequenceClassification

def export(checkpoint, output, opset, task):
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()

    class Unmasked(torch.nn.Module):
        def forward(self, input_ids):
            return MODEL(input_ids=input_ids).logits

    MODEL = model
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", max=64)}
    torch.onnx.export(Unmasked(), (torch.ones(2, 7, dtype=torch.int64),), str(output / "model.onnx"), dynamo=True,
                      input_names=["input_ids"], output_names=["logits"], opset_version=opset,
                      dynamic_shapes={"input_ids": free}, external_data=False)
"""


def test_an_exporter_of_ones_own_that_forgets_the_mask_fails_its_validation(workers, checkpoint, tmp_path):
    (tmp_path / "mine.py").write_text(WITHOUT_MASK)
    params = ExportParams(task="text-classification", exporter="code/mine.py:export")
    ports = {"model": checkpoint("bert"), "exporter": tmp_path}
    facts, folder = workers.run("onnxbuild.workers.export.worker:run", params, "model", **ports)
    assert facts["because"] == "a custom exporter of the manifest"
    assert contents(tmp_path).keys() == {"mine.py"}
    ports = {"model": folder, "reference": checkpoint("bert")}
    failure, _ = workers.run("onnxbuild.workers.validate.worker:run", validation(params.task), "report", **ports)
    assert failure.code == "OBE04"
    assert failure.message.startswith("`max_abs` is ")


AS_DOCUMENTED = """
import torch
from transformers import AutoModelForCTC
from transformers.exporters import OnnxConfig, OnnxExporter

def export(checkpoint, output, opset, task):
    model = AutoModelForCTC.from_pretrained(checkpoint).eval()
    audio = torch.linspace(-1, 1, 32_000).reshape(2, 16_000)
    OnnxExporter().export(
        model, {"input_values": audio}, OnnxConfig(dynamic=True, opset_version=opset)
    ).save_pretrained(output)
"""


def test_an_audio_export_traced_without_a_mask_fails_its_validation(workers, checkpoint, tmp_path):
    """transformers' own exporter, as documented: right on the audio that it traced, and far off on padded audio."""
    (tmp_path / "mine.py").write_text(AS_DOCUMENTED)
    params = ExportParams(task="automatic-speech-recognition", exporter="code/mine.py:export")
    ports = {"model": checkpoint("hubert"), "exporter": tmp_path}
    facts, folder = workers.run("onnxbuild.workers.export.worker:run", params, "model", **ports)
    assert not isinstance(facts, Failure), facts
    ports = {"model": folder, "reference": checkpoint("hubert")}
    asked = validation("audio-classification")  # a letter per frame is judged like a class
    failure, _ = workers.run(
        "onnxbuild.workers.validate.worker:run", replace(asked, task=params.task), "report", **ports
    )
    assert failure.code == "OBE04"
    assert failure.message.startswith("`max_abs` is ")
    even = replace(asked, task=params.task, shapes=((1, 16), (1, 40)))
    proven, _ = workers.run("onnxbuild.workers.validate.worker:run", even, "report", **ports)
    assert isinstance(proven, Failure)
    assert "batch 8" in proven.message  # the probe of several lengths finds it, and a single row does not


@pytest.mark.parametrize(
    ("place", "code", "message"),
    [
        ("mine.py:export", "raise RuntimeError('no')", "`mine.py` cannot be imported: RuntimeError: no"),
        ("mine.py:exprot", "def export(): ...", "`mine.py` has no function `exprot`"),
        ("mine:export", "import absent_module", "`mine` cannot be imported: ModuleNotFoundError: "),
    ],
)
def test_an_exporter_that_cannot_be_used(workers, checkpoint, tmp_path, place, code, message):
    (tmp_path / "mine.py").write_text(code)
    ports = {"model": checkpoint("bert"), "exporter": tmp_path}
    params = ExportParams(task="text-classification", exporter=place)
    failure, _ = workers.run("onnxbuild.workers.export.worker:run", params, "model", **ports)
    assert failure.code == "OBE67"
    assert failure.message.startswith(message)


@pytest.mark.parametrize(("dtype", "precision"), [("fp32", "fp32"), ("q4", "q4")])
def test_genai_builds_a_decoder_that_agrees_and_that_its_own_runtime_loads(
    workers, another, checkpoint, dtype, precision
):
    task = MODELS["qwen3"][0]
    params = ExportParams(task=task, exporter="genai", dtype=dtype, opset=EXPORTERS["genai"].opsets[0])
    facts, folder = workers.run("onnxbuild.workers.export.worker:run", params, "model", model=checkpoint("qwen3"))
    assert facts["files"]["model.onnx"]["opset"] == 22
    assert {"genai_config.json", "tokenizer.json", "config.json"} <= set(contents(folder))
    _, again = another.run("onnxbuild.workers.export.worker:run", params, "model", model=checkpoint("qwen3"))
    assert contents(again) == contents(folder)
    ports = {"model": folder, "reference": checkpoint("qwen3")}
    proven, _ = workers.run("onnxbuild.workers.validate.worker:run", validation(task, precision), "report", **ports)
    assert not isinstance(proven, Failure), proven
    script = "import sys, onnxruntime_genai as g; print(g.Model(sys.argv[1]).type)"
    python = environment().interpreter(lambda _text: None, lambda *_command: (1, ""))
    done = subprocess.run([python, "-c", script, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "qwen3"
    packed = GenaiParams(task=task, graphs={"": "t"})
    worker, inputs = "onnxbuild.workers.package.runtimes.genai_folder:run", {"graph-t": folder}
    facts, package = workers.run(worker, packed, "package", model=checkpoint("qwen3"), **inputs)
    assert facts["config_of"] == "the exporter"
    client, params = "onnxbuild.workers.package.runtimes.genai_client:run", ClientParams(task=task, graphs={"": "t"})
    found, _ = workers.run(client, params, "report", model=package)
    assert not isinstance(found, Failure), found
    assert (found["client"], found["prompts"]) == ("onnxruntime-genai 0.18.0", 3)


def known_to_its_library(name):
    python = sys.executable
    if name != "optimum":
        python = environment().interpreter(lambda _text: None, lambda *_command: (1, ""))
    script = Path(__file__).with_name("exporter_tables.py")
    environ = {**os.environ, "PYTHONPATH": str(script.parents[2]), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([python, str(script), name], capture_output=True, text=True, check=True, env=environ)
    return json.loads(done.stdout.splitlines()[-1])


def types_of(name):
    return {task: types.split() for task, types in EXPORTERS[name].types.items()}


@pytest.mark.parametrize("name", ["optimum", "transformers"])
def test_the_tables_are_what_the_libraries_know(name):
    assert types_of(name) == known_to_its_library(name)


def test_what_was_proven_of_mobius_is_what_it_registers_for_these_tasks():
    known, proven = known_to_its_library("mobius"), types_of("mobius")
    generating = {one for task in known if task.endswith("text-generation") for one in known[task]}
    assert set(proven["text-generation-with-past"]) <= generating
    assert set(proven["feature-extraction"]) <= {*known["feature-extraction"], *known["image-classification"]}


def test_types_that_fail_are_types_of_the_table():
    for exporter in EXPORTERS.values():
        known = {one for types in exporter.types.values() for one in types.split()}
        assert {one for failing in exporter.fails for one in failing.types.split()} <= known, exporter.name


OWN_CODE = {
    "configuration_mine.py": """
from transformers import BertConfig
class MineConfig(BertConfig):
    model_type = "mine"
""",
    "modeling_mine.py": """
from transformers import BertForSequenceClassification
from .configuration_mine import MineConfig
class MineModel(BertForSequenceClassification):
    config_class = MineConfig
""",
}


@pytest.mark.parametrize("trusted", [True, False])
def test_code_of_the_checkpoint_runs_only_where_it_is_trusted(workers, checkpoint, tmp_path, trusted):
    for path in checkpoint("bert").iterdir():
        os.link(path, tmp_path / path.name)
    config = json.loads((tmp_path / "config.json").read_text())
    names = {"AutoConfig": "configuration_mine.MineConfig",
             "AutoModelForSequenceClassification": "modeling_mine.MineModel"}  # fmt: skip
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "mine", "auto_map": names}))
    for name, text in OWN_CODE.items():
        (tmp_path / name).write_text(text)
    trust = {"trust_remote_code": True} if trusted else {}
    params = ExportParams(task="text-classification", exporter="transformers", **trust)
    found, folder = workers.run("onnxbuild.workers.export.worker:run", params, "model", model=tmp_path)
    if trusted:
        assert set(found["files"]) == {"model.onnx"}
        ports = {"model": folder, "reference": tmp_path}
        asked = validation(params.task)
        failure, _ = workers.run("onnxbuild.workers.validate.worker:run", asked, "report", **ports)
        assert failure.code == "OBE14"
        asked = replace(asked, trust_remote_code=True)
        proven, _ = workers.run("onnxbuild.workers.validate.worker:run", asked, "report", **ports)
        assert not isinstance(proven, Failure), proven
        assert proven["passed"]
    else:
        assert found.code == "OBE14"
