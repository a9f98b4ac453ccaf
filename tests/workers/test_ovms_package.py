"""The package `ovms`: its layout and its config, and its graphs in OpenVINO Runtime where that is installed."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from families import run_step, scratch
from small_models import classifier
from small_models import exported as small
from test_packages import with_other_numbers

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.packaging.ovms_package import OvmsParams
from onnxbuild.steps.packaging.package_kind import ClientParams
from onnxbuild.workers.package import client_checks
from onnxbuild.workers.package.repositories import ovms_client
from onnxbuild.workers.package.repositories.ovms_client import run as check
from onnxbuild.workers.package.repositories.ovms_repository import run as write

pytestmark = pytest.mark.heavy

HAS_OPENVINO = importlib.util.find_spec("openvino") is not None
needs_openvino = pytest.mark.skipif(not HAS_OPENVINO, reason="needs openvino")


def packaged(model, **params):
    params = OvmsParams(task=model.task, graphs={"labels": "t"}, **params)
    return run_step(write, params, "package", **{"model": model.checkpoint, "graph-t": model.onnx})


def checked(package, task="text-classification"):
    with contextlib.chdir(scratch()):
        return run_step(check, ClientParams(task=task, graphs={"labels": "t"}), "report", model=package)[0]


def refused(package):
    with pytest.raises(CheckFailed) as error:
        checked(package)
    return error.value.failure


@pytest.fixture(scope="module")
def package() -> Path:
    facts, folder = packaged(classifier(), version=3, base_path="/srv/models/")
    assert facts["models"] == ["labels"]
    return folder


def copied(package: Path) -> Path:
    copy = scratch()
    shutil.copytree(package, copy, dirs_exist_ok=True)
    return copy


def test_the_config_lists_the_models_of_the_repository(package: Path) -> None:
    models = package / "models"
    assert json.loads((models / "config.json").read_text()) == {
        "model_config_list": [
            {"config": {"name": "labels", "base_path": "/srv/models/labels", "target_device": "CPU"}}
        ]
    }  # fmt: skip
    assert [path.relative_to(models).as_posix() for path in models.rglob("*.onnx")] == ["labels/3/model.onnx"]
    assert (package / "tokenizer" / "tokenizer.json").is_file()


@needs_openvino
def test_openvino_computes_what_onnxruntime_does(package: Path) -> None:
    facts = checked(package)
    assert facts["client"].startswith("OpenVINO Runtime 20")
    assert facts["client"].endswith("; not run by a model server")
    assert facts["max_difference"]["labels"] < 1e-4


@needs_openvino
def test_openvino_does_not_compile_a_merged_decoder() -> None:
    with pytest.raises(CheckFailed) as error:
        checked(packaged(small("t5"))[1], small("t5").task)
    assert error.value.failure.code == "OBE191"
    assert error.value.failure.message == "OpenVINO does not open `labels-decoder_model_merged/1/model.onnx`"
    assert "doesn't support If operation with dynamic rank" in error.value.failure.notes[0][1]


@needs_openvino
def test_other_numbers_and_a_graph_that_openvino_does_not_read_fail_the_check(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = with_other_numbers(package, 3.0)
    plain = ovms_client._compiled
    with monkeypatch.context() as patched:
        patched.setattr(ovms_client, "_compiled", lambda _: plain(other / "models" / "labels" / "3" / "model.onnx"))
        failure = refused(package)
    assert failure.code == "OBE190"
    assert failure.message.startswith("OpenVINO computes other numbers than ONNX Runtime with `labels`")
    broken = copied(package)
    (broken / "models" / "labels" / "3" / "model.onnx").write_bytes(b"no graph")
    assert refused(broken).code != "OBE99"


def test_a_wrong_layout_or_config_fails_the_check(package: Path) -> None:
    broken = copied(package)
    (broken / "models" / "labels" / "3").rename(broken / "models" / "labels" / "0")
    failure = refused(broken)
    assert failure.code == "OBE191"
    assert failure.message == "the folder `labels/0` is no version: a version is a positive integer"
    broken = copied(package)
    config = broken / "models" / "config.json"
    config.write_text(config.read_text().replace('/labels"', '/elsewhere"'))
    assert refused(broken).message == (
        "`config.json` looks for `labels` in `/srv/models/elsewhere`, and its folder is `labels`"
    )
    config.write_text(config.read_text().replace('"labels"', '"other"'))
    failure = refused(broken)
    assert failure.code == "OBE45"
    assert failure.message == "`labels` is not both a folder of the repository and a model of `config.json`"
    config.write_text("{}")
    assert refused(broken).code == "OBE191"


def test_the_check_is_skipped_without_openvino(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_checks, "find_spec", lambda _name: None)
    assert checked(package) == {"skipped": "needs openvino"}
