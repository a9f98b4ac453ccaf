"""What each backend makes of a variant that is damaged, of another version, or without something that loading needs.

One table for all of them. Their own tests have what only one of them has, such as another CPU.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.backends import BACKENDS
from onnxbuild.steps.compiling.compiled_record import (
    RECORD,
    CompiledRecord,
    CompiledStage,
    CompilerOfRecord,
    StageInput,
    write_record,
)
from onnxbuild.tables.runtimes.runtime_limits import LIMITS
from onnxbuild.workers.engines.compiled import needs_here, provider_engine, qnn_engine
from onnxbuild.workers.engines.compiled.open_variant import open_variant

PROFILES = {f"trt_profile_{end}_shapes": "x:1x3" for end in ("min", "opt", "max")}
SIZES = {"sizes": {"rows": 2, "tokens": 7}, "rows": "rows"}

# What the engine of each backend has to be told, by the part of the record that tells it.
TOLD: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "openvino": {"properties": {"INFERENCE_PRECISION_HINT": "f32"}, "settings": {}},
    "ort": {"properties": {}, "settings": {"cpu": ""}},
    "qnn": {"properties": {}, "settings": SIZES},
    "qaic": {"properties": {}, "settings": {"decodes": False, "devices": 1}},
    "tensorrt": {"properties": PROFILES, "settings": {}},
    "cuda": {"properties": {"use_tf32": "0"}, "settings": {}},
    "webgpu": {"properties": {}, "settings": {}},
    "coreml": {"properties": {"ModelFormat": "MLProgram", "RequireStaticInputShapes": "1"}, "settings": SIZES},
    "migraphx": {"properties": {}, "settings": {}},
    "dml": {"properties": {}, "settings": {}},
}
COMPILERS = {"openvino": "openvino", "ort": "onnxruntime", "qnn": "onnxruntime-qnn", "qaic": "qaic-compile"}
NAMES = [one.name for one in BACKENDS]
of_each_backend = pytest.mark.parametrize("name", NAMES)


def told(name: str) -> dict[str, dict[str, Any]]:
    provider = {"provider": LIMITS[name].provider} if name in LIMITS and name not in COMPILERS else {}
    return {"properties": {**TOLD[name]["properties"]}, "settings": {**TOLD[name]["settings"], **provider}}


MISSING = [(name, part, key) for name in NAMES for part, keys in told(name).items() for key in keys]


def version_here(name: str) -> str:
    """The version of what runs a backend here, or what stands for it."""
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "3.1"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes a variant of a backend that passes every check that comes before its runtime."""
    monkeypatch.setattr(needs_here, "version_here", version_here)
    for engine in (qnn_engine, provider_engine):  # imported above: a module imported now would keep the stand-in
        monkeypatch.setattr(engine, "version_here", version_here)

    def make(name: str) -> Path:
        if name == "openvino":
            pytest.importorskip("openvino")
        folder = tmp_path / name
        folder.mkdir()
        x, y = (helper.make_tensor_value_info(one, TensorProto.FLOAT, ["rows", "tokens"]) for one in "xy")
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
        opsets = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), folder / "model.onnx")
        rows = [{"name": "Embedding", "symbols": {"rows": "2", "tokens": "7"}}]
        (folder / "specializations.json").write_text(json.dumps({"specializations": rows}))
        compiler = COMPILERS.get(name, "onnxruntime-gpu")
        version = openvino_version() if name == "openvino" else version_here(compiler)
        stage = CompiledStage(
            file="model.onnx", inputs={"x": StageInput(("rows", "tokens"), "tensor(float)")}, outputs={"y": ("rows",)}
        )
        record = CompiledRecord(
            backend=name, state="compiled", compiler=CompilerOfRecord(name=compiler, version=version), device="D",
            stages={"forward": stage}, **told(name),
        )  # fmt: skip
        write_record(folder, record, ["model.onnx", "specializations.json"])
        return folder

    return make


def openvino_version() -> str:
    import openvino

    return str(openvino.__version__)


def code_of(folder: Path) -> str:
    """The code of what opening ends in; a variant that opens is no failure of this test's own."""
    with pytest.raises(CheckFailed) as caught:
        open_variant(folder, threads=1)
    return caught.value.failure.code


def altered(folder: Path, **fields: Any) -> None:
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, **fields}))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


@of_each_backend
@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda folder: cut(folder / "model.onnx"), "OBE232"),
        (lambda folder: (folder / "model.onnx").unlink(), "OBE232"),
        (lambda folder: (folder / "specializations.json").unlink(), "OBE232"),
        (lambda folder: cut(folder / RECORD), "OBE230"),
        (lambda folder: altered(folder, format=2), "OBE230"),
        (lambda folder: altered(folder, further=1), "OBE230"),
        (lambda folder: altered(folder, stages={}), "OBE230"),
        (lambda folder: altered(folder, backend="abacus"), "OBE231"),
        (lambda folder: altered(folder, device="another"), "OBE232"),
    ],
    ids=["stale", "missing", "missing-beside", "cut-record", "format", "unknown-field", "stages", "backend", "device"],
)
def test_a_damaged_variant_is_refused(
    write: Callable[[str], Path], name: str, damage: Callable[[Path], None], code: str
) -> None:
    folder = write(name)
    damage(folder)
    assert code_of(folder) == code


