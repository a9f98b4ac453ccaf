"""The backends of ONNX Runtime's providers: what is checked and written without their devices."""

import json
import subprocess
import sys

import devices_here
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from small_models import classifier

from onnxbuild.needs import step_needs
from onnxbuild.needs.step_needs import is_of_machine, need_name, of_key
from onnxbuild.protocol import CheckFailed
from onnxbuild.steps import KINDS, all_kinds
from onnxbuild.steps.compiling.backends import BACKENDS
from onnxbuild.steps.compiling.compiled_record import (
    CompiledRecord,
    CompiledStage,
    CompilerOfRecord,
    StageInput,
    write_record,
)
from onnxbuild.steps.compiling.provider_backends import (
    PROVIDER_BACKENDS,
    TENSORRT,
    FixedParams,
    ProviderParams,
    ShapeRange,
    TensorrtParams,
)
from onnxbuild.steps.kind import Runtime, needed_together, packages_of
from onnxbuild.steps.packaging.compiled_package import CompiledClientParams
from onnxbuild.steps.validate import ValidateParams
from onnxbuild.tables.runtimes.runtime_limits import LIMITS
from onnxbuild.workers.compile.checked import checked_worker
from onnxbuild.workers.compile.checked.graph_limits import check_limits
from onnxbuild.workers.compile.checked.provider_options import options_of
from onnxbuild.workers.engines.compiled import needs_here, provider_engine
from onnxbuild.workers.engines.compiled.open_variant import open_variant, why_not_timed, why_skipped
from onnxbuild.workers.engines.onnxruntime_engine import OnnxModel

of_each_backend = pytest.mark.parametrize("backend", PROVIDER_BACKENDS, ids=lambda backend: backend.name)


def silent(*_said):
    """No progress."""


def prepared(folder, params, run=checked_worker.run, model=None):
    folder.mkdir()
    facts = run(params, {"model": model or classifier().onnx}, {"model": folder}, silent)
    return json.loads((folder / "compiled.json").read_text(encoding="utf-8")), facts


def prepared_for(folder, backend):
    """A folder of a backend with one option that a person wrote; `FixedParams` get a size of their own."""
    sizes = {"sequence": 17} if issubclass(backend.params, FixedParams) else {}
    params = backend.params(provider=backend.name, options={"device_id": "1"}, **sizes)
    return prepared(folder, params, getattr(checked_worker, backend.worker.partition(":")[2]))[0]


def opening(folder, record):
    """The code with which a folder is refused whose record is this one."""
    (folder / "compiled.json").write_text(json.dumps(record), encoding="utf-8")
    return code_of(lambda: open_variant(folder, threads=1))


def feeds(rows, tokens):
    ids = np.random.default_rng(3).integers(5, 400, (rows, tokens))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def code_of(call):
    with pytest.raises(CheckFailed) as caught:
        call()
    return caught.value.failure.code


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("cuda", "onnxruntime-gpu"),
        ("webgpu", "onnxruntime-ep-webgpu"),
        ("migraphx", "onnxruntime-migraphx"),
        ("dml", "onnxruntime-directml"),
    ],
)
def test_without_the_device_it_is_prepared_and_its_checks_wait(tmp_path, name, needs):
    record, facts = prepared(tmp_path / "out", ProviderParams(provider=name, options={"device_id": "1"}))
    assert (record["state"], record["needs"], facts["needs"]) == ("prepared", needs, needs)
    assert record["properties"]["device_id"] == "1"
    assert why_skipped(tmp_path / "out", Runtime(backend=name, needs=(needs,))) == f"needs {needs}"
    assert "open_with_provider.py" in (tmp_path / "out" / "compile.sh").read_text(encoding="utf-8")


def test_cuda_is_told_not_to_round_fp32(tmp_path):
    record, _ = prepared(tmp_path / "out", ProviderParams(provider="cuda"))
    assert record["properties"] == {"use_tf32": "0"}


