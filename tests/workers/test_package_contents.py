"""What each kind of package writes, beside its version: kept packages are rebuilt only where the version is raised.

Each kind packs the same small model. Where what it writes has changed, raise its version, and run `pytest --update`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import run_step, scratch
from onnx import TensorProto, helper, numpy_helper
from token_model import WORDS, token_model

from onnxbuild.onnx_files.onnx_outline import read_outline
from onnxbuild.steps import KINDS
from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompiledStage, CompilerOfRecord, write_record
from onnxbuild.steps.packaging.compiled_package import CompiledParams
from onnxbuild.steps.packaging.genai_package import GenaiParams
from onnxbuild.steps.packaging.ort_package import OrtPackageParams
from onnxbuild.steps.packaging.ovms_package import OvmsParams
from onnxbuild.steps.packaging.package_kind import PackageParams
from onnxbuild.steps.packaging.plain_package import PlainParams
from onnxbuild.steps.packaging.sentence_package import SentenceParams
from onnxbuild.steps.packaging.server_package import ServerParams
from onnxbuild.steps.packaging.transformers_js import JavaScriptParams
from onnxbuild.steps.packaging.triton_package import TritonParams
from onnxbuild.workers.package import compiled_folder, sentence_folder, worker
from onnxbuild.workers.package.javascript import javascript_package
from onnxbuild.workers.package.repositories import ovms_repository, triton_repository
from onnxbuild.workers.package.runtimes import genai_folder, ort_package_folder
from onnxbuild.workers.package.servers import server_folder

KEPT = Path(__file__).with_name("package_contents.json")
TASK = "feature-extraction"
# Numbers differ between CPUs, and versions between environments; neither is what a kind decides.
VARYING = {
    "golden.json": (rb"-?\d+\.\d+(e-?\d+)?", b"0"), "requirements.txt": (rb"==.*", b"=="),
    "Dockerfile": (rb":3\.\d+", b":3"), "SHA256SUMS": (rb"(?m)^[0-9a-f]{64}", b""),
}  # fmt: skip


def small() -> Path:
    folder = token_model(scratch(), masked=True)
    config = {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 24, "vocab_size": WORDS}
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 64}))
    return folder


def with_past() -> Path:
    """A graph with the names of a decoder: what genai writes is about these, and runs nothing."""
    folder = small()
    axes = ["batch_size", 2, "past_sequence_length", 12]
    past = [f"past_key_values.0.{part}" for part in ("key", "value")]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch_size", "sequence_length"])
              for name in ("input_ids", "attention_mask")]  # fmt: skip
    inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name in past]
    present = [name.replace("past_key_values", "present") for name in past]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", "sequence_length", WORDS])]
    outputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name in present]
    nodes = [helper.make_node("Identity", [old], [new]) for old, new in zip(past, present, strict=True)]
    nodes.append(helper.make_node("Gather", ["table", "input_ids"], ["logits"]))
    table = numpy_helper.from_array(np.zeros((WORDS, WORDS), np.float32), "table")
    graph = helper.make_graph(nodes, "g", inputs, outputs, [table])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    config = {"model_type": "gpt2", "n_layer": 1, "n_head": 2, "n_embd": 24, "n_positions": 64, "vocab_size": WORDS}
    (folder / "config.json").write_text(json.dumps({**config, "bos_token_id": 0, "eos_token_id": 1}))
    return folder


def compiled() -> Path:
    folder = small()
    (folder / "model.onnx").unlink()
    (folder / "model.blob").write_bytes(b"blob")
    record = CompiledRecord(
        backend="openvino", state="compiled", compiler=CompilerOfRecord(name="openvino", version="1"), device="CPU",
        stages={"forward": CompiledStage(file="model.blob", inputs={}, outputs={})},
        properties={"INFERENCE_PRECISION_HINT": "f32"},
    )  # fmt: skip
    write_record(folder, record, ["model.blob"])
    return folder


class Case:
    def __init__(self, run: Any, params: PackageParams, model: Callable[[], Path] = small) -> None:
        self.run, self.params, self.model = run, params, model

    def content(self) -> Mapping[str, str]:
        folder = self.model()
        inputs = {f"graph-{target}": folder for target in self.params.graphs.values()}
        with contextlib.chdir(scratch()):
            facts, package = run_step(self.run, self.params, "package", model=folder, **inputs)
        files = {path.relative_to(package).as_posix(): path for path in package.rglob("*") if path.is_file()}
        assert facts["files"] == len({*files, "README.md"})
        assert "SHA256SUMS" in files
        return {
            **{name: digest_of(path) for name, path in sorted(files.items())},
            "facts": shortened(repr([*facts]).encode()),
        }


CASES: Mapping[str, Case] = {
    "plain": Case(worker.run, PlainParams(task=TASK, graphs={"": "a", "small": "b"})),
    "sentence-transformers": Case(sentence_folder.run, SentenceParams(task=TASK, graphs={"": "a", "O3": "b"})),
    "transformers.js": Case(javascript_package.run, JavaScriptParams(task=TASK, graphs={"fp32": "a", "q8": "b"})),
    "ort-model-package": Case(ort_package_folder.run, OrtPackageParams(task=TASK, graphs={"one": "a", "two": "b"})),
    "genai": Case(genai_folder.run, GenaiParams(task="text-generation-with-past", graphs={"": "a"}), with_past),
    "server": Case(server_folder.run, ServerParams(task=TASK, graphs={"": "a"})),
    "triton": Case(triton_repository.run, TritonParams(task=TASK, graphs={"m": "a"})),
    "ovms": Case(ovms_repository.run, OvmsParams(task=TASK, graphs={"m": "a"})),
    "compiled": Case(compiled_folder.run, CompiledParams(task=TASK, graphs={"cpu": "a"}), compiled),
}


def digest_of(path: Path) -> str:
    """Of a text, and of what a graph takes and returns: its bytes are those of the version of onnx."""
    if path.suffix == ".onnx":
        outline = read_outline(path)
        return shortened(repr((outline.inputs, outline.outputs)).encode())
    pattern, instead = VARYING.get(path.name, (rb"(?!)", b""))
    return shortened(re.sub(pattern, instead, path.read_bytes()))


def shortened(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def test_every_kind_is_packed_here() -> None:
    built_in = {kind.package for name, kind in KINDS.items() if name.startswith("package-") and not kind.is_plugin}
    assert built_in == CASES.keys()


@pytest.mark.parametrize("kind", CASES)
def test_another_content_has_another_version(kind: str, request: pytest.FixtureRequest) -> None:
    kept = json.loads(KEPT.read_text()) if KEPT.is_file() else {}
    now = {"version": KINDS[f"package-{kind}"].version, "content": dict(CASES[kind].content())}
    before = kept.get(kind, {"version": None, "content": {}})
    changed = sorted(
        name
        for name in {*before["content"], *now["content"]}
        if before["content"].get(name) != now["content"].get(name)
    )
    assert not changed or now["version"] != before["version"], (
        f"the package `{kind}` has other content than its version {now['version']} had, so kept packages would stay as"
        f" they are: raise `version` in its declaration, then run `pytest --update`: {', '.join(changed)}"
    )
    if request.config.getoption("--update"):
        KEPT.write_text(json.dumps({**kept, kind: now}, indent=1, sort_keys=True) + "\n")
        return
    assert now == before, f"`pytest --update` keeps what version {now['version']} of `{kind}` writes"
