"""The package `triton`: configs that describe their graphs, an ensemble that reads text, and a server that is asked.

No Triton can be installed here. The configs are read by Triton's own protobuf, and a server on loopback that speaks its
protocol refuses wrong requests; both are no proof that Triton loads the repository.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from families import run_step, scratch
from small_models import classifier
from small_models import exported as small
from triton_server import Triton

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.packaging.package_kind import ClientParams
from onnxbuild.steps.packaging.triton_package import TritonParams
from onnxbuild.workers.package import client_checks
from onnxbuild.workers.package.repositories.repository_graphs import Signature, Tensor
from onnxbuild.workers.package.repositories.triton_client import run as check
from onnxbuild.workers.package.repositories.triton_config import config_text, graph_config
from onnxbuild.workers.package.repositories.triton_contract import read_config_file
from onnxbuild.workers.package.repositories.triton_repository import run as write

pytestmark = pytest.mark.heavy

BY_CONTRACT = "verified by contract; not run by a Triton server"


def packaged(model, onnx_folder=None, **params):
    params = TritonParams(task=model.task, graphs={"labels": "t"}, **params)
    return run_step(write, params, "package", **{"model": model.checkpoint, "graph-t": onnx_folder or model.onnx})


def checked(package, task="text-classification"):
    with contextlib.chdir(scratch()):
        return run_step(check, ClientParams(task=task, graphs={"labels": "t"}), "report", model=package)[0]


def refused(package, code, task="text-classification"):
    with pytest.raises(CheckFailed) as error:
        checked(package, task)
    assert error.value.failure.code == code
    return error.value.failure


def copied(package):
    copy = scratch()
    shutil.copytree(package, copy, dirs_exist_ok=True)
    return copy


@pytest.fixture(autouse=True)
def _no_server(monkeypatch):
    monkeypatch.delenv("TRITON_URL", raising=False)


@pytest.fixture(scope="module")
def package():
    facts, folder = packaged(
        classifier(), max_batch_size=12, preferred_batch_sizes=(4, 8), max_queue_delay_microseconds=250, instances=2
    )
    assert facts["models"] == ["labels", "labels-tokenizer", "labels-ensemble"]
    return folder


def test_the_config_of_a_graph_is_what_triton_documents(package: Path) -> None:
    text = (package / "models" / "labels" / "config.pbtxt").read_text()
    head, _, rest = text.partition("input {")
    assert head == 'name: "labels"\nmax_batch_size: 12\nversion_policy {\n  latest {\n    num_versions: 1\n  }\n}\n'
    assert '  name: "input_ids"\n  data_type: TYPE_INT64\n  dims: [ -1 ]\n}\n' in rest
    assert 'output {\n  name: "logits"\n  data_type: TYPE_FP32\n  dims: [ 3 ]\n}\n' in rest
    assert "instance_group {\n  count: 2\n  kind: KIND_CPU\n}\n" in rest
    assert "dynamic_batching {\n  preferred_batch_size: [ 4, 8 ]\n  max_queue_delay_microseconds: 250\n}\n" in rest
    config = read_config_file(package / "models" / "labels")
    assert config.model_warmup[0].inputs["input_ids"].dims == [8]
    assert (config.backend, config.model_warmup[0].batch_size) == ("onnxruntime", 1)


def test_the_ensemble_computes_what_the_model_does(package: Path) -> None:
    facts = checked(package)
    assert facts == {"client": BY_CONTRACT, "max_difference": {"labels-ensemble": 0.0}, "bound": 1e-5}
    config = read_config_file(package / "models" / "labels-ensemble")
    assert [(step.model_name, step.model_version) for step in config.ensemble_scheduling.step] == [
        ("labels-tokenizer", -1), ("labels", -1)
    ]  # fmt: skip
    assert (list(config.input[0].dims), list(config.output[0].dims)) == ([1], [3])


def test_without_batches_dims_have_all_axes() -> None:
    _, package = packaged(classifier(), max_batch_size=0, warmup=False)
    config = read_config_file(package / "models" / "labels")
    assert (config.max_batch_size, list(config.input[0].dims), list(config.output[0].dims)) == (0, [-1, -1], [-1, 3])
    assert not config.HasField("dynamic_batching")
    assert not config.model_warmup
    assert checked(package)["max_difference"] == {"labels-ensemble": 0.0}


def test_each_graph_of_an_encoder_decoder_is_a_model() -> None:
    model = small("t5")
    facts, package = packaged(model)
    stems = sorted(path.stem for path in model.onnx.glob("*.onnx"))
    assert sorted(facts["models"]) == [f"labels-{stem}" for stem in stems]
    merged = read_config_file(package / "models" / "labels-decoder_model_merged")
    assert merged.max_batch_size == 0  # `use_cache_branch` has no batch
    assert checked(package, model.task) == {"client": BY_CONTRACT, "max_difference": {}, "bound": 1e-5}


def test_a_fixed_batch_is_not_batched_and_cannot_be() -> None:
    fixed = scratch()
    shutil.copytree(classifier().onnx, fixed, dirs_exist_ok=True)
    graph = onnx.load(fixed / "model.onnx")
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 5
    onnx.save(graph, fixed / "model.onnx")
    _, package = packaged(classifier(), fixed)
    assert read_config_file(package / "models" / "labels").max_batch_size == 0
    assert checked(package)["max_difference"] == {"labels-ensemble": 0.0}
    with pytest.raises(CheckFailed) as error:
        packaged(classifier(), fixed, max_batch_size=8)
    assert error.value.failure.code == "OBE45"
    assert error.value.failure.message == (
        "`labels` cannot have `max_batch_size: 8`: `input_ids` has the axes [5, -1], and Triton adds requests along a "
        "variable first one"
    )


@pytest.mark.parametrize(
    ("file", "old", "new", "code", "message"),
    [
        ("labels", "dims: [ 3 ]", "dims: [ -1, 3 ]", "OBE45",
         "the output `logits` of `labels` is TYPE_FP32 [-1, 3] in the config, and TYPE_FP32 [3] in the graph"),
        ("labels", '"logits"', '"scores"', "OBE45",
         "the output `scores` of `labels` is TYPE_FP32 [3] in the config, and absent in the graph"),
        ("labels", "TYPE_INT64", "TYPE_INT32", "OBE45",
         "the input `input_ids` of `labels` is TYPE_INT32 [-1] in the config, and TYPE_INT64 [-1] in the graph"),
        ("labels", 'name: "labels"', 'name: "other"', "OBE45",
         "the config in the folder `labels` is of a model `other`"),
        ("labels", "max_batch_size", "max_batch_sizes", "OBE191",
         "Triton's protobuf does not open `labels/config.pbtxt`"),
        ("labels-ensemble", 'model_name: "labels-tokenizer"', 'model_name: "nobody"', "OBE45",
         "the ensemble `labels-ensemble` runs the model `nobody`, which is missing"),
        ("labels-ensemble", 'key: "input_ids"', 'key: "ids"', "OBE45",
         "the input `input_ids` of `labels` does not get what it takes from `labels-ensemble`"),
        ("labels-tokenizer", "TYPE_INT64", "TYPE_INT32", "OBE45",
         "the input `input_ids` of `labels` does not get what it takes from `labels-ensemble`"),
    ],
)  # fmt: skip
def test_a_config_that_does_not_describe_its_graph_fails_the_check(
    package: Path, file: str, old: str, new: str, code: str, message: str
) -> None:
    broken = copied(package)
    path = broken / "models" / file / "config.pbtxt"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert refused(broken, code).message == message


def test_a_repository_with_a_wrong_layout_fails_the_check(package: Path) -> None:
    broken = copied(package)
    (broken / "models" / "labels" / "1").rename(broken / "models" / "labels" / "v1")
    assert "the folder `labels/v1` is no version" in refused(broken, "OBE191").message
    (broken / "models" / "labels" / "v1").rename(broken / "models" / "labels" / "2")
    assert checked(broken)["client"] == BY_CONTRACT
    graph = broken / "models" / "labels" / "2" / "model.onnx"
    graph.rename(graph.with_name("graph.onnx"))
    assert refused(broken, "OBE191").message == "`labels/2/model.onnx` is missing"


def test_a_tokenizer_that_makes_other_tokens_fails_the_check(package: Path) -> None:
    broken = copied(package)
    path = broken / "models" / "labels-tokenizer" / "1" / "tokens.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "max_length": 5}))
    message = "`labels-tokenizer` makes another `input_ids` of the texts than the tokenizer of the model"
    assert refused(broken, "OBE190").message == message
    (path.parent / "model.py").write_text("raise OSError('nothing')\n")
    assert refused(broken, "OBE191").notes == (("cause", "OSError: nothing"),)


def test_a_number_per_request_is_reshaped() -> None:
    signature = Signature(
        (Tensor("x", "tensor(float)", (-1, 7)),), (Tensor("score", "tensor(float16)", (-1,)),)
    )  # fmt: skip
    text = config_text(graph_config(TritonParams(on_cuda=("m",), accelerator="tensorrt"), "m", "m", signature))
    folder = scratch() / "m"
    folder.mkdir()
    (folder / "config.pbtxt").write_text(text)
    config = read_config_file(folder)
    assert (list(config.output[0].dims), list(config.output[0].reshape.shape)) == ([1], [])
    assert config.output[0].HasField("reshape")
    assert config.instance_group[0].kind == 1  # KIND_GPU
    assert config.optimization.execution_accelerators.gpu_execution_accelerator[0].name == "tensorrt"
    assert config.model_warmup[0].inputs["x"].dims == [7]


def test_a_server_is_asked_and_compared(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Triton(package / "models") as server:
        monkeypatch.setenv("TRITON_URL", f"http://{server.url}")
        facts = checked(package)
        assert facts["client"] == "triton 0.0.loopback"
        assert facts["max_difference"] == {"labels": 0.0, "labels-ensemble": 0.0}
        assert {"/v2/models/labels/infer", "/v2/models/labels-ensemble/infer"} <= set(server.asked)
    with Triton(package / "models", changed=0.01) as server:
        monkeypatch.setenv("TRITON_URL", server.url)
        message = refused(package, "OBE190").message
        assert message.startswith("triton 0.0.loopback computes other numbers than ONNX Runtime with `labels")
    with Triton(package / "models") as server:
        del server.configs["labels"]
        monkeypatch.setenv("TRITON_URL", server.url)
        assert refused(package, "OBE191").message == "the Triton server does not open `labels`"


@pytest.mark.parametrize("max_batch_size", [12, 0])
def test_the_example_of_the_readme_asks_the_ensemble(package: Path, max_batch_size: int, capsys: Any) -> None:
    if not max_batch_size:
        package = packaged(classifier(), max_batch_size=0)[1]
    text = (package / "README.md").read_text()
    (lines,) = re.findall(r"\n```python\n(.*?)\n```\n", text, re.DOTALL)
    with Triton(package / "models") as server:
        exec(lines.replace("127.0.0.1:8000", server.url), {})
        assert "/v2/models/labels-ensemble/infer" in server.asked
    assert capsys.readouterr().out == "(1, 3)\n"
    assert "pip install tokenizers" in text


def test_a_repository_without_an_ensemble_speaks_of_none() -> None:
    text = (packaged(classifier(), ensemble=False)[1] / "README.md").read_text()
    assert "| `labels` | runs the graph |" in text
    assert "tokenizers" not in text
    assert "```python" not in text


def test_a_tritonserver_on_the_path_is_started(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs, tests = scratch(), Path(__file__).parents[1]
    path = programs / "tritonserver"
    code = f"import sys; sys.path.insert(0, {str(tests)!r}); import triton_server; triton_server.main()"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    assert checked(package)["client"] == "triton 0.0.loopback"
    path.write_text("#!/bin/sh\necho no such option\nexit 1\n")
    assert refused(package, "OBE191").message == "tritonserver does not load the repository"


def test_the_check_is_skipped_without_tritonclient(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_checks, "find_spec", lambda name: None if name == "tritonclient" else object())
    assert checked(package) == {"skipped": "needs tritonclient"}


def test_the_graph_of_a_repository_opens_with_its_weights_beside_it() -> None:
    apart = scratch()
    shutil.copytree(classifier().onnx, apart, dirs_exist_ok=True)
    whole = onnx.load(apart / "model.onnx")
    onnx.save(whole, apart / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=64)
    _, package = packaged(classifier(), apart)
    version = package / "models" / "labels" / "1"
    assert {path.name for path in version.iterdir()} == {"model.onnx", "model.onnx_data"}
    assert [one.name for one in onnxruntime.InferenceSession(version / "model.onnx").get_outputs()] == ["logits"]
    (version / "model.onnx_data").unlink()
    assert "model.onnx_data" in refused(package, "OBE40").message
    assert np.isfinite(checked(copied(packaged(classifier(), apart)[1]))["max_difference"]["labels-ensemble"])


def test_sizes_that_only_onnxruntime_infers_are_in_the_config() -> None:
    named = scratch()
    shutil.copytree(classifier().onnx, named, dirs_exist_ok=True)
    graph = onnx.load(named / "model.onnx")
    graph.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "labels"
    onnx.save(graph, named / "model.onnx")
    _, package = packaged(classifier(), named)
    assert list(read_config_file(package / "models" / "labels").output[0].dims) == [3]
    assert checked(package)["max_difference"] == {"labels-ensemble": 0.0}
