"""Real messages of the libraries, provoked by calling them, and their explanation: the table must know the wording."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from onnxbuild.workers.calibrate.feeds import calibrating
from onnxbuild.workers.failures.exceptions import explain_exception, noticed

pytestmark = pytest.mark.heavy

FLOAT, HALF, INT64, BFLOAT = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.BFLOAT16


def graph(nodes, inputs, outputs, *, weights=(), opset=18, ir_version=8, domains=()):
    """A model from nodes, and from names of inputs and outputs with type and shape."""
    values = [[helper.make_tensor_value_info(name, *kind) for name, kind in part.items()] for part in (inputs, outputs)]
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    made = helper.make_graph(nodes, "test", *values, initializer=list(weights))
    return helper.make_model(made, opset_imports=opsets, ir_version=ir_version)


def identity(**settings):
    kind = {"x": (FLOAT, ["batch", 4])}
    return graph([helper.make_node("Identity", ["x"], ["y"])], kind, {"y": kind["x"]}, **settings)


def gather(name, rows):
    table = helper.make_tensor("table", FLOAT, [rows, 1], [0.0] * rows)
    node = helper.make_node("Gather", ["table", "ids"], ["y"], name=name)
    return graph([node], {"ids": (INT64, ["n"])}, {"y": (FLOAT, ["n", 1])}, weights=[table])


def session(model, **options):
    options.setdefault("providers", ["CPUExecutionProvider"])
    return onnxruntime.InferenceSession(model if isinstance(model, bytes) else model.SerializeToString(), **options)


def explained(call):
    try:
        call()
    except Exception as error:
        return explain_exception(error, "")
    raise AssertionError("it worked")


def attention_of_heads(size):
    kinds = {"q": [1, 1, size], "k": [1, 1, size], "v": [1, 1, size], "pk": [1, 1, 0, size], "pv": [1, 1, 0, size]}
    inputs = {name: (FLOAT, shape) for name, shape in kinds.items()}
    inputs |= {"ends": (TensorProto.INT32, [1]), "total": (TensorProto.INT32, [])}
    inputs |= {name: (FLOAT, [4, size // 2]) for name in ("cos", "sin")}
    node = helper.make_node("GroupQueryAttention", list(inputs), ["y", "nk", "nv"], domain="com.microsoft", do_rotary=1,
                            num_heads=1, kv_num_heads=1)  # fmt: skip
    model = graph([node], inputs, {"y": (FLOAT, [1, 1, size])}, domains=["com.microsoft"])
    feeds = {name: np.zeros(shape, np.float32 if kind == FLOAT else np.int32) for name, (kind, shape) in inputs.items()}
    return session(model).run(None, {**feeds, "total": np.array(1, np.int32)})


@pytest.mark.parametrize(("size", "multiple"), [(24, "16"), (12, "8")])
def test_attention_of_heads_that_its_kernel_does_not_take(size, multiple):
    attention_of_heads(16)
    failure = explained(lambda: attention_of_heads(size))
    assert failure.code == "OBE31"
    assert failure.message.startswith(
        f"this runtime's attention takes only heads whose size is a multiple of {multiple},"
    )
    assert "other exporters" in dict(failure.notes)["hint"]


def half_mixed():
    node = helper.make_node("Add", ["x", "h"], ["y"])
    session(graph([node], {"x": (FLOAT, [1]), "h": (HALF, [1])}, {"y": (FLOAT, [1])}))


def quantized_half():
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])
    outputs = {"y": (TensorProto.UINT8, [1]), "s": (FLOAT, []), "z": (TensorProto.UINT8, [])}
    session(graph([node], {"x": (HALF, [1])}, outputs))


def no_kernel():
    node = helper.make_node("Erf", ["x"], ["y"], name="/gelu/Erf")
    session(graph([node], {"x": (BFLOAT, [1, 2])}, {"y": (BFLOAT, [1, 2])}))


def no_kernel_for_a_node_that_was_made_of_another():
    node = helper.make_node("Softmax", ["x"], ["y"], name="/head/Softmax")
    session(graph([node], {"x": (BFLOAT, [1, 2])}, {"y": (BFLOAT, [1, 2])}))


def no_kernel_of_its_own():
    sizes = {"K": 16, "N": 16, "block_size": 16, "quant_type": 1}
    node = helper.make_node("MatMulBnb4", ["x", "w", "m"], ["y"], name="/proj", domain="com.microsoft", **sizes)
    inputs = {"x": (BFLOAT, [1, 16]), "w": (TensorProto.UINT8, [128]), "m": (BFLOAT, [16])}
    session(graph([node], inputs, {"y": (BFLOAT, [1, 16])}, domains=["com.microsoft"]))


def unknown_operator():
    node = helper.make_node("Foo", ["x"], ["y"], domain="com.acme")
    session(graph([node], {"x": (FLOAT, [1])}, {"y": (FLOAT, [1])}, domains=["com.acme"]))


def parted_from_its_data():
    model = identity()
    weight = helper.make_tensor("w", FLOAT, [4], np.zeros(4, np.float32).tobytes(), raw=True)
    onnx.external_data_helper.set_external_data(weight, location="absent.onnx_data")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    model.graph.initializer.append(weight)
    model.graph.node.append(helper.make_node("Add", ["y", "w"], ["z"]))
    model.graph.output[0].name = "z"
    session(model)


def cyclic():
    from onnxruntime.transformers.onnx_model import OnnxModel

    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    OnnxModel(graph(nodes, {"x": (FLOAT, [1])}, {"b": (FLOAT, [1])})).topological_sort()


def static_without_data():
    from onnxruntime.quantization import quantize_static

    quantize_static(identity(), "never-written.onnx", None)


def histogram_of_nothing():
    from onnxruntime.quantization.calibrate import HistogramCollector

    HistogramCollector(
        "entropy", symmetric=False, num_bins=128, num_quantized_bins=128, percentile=99.9, scenario="same"
    ).compute_collection_result()


def histogram_of_uneven_rows():
    if np.array([0.0, 1.0]) > 0:
        raise AssertionError


def wrong_pair_of_integers():
    from onnxruntime.quantization import QuantFormat, QuantType
    from onnxruntime.quantization.quantize import check_static_quant_arguments

    check_static_quant_arguments(QuantFormat.QDQ, QuantType.QInt8, QuantType.QUInt8)


def out_of_memory():
    np.ones(1 << 50)


def out_of_memory_while_calibrating():
    with calibrating():
        np.ones(1 << 50)


RUNTIME = {
    half_mixed: ("OBE26", "the graph mixes precisions at Add"),
    quantized_half: ("OBE32", "the graph is fp16, and quantizing starts from fp32"),
    no_kernel: ("OBE31", "this runtime cannot run Erf with the types in the graph"),
    no_kernel_for_a_node_that_was_made_of_another: (
        "OBE31",
        "this runtime cannot run ReduceMax with the types in the graph",
    ),
    no_kernel_of_its_own: ("OBE31", "this runtime has no kernel for MatMulBnb4 with the types in the graph"),
    unknown_operator: ("OBE42", "the graph has an operator that this runtime does not know"),
    parted_from_its_data: ("OBE40", "the model's external data cannot be read"),
    cyclic: ("OBE25", "the optimizer made a graph with a cycle"),
    static_without_data: ("OBE27", "static quantization has no data to take ranges from"),
    histogram_of_nothing: ("OBE29", "a calibrator was asked for ranges before it had any data"),
    histogram_of_uneven_rows: (
        "OBE29",
        "an array was given where one number was expected, as in a histogram of a batch with several rows",
    ),
    wrong_pair_of_integers: ("OBE33", "this pair of integer types is not supported"),
    out_of_memory: ("OBE05", "out of memory"),
    out_of_memory_while_calibrating: ("OBE30", "out of memory while calibration data ran through the graph"),
}


@pytest.mark.parametrize("call", list(RUNTIME), ids=lambda call: call.__name__)
def test_what_onnxruntime_says(call):
    failure = explained(call)
    assert (failure.code, failure.message) == RUNTIME[call], failure


def test_models_that_are_too_new():
    failure = explained(lambda: session(identity(ir_version=99)))
    assert failure.code == "OBE36"
    assert failure.message.startswith("the model has IR version 99, and this ONNX Runtime reads at most ")
    assert explained(lambda: session(identity(opset=99))).code == "OBE36"


def test_inputs_that_do_not_suit():
    ran = session(identity())
    right = np.zeros((1, 4), np.float32)
    said = {
        "the graph's inputs ['x'] were not fed": {},
        "the graph has no input z": {"x": right, "z": right},
        "an input is tensor(int32) where the graph takes tensor(float)": {"x": right.astype(np.int32)},
        "the input `x` has length 2 in axis 1, and the graph takes 4": {"x": right[:, :2]},
        "the input `x` has 1 axes, and the graph takes 2": {"x": right[0]},
    }
    for message, feeds in said.items():
        failure = explained(lambda feeds=feeds: ran.run(None, feeds))
        assert (failure.code, failure.message) == ("OBE39" if "ax" in message else "OBE37", message), failure


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("/embeddings/position_embeddings/Gather", 8, "position 9 is outside the model's table, which ends at 7"),
        ("/transformer/wpe/Gather", 8, "position 9 is outside the model's table, which ends at 7"),
        ("/embed_tokens/Gather", 8, "token 9 is outside the model's vocabulary, which ends at 7"),
        ("/bert/embeddings/word_embeddings/Gather", 8, "token 9 is outside the model's vocabulary, which ends at 7"),
        ("/Gather_7", 8, "index 9 is outside a table of -8 to 7"),
        ("/type/Gather", 2, "index 9 is outside a table of two rows, the types of tokens"),
    ],
)
def test_an_index_outside_its_table(name, rows, message):
    failure = explained(lambda: session(gather(name, rows)).run(None, {"ids": np.array([9])}))
    assert (failure.code, failure.message) == ("OBE38", message), failure


def test_what_is_no_model():
    assert explained(lambda: session(b"<html>not found</html>")).code == "OBE41"


def test_a_provider_that_is_not_there_is_noticed():
    assert explained(lambda: session(identity(), providers=["CudaExecutionProvider"])).code == "OBE43"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        session(identity(), providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    (found,) = noticed("\n".join(str(one.message) for one in caught))
    assert found.startswith("OBE43 some or all of the graph runs on the CPU")


def test_four_bits_at_a_low_opset_are_noticed(caplog):
    from onnxruntime.quantization import QuantFormat
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    weight = helper.make_tensor("w", FLOAT, [32, 32], np.ones(1024, np.float32))
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="m")
    model = graph([node], {"x": (FLOAT, ["n", 32])}, {"y": (FLOAT, ["n", 32])}, weights=[weight])
    with caplog.at_level(logging.WARNING):
        how = DefaultWeightOnlyQuantConfig(block_size=32, quant_format=QuantFormat.QDQ)
        MatMulNBitsQuantizer(model, algo_config=how).process()
    assert [one.split()[0] for one in noticed(caplog.text)] == ["OBE35"]
    assert explain_exception(RuntimeError("stopped"), caplog.text).code == "OBE35"


def wheel(folder, name, *requires, version=1):
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(
        f"Requires-Dist: {one}\n" for one in requires
    )
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}-{version}.dist-info/METADATA", about)
        file.writestr(
            f"{name}-{version}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{name}-{version}.dist-info/RECORD", "")


def test_packages_that_exclude_each_other(tmp_path):
    for version in (0, 1):
        wheel(tmp_path, "shared", version=version)
    wheel(tmp_path, "older", "shared<1")
    wheel(tmp_path, "newer", "shared>=1")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--find-links", str(tmp_path)]
    done = subprocess.run([*command, "older", "newer"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert explain_exception(RuntimeError("pip failed"), done.stderr).code == "OBE12"


def no_task():
    from optimum.exporters.tasks import TasksManager

    TasksManager.infer_task_from_model(".", library_name="transformers")


def no_exporter_for_the_type():
    from optimum.exporters.tasks import TasksManager

    TasksManager.get_supported_tasks_for_model_type("rwkv", "onnx", library_name="transformers")


def no_exporter_for_the_task():
    from optimum.exporters.tasks import TasksManager

    TasksManager.get_exporter_config_constructor("onnx", model_type="bert", task="image-classification",
                                                 library_name="transformers")  # fmt: skip


def no_weights():
    from optimum.exporters.tasks import TasksManager

    TasksManager.determine_framework("empty")


def o4_on_a_cpu():
    from optimum.exporters.onnx import main_export

    main_export("bert", "never-written", optimize="O4")


def no_fusions():
    from optimum.onnxruntime.utils import ORTConfigManager

    ORTConfigManager.check_supported_model("rwkv")


def no_fusions_for_the_optimizer():
    from optimum.onnxruntime.optimization import ORTOptimizer
    from transformers import RwkvConfig

    ORTOptimizer([], RwkvConfig())


def wrong_integers_of_optimum():
    from onnxruntime.quantization import QuantType
    from optimum.onnxruntime.configuration import ensure_valid_data_type_or_raise

    ensure_valid_data_type_or_raise(False, QuantType.QInt8, QuantType.QInt8)


def static_without_ranges():
    from optimum.onnxruntime import AutoQuantizationConfig, ORTQuantizer

    settings = AutoQuantizationConfig.avx2(is_static=True)
    ORTQuantizer(Path("empty/model.onnx")).quantize(settings, save_dir="never-written")


def several_files():
    from optimum.onnxruntime import ORTQuantizer

    ORTQuantizer.from_pretrained("parts")


def invalid_generation_config():
    from transformers import GenerationConfig

    GenerationConfig(temperature=0.5, do_sample=False).save_pretrained("never-written")


def new_architecture():
    from transformers import AutoConfig

    AutoConfig.from_pretrained("new")


def code_of_its_own():
    from transformers import AutoConfig

    AutoConfig.from_pretrained("own")


def no_padding_token():
    import torch
    from transformers import GPT2Config, GPT2ForSequenceClassification

    sizes = GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=8, n_positions=8)
    GPT2ForSequenceClassification(sizes)(input_ids=torch.ones(2, 3, dtype=torch.int64))


def opset_without_attention():
    import torch

    class Attention(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.scaled_dot_product_attention(x, x, x)

    torch.onnx.export(Attention(), (torch.ones(1, 1, 2, 2),), "never-written.onnx", opset_version=13, dynamo=False)


def free_axis_that_is_fixed():
    import torch

    class Fixed(torch.nn.Module):
        def forward(self, x):
            return x + torch.ones(3)

    free = {"x": {0: torch.export.Dim("tokens")}}
    torch.export.export(Fixed(), (torch.ones(3),), dynamic_shapes=free)


def dynamic_branch():
    import torch

    @torch.compile(fullgraph=True, backend="eager")
    def branch(x):
        return x if x.sum() > 0 else -x

    branch(torch.ones(2))


def branch_by_a_computed_value():
    import torch

    class Branch(torch.nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    torch.export.export(Branch(), (torch.ones(2),))


TRANSFORMERS = {
    no_task: "OBE01",
    no_exporter_for_the_type: "OBE02",
    no_exporter_for_the_task: "OBE02",
    new_architecture: "OBE02",
    dynamic_branch: "OBE03",
    branch_by_a_computed_value: "OBE03",
    opset_without_attention: "OBE08",
    free_axis_that_is_fixed: "OBE09",
    no_padding_token: "OBE13",
    code_of_its_own: "OBE14",
    no_weights: "OBE16",
    o4_on_a_cpu: "OBE18",
    invalid_generation_config: "OBE19",
    no_fusions: "OBE22",
    no_fusions_for_the_optimizer: "OBE22",
    static_without_ranges: "OBE27",
    wrong_integers_of_optimum: "OBE33",
    several_files: "OBE34",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("call", list(TRANSFORMERS), ids=lambda call: call.__name__)
def test_what_torch_transformers_and_optimum_say(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder, config in (("new", {"model_type": "brand-new"}), ("own", {"model_type": "x"}), ("empty", {})):
        (tmp_path / folder).mkdir()
        names = {"auto_map": {"AutoConfig": "configuration_x.X"}} if folder == "own" else {}
        (tmp_path / folder / "config.json").write_text(json.dumps({**config, **names}))
    (tmp_path / "own" / "configuration_x.py").write_text("raise RuntimeError('it ran')")
    (tmp_path / "parts").mkdir()
    for name in ("encoder_model.onnx", "decoder_model.onnx"):
        onnx.save(identity(), tmp_path / "parts" / name)
    onnx.save(identity(), tmp_path / "empty" / "model.onnx")
    (tmp_path / "empty" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    failure = explained(call)
    assert failure.code == TRANSFORMERS[call], failure
    assert dict(failure.notes)["hint"]