@of_each_backend
def test_a_variant_of_another_version_is_refused(
    write: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = write(name)
    record = json.loads((folder / RECORD).read_text())
    altered(folder, compiler={**record["compiler"], "version": "1.7.3"})
    if name == "qaic":  # the version is that of the SDK around the compiler
        (tmp_path / "sdk/exec").mkdir(parents=True)
        (tmp_path / "sdk/exec/qaic-compile").write_text("#!/bin/sh\n")
        (tmp_path / "sdk/exec/qaic-compile").chmod(0o755)
        (tmp_path / "sdk/versions").mkdir()
        (tmp_path / "sdk/versions/apps.xml").write_text("<base_version>1.8.2</base_version>")
        monkeypatch.setenv("PATH", f"{tmp_path / 'sdk/exec'}{os.pathsep}{os.environ['PATH']}")
    assert code_of(folder) == "OBE233"


@pytest.mark.parametrize(("name", "part", "key"), MISSING, ids=["-".join(one) for one in MISSING])
def test_a_variant_without_what_loading_needs_is_refused(
    write: Callable[[str], Path], name: str, part: str, key: str
) -> None:
    folder = write(name)
    record = json.loads((folder / RECORD).read_text())
    altered(folder, **{part: {one: value for one, value in record[part].items() if one != key}})
    assert code_of(folder) == "OBE234"


@of_each_backend
def test_a_variant_that_is_loaded_in_another_way_than_it_was_compiled_is_refused(
    write: Callable[[str], Path], name: str
) -> None:
    folder = write(name)
    record = json.loads((folder / RECORD).read_text())
    altered(folder, properties={**record["properties"], "further": "1"})
    assert code_of(folder) == "OBE232"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("openvino", "OBE232"),
        ("ort", "OBE232"),
        ("qaic", "OBE41"),  # the host double has no other message for a graph
        *((one, "OBE43") for one in ("qnn", "tensorrt", "cuda", "webgpu", "coreml", "migraphx", "dml")),
    ],
)
def test_a_file_that_the_runtime_refuses_is_a_failure_with_a_code(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, name: str, code: str
) -> None:
    """Even where the record does not tell: a compiler may have written it so. A provider that is absent comes first."""
    for module in ("onnxruntime_qnn", "onnxruntime_ep_webgpu"):
        monkeypatch.setitem(sys.modules, module, None)  # not even where it is installed
    folder = write(name)
    cut(folder / "model.onnx")
    altered(folder, files={})
    assert code_of(folder) == code


@pytest.mark.parametrize("text", ["", "{", "[]", '{"specializations": []}', '{"specializations": [{"rows": "two"}]}'])
def test_a_program_without_its_shapes_is_refused(write: Callable[[str], Path], text: str) -> None:
    folder = write("qaic")
    (folder / "specializations.json").write_text(text)
    altered(folder, files={})
    assert code_of(folder) == "OBE234"


@pytest.mark.parametrize("name", ["qnn", "webgpu"])
def test_a_library_that_onnx_runtime_refuses_is_a_failure_with_a_code(
    write: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module = {"qnn": "onnxruntime_qnn", "webgpu": "onnxruntime_ep_webgpu"}[name]
    (tmp_path / "plugin.so").write_bytes(b"no library")
    plugin = SimpleNamespace(
        get_library_path=lambda: str(tmp_path / "plugin.so"), get_qnn_htp_path=lambda: str(tmp_path / "plugin.so")
    )
    monkeypatch.setitem(sys.modules, module, plugin)
    assert code_of(write(name)) == "OBE43"


@pytest.mark.parametrize("name", ["tensorrt", "cuda", "coreml", "migraphx", "dml"])
def test_a_provider_that_leaves_every_node_to_the_cpu_is_a_failure_with_a_code(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It is in the build, and one of its libraries is not here: ONNX Runtime only logs that."""
    provider = LIMITS[name].provider
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [provider, "CPUExecutionProvider"])
    monkeypatch.setattr(provider_engine, "_load_libraries", lambda: None)
    opened = provider_engine.opened
    on_cpu = ["CPUExecutionProvider"]
    monkeypatch.setattr(provider_engine, "opened", lambda path, options, _chosen: opened(path, options, on_cpu))
    with pytest.raises(
        CheckFailed, match=f"OBE43 {provider} does not start: `model.onnx` runs on CPUExecutionProvider"
    ):
        open_variant(write(name), threads=1)


def test_the_table_has_every_backend() -> None:
    assert set(TOLD) == set(NAMES)