def test_tensorrt_gets_a_profile_of_each_input(tmp_path):
    shapes = ShapeRange(min=(1, 3), opt=(2, 31), max=(5, 77))
    params = TensorrtParams(provider="tensorrt", precision="fp16", shapes=shapes)
    record, _ = prepared(tmp_path / "out", params, checked_worker.run_tensorrt)
    properties = record["properties"]
    profiles = {name: set(properties.pop(f"trt_profile_{name}_shapes").split(",")) for name in ("min", "opt", "max")}
    names = ("input_ids", "attention_mask", "token_type_ids")
    assert profiles == {
        name: {f"{one}:{size}" for one in names} for name, size in (("min", "1x3"), ("opt", "2x31"), ("max", "5x77"))
    }
    caches = {"trt_engine_cache_enable": "1", "trt_timing_cache_enable": "1"}
    assert properties == {"trt_fp16_enable": "1", **caches}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("past_key_values.0.key", ("batch_size", 4, "past_sequence_length", 12)),
        ("pixel_values", ("batch_size", "num_channels", "height", "width")),
        ("input_values", ("batch_size", "sequence_length")),
    ],
)
def test_tensorrt_gets_no_profile_of_sizes_that_are_no_tokens(name, shape):
    stages = {"forward": CompiledStage(file="f", inputs={name: StageInput(shape, "tensor(float)")}, outputs={})}
    assert code_of(lambda: options_of(TensorrtParams(provider="tensorrt"), stages)) == "OBE238"
    own = {f"trt_profile_{end}_shapes": f"{name}:1" for end in ("min", "opt", "max")}
    assert own.items() <= options_of(TensorrtParams(provider="tensorrt", options=own), stages).items()


def test_tensorrt_takes_pictures_of_one_size_in_any_number():
    shape = StageInput(("batch_size", 3, 30, 31), "tensor(float)")
    stages = {"forward": CompiledStage(file="f", inputs={"pixel_values": shape}, outputs={})}
    options = options_of(TensorrtParams(provider="tensorrt"), stages)
    assert options["trt_profile_max_shapes"] == "pixel_values:8x3x30x31"


