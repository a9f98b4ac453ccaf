"""Checkpoints of timm, exported and compared with timm itself, in an environment that has it."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load_file, save_file
from timm_environment import Timm, interpreter
from toolchain5 import Workers

from onnxbuild.protocol import Failure
from onnxbuild.runners.local import LocalRunner
from onnxbuild.steps.benchmark import BenchmarkParams
from onnxbuild.steps.export import ExportParams
from onnxbuild.steps.validate import ValidateParams
from onnxbuild.tables.thresholds import THRESHOLDS, table_of

pytestmark = pytest.mark.heavy

# A net of convolutions, a transformer of one size, and one whose padding depends on the size of the picture.
ARCHITECTURES = ("test_resnet", "test_vit", "tf_mobilenetv3_small_minimal_100")
CLASSES = 7
# What a user of timm does: the checkpoint as it saves it, and a picture through its own transform and model.
SCRIPT = """
import json, pathlib, sys
import numpy, PIL.Image, timm, torch
from timm.models import save_for_hf
root, classes = pathlib.Path(sys.argv[1]), int(sys.argv[2])
picture = PIL.Image.fromarray(numpy.random.default_rng(1).integers(0, 256, (210, 260, 3), numpy.uint8))
for name in sys.argv[3:]:
    torch.manual_seed(3)
    folder = root / name
    save_for_hf(timm.create_model(name, num_classes=classes), folder, safe_serialization=True)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model.pretrained_cfg))
    pixels = transform(picture)[None]
    with torch.no_grad():
        features = model.forward_features(pixels)
        found = {"pixel_values": pixels, "logits": model(pixels), "last_hidden_state": features,
                 "pooler_output": model.forward_head(features, pre_logits=True)}
    numpy.savez(root / f"{name}.npz", **{key: value.numpy() for key, value in found.items()})
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification
written = json.loads((root / "test_vit" / "config.json").read_text())["pretrained_cfg"]
# As on the Hub: later versions of timm have the size in `model_args`, which transformers 4.57 does not take.
config = TimmWrapperConfig(
    architecture="test_vit", num_labels=classes, pretrained_cfg={**written, "fixed_input_size": True}
)
model = TimmWrapperForImageClassification(config).eval()
model.save_pretrained(root / "wrapped")
with torch.no_grad():
    pixels = torch.randn(2, 3, 160, 160)
    numpy.savez(root / "wrapped.npz", pixel_values=pixels.numpy(), logits=model(pixels).logits.numpy())