def test_the_int8_of_tensorrt_has_no_zero_points_and_agrees_with_the_graph(tmp_path):
    params = TensorrtParams(provider="tensorrt", precision="int8", samples=7, sequence=41)
    prepared(tmp_path / "out", params, checked_worker.run_tensorrt)
    model = onnx.load(tmp_path / "out" / "model.onnx")
    held = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    points = [held[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert points
    assert {(one.dtype.name, int(np.abs(one.astype(int)).max())) for one in points} == {("int8", 0)}
    fed = feeds(3, 17)
    (tmp_path / "out" / "compiled.json").unlink()
    plain, integers = OnnxModel(classifier().onnx, threads=1), OnnxModel(tmp_path / "out", threads=1)
    one, other = (engine.run("forward", fed)["logits"].ravel() for engine in (plain, integers))
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.95
    assert np.abs(one - other).max() > 0


def test_coreml_gets_a_graph_of_one_shape_with_the_same_outputs(tmp_path):
    params = FixedParams(provider="coreml", batch=3, sequence=17)
    record, facts = prepared(tmp_path / "out", params, checked_worker.run_fixed)
    assert set(record["settings"]["sizes"].values()) == {3, 17}
    assert facts["on_cpu"].keys() <= {
        "Gather",
        "Where",
        "Equal",
        "Expand",
        "ConstantOfShape",
        "And",
        "Not",
        "Unsqueeze",
    }
    assert "Gather" in facts["on_cpu"]
    inputs = onnx.load(tmp_path / "out" / "model.onnx").graph.input
    assert [[d.dim_value for d in one.type.tensor_type.shape.dim] for one in inputs] == [[3, 17]] * len(inputs)
    (tmp_path / "out" / "compiled.json").unlink()
    plain, fixed = OnnxModel(classifier().onnx, threads=1), OnnxModel(tmp_path / "out", threads=1)
    fed = feeds(3, 17)
    difference = plain.run("forward", fed)["logits"] - fixed.run("forward", fed)["logits"]
    assert np.abs(difference).max() < 1e-5


@pytest.mark.parametrize(
    ("params", "run", "part", "name"),
    [
        (ProviderParams(provider="cuda"), checked_worker.run, "properties", "use_tf32"),
        (TensorrtParams(provider="tensorrt"), checked_worker.run_tensorrt, "properties", "trt_profile_opt_shapes"),
        (FixedParams(provider="coreml", sequence=17), checked_worker.run_fixed, "settings", "rows"),
        (FixedParams(provider="coreml", sequence=17), checked_worker.run_fixed, "settings", "sizes"),
        (FixedParams(provider="coreml", sequence=17), checked_worker.run_fixed, "properties", "ModelFormat"),
    ],
)
def test_a_record_without_what_the_provider_is_told_is_refused(tmp_path, params, run, part, name):
    record, _ = prepared(tmp_path / "out", params, run)
    del record[part][name]
    (tmp_path / "out" / "compiled.json").write_text(json.dumps(record), encoding="utf-8")
    assert code_of(lambda: open_variant(tmp_path / "out", threads=1)) == "OBE234"


@of_each_backend
def test_a_variant_with_another_graph_or_script_is_refused(tmp_path, backend):
    record = prepared_for(tmp_path / "out", backend)
    assert set(record["files"]) == {"model.onnx", "compile.sh", "open_with_provider.py"}
    for name in record["files"]:
        place = tmp_path / "out" / name
        content = place.read_bytes()
        place.write_bytes(b"other")
        assert opening(tmp_path / "out", record) == "OBE232"
        place.write_bytes(content)


@of_each_backend
def test_a_variant_of_another_version_is_refused(tmp_path, backend):
    record = prepared_for(tmp_path / "out", backend)
    compiler = {**record["compiler"], "version": "1.0"}
    assert opening(tmp_path / "out", {**record, "state": "compiled", "compiler": compiler}) == "OBE233"


@of_each_backend
def test_a_record_without_one_of_its_settings_or_properties_is_refused(tmp_path, backend):
    record = prepared_for(tmp_path / "out", backend)
    names = [(part, name) for part in ("settings", "properties") for name in record[part]]
    assert {("settings", "provider"), ("properties", "device_id")} <= set(names)
    for part, name in names:
        left = {one: value for one, value in record[part].items() if one != name}
        assert opening(tmp_path / "out", {**record, part: left}) in {"OBE232", "OBE234"}, name
    without = {name: value for name, value in record["settings"].items() if name != "provider"}
    assert opening(tmp_path / "out", {**record, "settings": without, "loading": ""}) == "OBE234"


def test_a_gpu_without_the_library_of_tensorrt_is_prepared_for(tmp_path, monkeypatch):
    devices_here.nvidia(monkeypatch)
    monkeypatch.setattr(needs_here, "version_here", lambda _name: "1.0")
    monkeypatch.setattr("onnxbuild.needs.step_needs.has_library", lambda _name: False)
    record, _ = prepared(tmp_path / "out", TensorrtParams(provider="tensorrt"), checked_worker.run_tensorrt)
    assert (record["state"], record["needs"]) == ("prepared", "libnvinfer.so")
    runtime = Runtime(backend="tensorrt", needs=TENSORRT.runs_with(TensorrtParams()))
    assert why_skipped(tmp_path / "out", runtime) == "needs tensorrt: `libnvinfer.so` is not here"


@of_each_backend
def test_a_provider_that_does_not_start_compiles_nothing(tmp_path, monkeypatch, backend):
    """All that it needs is installed, and this ONNX Runtime does not have it."""
    monkeypatch.setattr(checked_worker, "_absent", lambda _params: None)
    monkeypatch.setattr(provider_engine, "_check", lambda _record: None)
    assert code_of(lambda: prepared_for(tmp_path / "out", backend)) == "OBE43"


@of_each_backend
def test_a_graph_that_a_provider_refuses_is_not_compiled(tmp_path, monkeypatch, backend):
    def refuse(_folder, *, threads):
        raise CheckFailed("OBE232", f"ONNX Runtime does not load it in {threads}", notes=[("cause", "no kernel")])

    monkeypatch.setattr(checked_worker, "_absent", lambda _params: None)
    monkeypatch.setattr("onnxbuild.workers.engines.compiled.open_variant.open_compiled", refuse)
    with pytest.raises(CheckFailed, match="OBE238 ONNX Runtime does not load it in 1") as caught:
        prepared_for(tmp_path / "out", backend)
    assert caught.value.failure.notes == (("cause", "no kernel"),)


COMPILER_NEEDS = [
    pytest.param(backend, need, id=f"{backend.name}-{need_name(need).rpartition('/')[2]}")
    for backend in BACKENDS
    for need in backend.compiler(backend.params())
    if backend.verified_on == "device"
]


@pytest.mark.parametrize(("backend", "need"), COMPILER_NEEDS)
def test_what_another_machine_has_compiled_waits_where_its_runtime_is_absent(tmp_path, monkeypatch, backend, need):
    """Whatever a compiler needs on a device, its result needs there, too: it is skipped, and no failure."""
    (tmp_path / "model").write_bytes(b"compiled")
    compiler = CompilerOfRecord(name=backend.name, version="1.0")
    stage = CompiledStage(file="model", inputs={}, outputs={"y": (1,)})
    record = CompiledRecord(
        backend=backend.name, state="compiled", compiler=compiler, device="D", stages={"forward": stage}
    )
    write_record(tmp_path, record, ["model"])
    params = backend.params()
    runtime = Runtime(backend=backend.name, needs=backend.runs_with(params))
    monkeypatch.setattr(step_needs, "is_on_machine", lambda one: one != need)
    monkeypatch.setattr(needs_here, "version_here", lambda name: None if name == need else "1.0")
    words = f"needs {need}" if not is_of_machine(need) else f"needs {backend.name}: `{need_name(need)}` is not here"
    assert why_skipped(tmp_path, runtime) == why_not_timed(tmp_path, runtime) == words
    assert need in packages_of(KINDS["validate"], ValidateParams(task="text-classification", runtime=runtime))
    package = CompiledClientParams(task="text-classification", runtimes={"folder": runtime})
    assert need in packages_of(all_kinds()["client-compiled"], package)


@pytest.mark.parametrize(
    ("gone", "kept"), [((), False), (("libnvinfer.so",), True), (("libnvinfer.so", "onnxruntime-gpu"), False)]
)
def test_a_check_without_the_library_of_its_runtime_has_a_key_of_its_own(gone, kept):
    """So that its skipped result is no hit once the library is there; other keys are what they were."""
    runtime = Runtime(backend="tensorrt", needs=TENSORRT.runs_with(TensorrtParams()))
    kind, params = KINDS["validate"], ValidateParams(task="text-classification", runtime=runtime)
    missing = (*gone, "sentence-transformers")  # a check needs it only for some models
    versions = {one: "absent" if need_name(one) in missing else "1.0" for one in packages_of(kind, params)}
    without = {one: version for one, version in versions.items() if one != "library libnvinfer.so"}
    found = of_key(versions, needed_together(kind, params))
    assert found == (versions if kept else without)


def test_a_provider_that_is_absent_is_no_silent_run_on_the_cpu(tmp_path):
    prepared(tmp_path / "out", ProviderParams(provider="migraphx"))
    assert code_of(lambda: open_variant(tmp_path / "out", threads=1)) == "OBE43"


def graph_of(*nodes, opset=18, held=(), kind=TensorProto.FLOAT):
    value = helper.make_tensor_value_info("x", kind, ["rows", 3])
    graph = helper.make_graph(list(nodes), "g", [value], [], initializer=list(held))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def quantized(point, kind):
    scale = numpy_helper.from_array(np.array(0.5, np.float32), "s")
    held = [scale, numpy_helper.from_array(np.array(point, kind), "z")]
    return graph_of(helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"]), held=held)


@pytest.mark.parametrize(
    ("name", "model", "code"),
    [
        ("dml", graph_of(helper.make_node("Relu", ["x"], ["y"]), opset=21), "OBE253"),
        ("tensorrt", graph_of(helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])), "OBE252"),
        ("coreml", graph_of(helper.make_node("Relu", ["x"], ["y"]), kind=TensorProto.DOUBLE), "OBE252"),
        ("tensorrt", quantized(3, np.int8), "OBE254"),
        ("tensorrt", quantized(0, np.uint8), "OBE254"),
        ("webgpu", quantized(0, np.int8), "OBE254"),
    ],
)
def test_what_a_runtime_does_not_take_is_refused_with_its_source(name, model, code):
    with pytest.raises(CheckFailed) as caught:
        check_limits(model, LIMITS[name], "model.onnx")
    failure = caught.value.failure
    assert failure.code == code
    assert code == "OBE253" or ("source", LIMITS[name].source) in failure.notes


@pytest.mark.parametrize("name", LIMITS)
def test_a_plain_graph_is_taken_by_every_runtime(name):
    assert check_limits(graph_of(helper.make_node("Relu", ["x"], ["y"])), LIMITS[name], "model.onnx") == {}


def test_symmetric_integers_are_taken_by_tensorrt():
    assert check_limits(quantized(0, np.int8), LIMITS["tensorrt"], "model.onnx") == {}


@pytest.mark.parametrize(
    ("name", "words"),
    [("webgpu", "install onnxruntime-ep-webgpu"), ("migraphx", "is not in this onnxruntime: install onnxruntime-")],
)
def test_the_script_says_what_to_install(tmp_path, name, words):
    prepared(tmp_path / "out", ProviderParams(provider=name))
    script = [sys.executable, str(tmp_path / "out" / "open_with_provider.py")]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert words in done.stderr


def test_the_script_registers_the_library_of_a_plug_in(tmp_path):
    """A stand-in library: ONNX Runtime refuses its content, which shows that it was handed over."""
    prepared(tmp_path / "out", ProviderParams(provider="webgpu"))
    library = tmp_path / "library.so"
    library.write_bytes(b"no library")
    module = f"def get_library_path():\n    return {str(library)!r}\n"
    (tmp_path / "out" / "onnxruntime_ep_webgpu.py").write_text(module, encoding="utf-8")
    script = [sys.executable, str(tmp_path / "out" / "open_with_provider.py")]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "library.so" in done.stderr