"""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    root = tmp_path_factory.mktemp("checkpoints")
    command = [interpreter(), "-c", SCRIPT, root, str(CLASSES), *ARCHITECTURES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    found = Workers(tmp_path_factory.mktemp("timm"), "timm", LocalRunner({"timm": Timm()}))
    yield found
    found.close()


def exported(workers, folder, **fields):
    params = ExportParams(**{"task": "image-classification", "exporter": "timm", **fields})
    return workers.run("onnxbuild.workers.export.worker:run", params, "model", model=folder)


def validated(workers, output, reference, task="image-classification"):
    bounds = THRESHOLDS[table_of(task)]["fp32"]
    params = ValidateParams(task=task, library="timm", shapes=((1, 8), (3, 8)), thresholds=bounds)
    ports = {"model": output, "reference": reference}
    return workers.run("onnxbuild.workers.validate.worker:run", params, "report", **ports)[0]


def is_as_expected(output, expected):
    session = onnxruntime.InferenceSession(output / "model.onnx")
    names = [one.name for one in session.get_outputs()]
    found = session.run(names, {"pixel_values": expected["pixel_values"]})
    for name, value in zip(names, found, strict=True):
        assert np.abs(value - expected[name]).max() <= 1e-4 * np.abs(expected[name]).max() + 1e-6, name
    return names


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_picture_gives_what_it_gives_in_timm(workers, checkpoints, name):
    facts, output = exported(workers, checkpoints / name)
    assert not isinstance(facts, Failure), facts
    assert facts["because"] == "timm knows timm_wrapper for image-classification; optimum cannot export it"
    report = validated(workers, output, checkpoints / name)
    assert not isinstance(report, Failure), report
    assert report["reference"] == "torch"
    expected = np.load(checkpoints / f"{name}.npz")
    assert is_as_expected(output, expected) == ["logits"]
    assert np.ptp(expected["logits"]) > 1e-3
    height = onnxruntime.InferenceSession(output / "model.onnx").get_inputs()[0].shape[2]
    assert height == (160 if name == "test_vit" else "height")


@pytest.mark.parametrize("name", ARCHITECTURES[:2])
def test_its_features(workers, checkpoints, name):
    facts, output = exported(workers, checkpoints / name, task="feature-extraction")
    assert not isinstance(facts, Failure), facts
    report = validated(workers, output, checkpoints / name, "feature-extraction")
    assert not isinstance(report, Failure), report
    assert is_as_expected(output, np.load(checkpoints / f"{name}.npz")) == ["last_hidden_state", "pooler_output"]


def test_a_checkpoint_that_transformers_saved(workers, checkpoints):
    config = json.loads((checkpoints / "wrapped" / "config.json").read_text())
    assert config["model_type"] == "timm_wrapper"
    facts, output = exported(workers, checkpoints / "wrapped")
    assert not isinstance(facts, Failure), facts
    report = validated(workers, output, checkpoints / "wrapped")
    assert not isinstance(report, Failure), report
    is_as_expected(output, np.load(checkpoints / "wrapped.npz"))


def test_it_is_timed_beside_timm(workers, checkpoints):
    _, output = exported(workers, checkpoints / "test_resnet")
    params = BenchmarkParams(task="image-classification", library="timm", iterations=2, rounds=1, warmup=1)
    ports = {"model": output, "reference": checkpoints / "test_resnet"}
    facts, _ = workers.run("onnxbuild.workers.benchmark.worker:run", params, "samples", **ports)
    assert set(facts["results"][0]["engines"]) == {"onnxruntime", "torch"}


def kept(weights):
    """No change of the weights."""
    del weights


def changed(checkpoints, folder, change_weights=kept, **config):
    """A copy of a checkpoint with other weights and another config."""
    shutil.copytree(checkpoints / "test_resnet", folder)
    weights = load_file(folder / "model.safetensors")
    change_weights(weights)
    save_file(weights, folder / "model.safetensors")
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**written, **config}))
    return folder


def test_another_picture_or_weight_breaks_the_validation(workers, checkpoints, tmp_path):
    def negate(weights):
        weights["fc.weight"] *= -1

    _, output = exported(workers, checkpoints / "test_resnet")
    failure = validated(workers, output, changed(checkpoints, tmp_path / "other", negate))
    assert failure.code == "OBE04"


def test_a_weight_that_is_missing(workers, checkpoints, tmp_path):
    folder = changed(checkpoints, tmp_path / "m", lambda weights: weights.pop("fc.weight"))
    failure, _ = exported(workers, folder)
    assert (failure.code, failure.message) == (
        "OBE83", "the checkpoint lacks `fc.weight` of its architecture in timm 1.0.31"
    )  # fmt: skip


def test_a_weight_that_the_architecture_does_not_have(workers, checkpoints, tmp_path):
    folder = changed(checkpoints, tmp_path / "m", lambda weights: weights.update(other=np.zeros(2, np.float32)))
    facts, _ = exported(workers, folder)
    assert facts["warnings"] == ["the checkpoint has 1 weights that the exported model does not have: `other`"]


def test_weights_of_another_shape(workers, checkpoints, tmp_path):
    """timm's own loader leaves out a head of another size, and fills in random weights."""
    config = {"num_classes": 9, "model_args": {"num_classes": 9}}
    failure, _ = exported(workers, changed(checkpoints, tmp_path / "m", **config))
    assert failure.code == "OBE103"
    assert failure.message == "timm cannot load the checkpoint: Error(s) in loading state_dict for ResNet:"
    assert "size mismatch for fc.weight" in dict(failure.notes)["cause"]


def test_an_architecture_that_timm_does_not_have(workers, checkpoints, tmp_path):
    failure, _ = exported(workers, changed(checkpoints, tmp_path / "m", architecture="resnet_of_tomorrow"))
    assert failure.code == "OBE103"
    assert failure.message == "timm cannot load the checkpoint: Unknown model (resnet_of_tomorrow)"


def test_a_checkpoint_without_classes(workers, checkpoints, tmp_path):
    def drop(weights):
        del weights["fc.weight"], weights["fc.bias"]

    config = {"num_classes": 0, "model_args": {"num_classes": 0}}
    folder = changed(checkpoints, tmp_path / "m", drop, **config)
    failure, _ = exported(workers, folder)
    assert (failure.code, failure.message) == ("OBE83", "the checkpoint has no classes: `num_classes` is 0")
    facts, output = exported(workers, folder, task="feature-extraction")
    assert not isinstance(facts, Failure), facts
    is_as_expected(output, np.load(checkpoints / "test_resnet.npz"))
