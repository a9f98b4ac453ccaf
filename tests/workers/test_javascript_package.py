"""Packages for Transformers.js: the layout, and each known way in which one loads in Python and not in JavaScript."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.packaging.transformers_js import JavaScriptParams
from onnxbuild.tables.publishing.javascript_dtypes import (
    DEFAULT_DTYPES,
    SUFFIXES,
    file_name,
    javascript_task,
    read_instead,
    tolerance_of,
    without_kernel,
)
from onnxbuild.tables.publishing.javascript_halves import halves_of
from onnxbuild.workers.package.javascript.client_answers import arrays, compared, suppressed_in
from onnxbuild.workers.package.javascript.dtype_files import loaded_graphs, write_dtype
from onnxbuild.workers.package.javascript.javascript_card import card, graphs_of
from onnxbuild.workers.package.javascript.javascript_config import inline_chat_template, write_files, write_settings
from onnxbuild.workers.package.javascript.javascript_package import run as write_package
from onnxbuild.workers.package.javascript.kernels_of_client import missing_kernels, operators_of
from onnxbuild.workers.package.javascript.model_halves import write_halves
from onnxbuild.workers.package.javascript.node_project import CLIENTS
from onnxbuild.workers.package.javascript.quantize_config import quantize_config
from onnxbuild.workers.package.javascript.same_file_runs import SameFiles

_LARGE = 2_000_000_000


def graph(path: Path, *, weights: int = 3, rows: int = 37, kind: int = TensorProto.FLOAT) -> Path:
    """A graph that multiplies its input with several matrices of 37 × 37."""
    rng = np.random.default_rng(5)
    matrices = [rng.normal(size=(rows, rows)).astype(np.float32) / 6 for _ in range(weights)]
    nodes, last = [], "x"
    for number in range(weights):
        nodes.append(helper.make_node("MatMul", [last, f"w{number}"], [f"y{number}"]))
        last = f"y{number}"
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, ["batch", rows])],
        [helper.make_tensor_value_info(last, kind, ["batch", rows])],
        [numpy_helper.from_array(one, f"w{number}") for number, one in enumerate(matrices)],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def run(path: Path, x):
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def read(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


# -- graphs -----------------------------------------------------------------------------------------------------------


def test_each_dtype_has_a_suffix_of_its_own():
    names = {file_name("decoder_model_merged.onnx", dtype) for dtype in SUFFIXES}
    assert len(names) == len(SUFFIXES)
    assert file_name("model.onnx", "q8") == "model_quantized.onnx"
    assert file_name("encoder_model.onnx", "fp32") == "encoder_model.onnx"


def test_small_graph_is_copied_byte_for_byte(tmp_path):
    source = graph(tmp_path / "target/model.onnx")
    assert write_dtype(source.parent, tmp_path / "onnx", "q4", _LARGE) == {"model_q4.onnx": 0}
    assert (tmp_path / "onnx/model_q4.onnx").read_bytes() == source.read_bytes()


def test_large_weights_go_to_contiguous_chunks_that_the_graph_names(tmp_path):
    source = graph(tmp_path / "target/model.onnx", weights=5)
    chunks = write_dtype(source.parent, tmp_path / "onnx", "fp16", 12_000)
    assert chunks == {"model_fp16.onnx": 3}
    assert sorted(path.name for path in (tmp_path / "onnx").iterdir()) == [
        "model_fp16.onnx", "model_fp16.onnx_data", "model_fp16.onnx_data_1", "model_fp16.onnx_data_2",
    ]  # fmt: skip
    assert all(path.stat().st_size <= 12_000 for path in (tmp_path / "onnx").glob("*_data*"))
    x = np.arange(74, dtype=np.float32).reshape(2, 37) / 50
    assert np.array_equal(run(tmp_path / "onnx/model_fp16.onnx", x), run(source, x))


def test_external_weights_get_the_name_of_the_dtype(tmp_path):
    source = graph(tmp_path / "target/model.onnx")
    model = onnx.load(source)
    onnx.save_model(model, source, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert write_dtype(source.parent, tmp_path / "onnx", "q8", 8_000) == {"model_quantized.onnx": 3}
    shutil.rmtree(tmp_path / "target")
    x = np.ones((1, 37), np.float32)
    assert np.isfinite(run(tmp_path / "onnx/model_quantized.onnx", x)).all()


def test_more_chunks_than_the_library_loads_are_refused(tmp_path):
    source = graph(tmp_path / "target/model.onnx", weights=101)
    with pytest.raises(CheckFailed) as failed:
        write_dtype(source.parent, tmp_path / "onnx", "fp32", 6_000)
    assert failed.value.failure.code == "OBE193"


def test_only_the_merged_decoder_is_loaded(tmp_path):
    names = ("encoder_model", "decoder_model", "decoder_with_past_model", "decoder_model_merged")
    for name in names:
        graph(tmp_path / f"{name}.onnx", weights=1)
    assert loaded_graphs(tmp_path) == ("decoder_model_merged.onnx", "encoder_model.onnx")
    (tmp_path / "decoder_model_merged.onnx").unlink()
    with pytest.raises(CheckFailed) as failed:
        loaded_graphs(tmp_path)
    assert failed.value.failure.code == "OBE192"


# -- halves ------------------------------------------------------------------------------------------------------------


def two_halves(path: Path, *, divided: bool = True, mixed: bool = False) -> Path:
    """A graph in the form of CLIP's: two products, each divided by its length, and the product of both."""
    rng = np.random.default_rng(9)
    nodes = [
        helper.make_node("MatMul", ["input_ids", "words"], ["text"]),
        helper.make_node("MatMul", ["text" if mixed else "pixel_values", "colours"], ["image"]),
    ]
    for name in ("text", "image"):
        nodes.append(helper.make_node("ReduceL2", [name], [f"{name}_length"], axes=[1], keepdims=1))
        operator = "Div" if divided else "Mul"
        nodes.append(helper.make_node(operator, [name, f"{name}_length"], [f"{name}_embeds"]))
    nodes.append(helper.make_node("Transpose", ["image_embeds"], ["across"]))
    nodes.append(helper.make_node("MatMul", ["text_embeds", "across"], ["logits_per_text"]))

    def of(name, rows, columns):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, columns])

    made = helper.make_graph(
        nodes,
        "g",
        [of("input_ids", "texts", 5), of("pixel_values", "images", 5)],
        [of("logits_per_text", "texts", "images"), of("text_embeds", "texts", 5), of("image_embeds", "images", 5)],
        [
            numpy_helper.from_array(rng.normal(size=(5, 5)).astype(np.float32), "words"),
            numpy_helper.from_array(rng.normal(size=(5, 5)).astype(np.float32), "colours"),
        ],
    )
    path.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path / "model.onnx")
    (path / "config.json").write_text('{"model_type": "siglip"}')
    return path


def test_half_has_its_own_input_weights_and_undivided_output(tmp_path):
    import onnxruntime

    written = write_halves(two_halves(tmp_path / "target"), tmp_path / "onnx", "fp16", _LARGE)
    assert written == {"text_model_fp16.onnx": 0, "vision_model_fp16.onnx": 0}
    model = onnx.load(tmp_path / "onnx/vision_model_fp16.onnx")
    onnx.checker.check_model(model)
    assert [one.name for one in model.graph.initializer] == ["colours"]
    x = np.arange(10, dtype=np.float32).reshape(2, 5)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["pooler_output"], {"pixel_values": x})
    assert np.allclose(found, x @ numpy_helper.to_array(model.graph.initializer[0]), rtol=1e-5)


def test_weights_of_a_half_go_to_chunks_of_its_own(tmp_path):
    folder = two_halves(tmp_path / "target")
    model = onnx.load(folder / "model.onnx")
    wide = np.random.default_rng(1).normal(size=(5, 400)).astype(np.float32)
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(wide, "colours"))
    onnx.save(model, folder / "model.onnx")
    written = write_halves(folder, tmp_path / "onnx", "fp32", 7_000)
    assert written == {"text_model.onnx": 0, "vision_model.onnx": 1}
    assert (tmp_path / "onnx/vision_model.onnx_data").stat().st_size == 8_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"divided": False}, "the graph does not divide `text_embeds` by its length"),
        ({"mixed": True}, "`image_embeds` is also computed from input_ids"),
    ],
)
def test_graph_that_cannot_be_cut_is_refused(tmp_path, change, message):
    with pytest.raises(CheckFailed) as failed:
        write_halves(two_halves(tmp_path / "target", **change), tmp_path / "onnx", "fp32", _LARGE)
    assert failed.value.failure.code == "OBE196"
    assert message in failed.value.failure.message


def test_model_without_the_outputs_of_halves_is_refused(tmp_path):
    graph(tmp_path / "model.onnx")
    for model_type in ("siglip", "bert"):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
        with pytest.raises(CheckFailed) as failed:
            write_halves(tmp_path, tmp_path / "onnx", "fp32", _LARGE)
        assert failed.value.failure.code == "OBE196"


def test_card_shows_how_each_half_is_loaded(tmp_path):
    written = write_halves(two_halves(tmp_path / "target"), tmp_path / "onnx", "q4", _LARGE)
    assert len(written) == 2
    task = "zero-shot-image-classification"
    row = javascript_task(task)
    text = card(tmp_path, task, row, "SiglipModel", ["q4"], "q4", whole=False, halves=halves_of("siglip"))
    assert "await SiglipTextModel.from_pretrained('PACKAGE', { dtype: 'q4' })" in text
    assert "prepare(['a harbour', 'a mountain'], { padding: 'max_length', truncation: true })" in text
    assert "pipeline(" not in text
    assert "| `q4` | `text_model_q4.onnx`, `vision_model_q4.onnx` | 0.0 |" in text


def test_half_that_differs_fails_though_the_whole_is_equal(answer):
    package, told = answer
    shutil.copy(package / "onnx/model.onnx", package / "onnx/text_model.onnx")
    same = {"inputs": told["inputs"], "outputs": told["outputs"]}
    assert compared({**told, "halves": {"text_model": same}}, package, 1e-5, "fp32", 1)["equal"]
    wrong = {**same, "outputs": {"y2": dumped(arrays(told["outputs"])["y2"] + np.float32(0.1))}}
    facts = compared({**told, "halves": {"text_model": wrong}}, package, 1e-5, "fp32", 1)
    assert not facts["equal"]
    assert facts["far"] == facts["halves"]["text_model"]


# -- what is beside the graphs ----------------------------------------------------------------------------------------


def test_number_of_chunks_is_by_exact_file_name(tmp_path):
    """A base name such as `model` would hold for every dtype, and int8 has no file of weights."""
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    write_settings(tmp_path, {"model_fp16.onnx": 3, "model_quantized.onnx": 0}, ["q4f16", "fp16"], None)
    assert read(tmp_path / "config.json") == {
        "model_type": "llama",
        "transformers.js_config": {
            "use_external_data_format": {"model_fp16.onnx": 3},
            "kv_cache_dtype": {"fp16": "float16", "q4f16": "float16"},
        },
    }


def test_config_is_left_alone_where_the_library_needs_nothing(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type":"bert"}')
    write_settings(tmp_path, {"model.onnx": 0}, [], None)
    assert (tmp_path / "config.json").read_text() == '{"model_type":"bert"}'
    write_settings(tmp_path, {"model.onnx": 0}, [], "q4")
    assert read(tmp_path / "config.json")["transformers.js_config"] == {"dtype": "q4"}


def test_chat_template_is_copied_into_the_config_of_the_tokenizer(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    (tmp_path / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    inline_chat_template(tmp_path)
    template = (tmp_path / "chat_template.jinja").read_text()
    assert read(tmp_path / "tokenizer_config.json") == {"eos_token": "</s>", "chat_template": template}
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "its own"}')
    inline_chat_template(tmp_path)
    assert read(tmp_path / "tokenizer_config.json")["chat_template"] == "its own"


def test_processor_that_an_export_dropped_comes_from_the_checkpoint(tmp_path):
    for name in ("exported", "checkpoint", "package"):
        (tmp_path / name).mkdir()
    (tmp_path / "exported/config.json").write_text('{"from": "export"}')
    (tmp_path / "checkpoint/config.json").write_text('{"from": "checkpoint"}')
    (tmp_path / "checkpoint/preprocessor_config.json").write_text('{"size": 32}')
    (tmp_path / "checkpoint/model.safetensors").write_text("weights")
    write_files((tmp_path / "exported", tmp_path / "checkpoint"), tmp_path / "package")
    assert read(tmp_path / "package/config.json") == {"from": "export"}
    assert sorted(path.name for path in (tmp_path / "package").iterdir()) == ["config.json", "preprocessor_config.json"]


def test_slow_tokenizer_is_converted(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "harbour", "is", "quiet"]
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "package").mkdir()
    (tmp_path / "checkpoint/vocab.txt").write_text("\n".join(words) + "\n")
    (tmp_path / "checkpoint/config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "checkpoint/tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    write_files((tmp_path / "checkpoint",), tmp_path / "package")
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tmp_path / "package/tokenizer.json"))
    assert tokenizer.encode("The harbour is quiet").ids == [2, 5, 6, 7, 8, 3]


def test_tokenizer_without_a_fast_form_is_refused(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint/vocab.json").write_text('{"a": 0, "<unk>": 1, "<pad>": 2}')
    (tmp_path / "checkpoint/config.json").write_text('{"model_type": "wav2vec2"}')
    (tmp_path / "checkpoint/tokenizer_config.json").write_text('{"tokenizer_class": "Wav2Vec2CTCTokenizer"}')
    with pytest.raises(CheckFailed) as failed:
        write_files((tmp_path / "checkpoint",), tmp_path)
    assert failed.value.failure.code == "OBE194"


def test_written_package_has_every_file_that_the_library_reads(tmp_path):
    """The processor that the export dropped, the inlined template, the recipes: all by the step itself."""
    exported, checkpoint, package = (tmp_path / name for name in ("graph", "checkpoint", "package"))
    for folder in (exported, checkpoint, package):
        folder.mkdir()
        if folder != package:
            (folder / "config.json").write_text('{"model_type": "vit", "architectures": ["ViTForImageClassification"]}')
    graph(exported / "model.onnx")
    (exported / "tokenizer.json").write_text("{}")
    (exported / "tokenizer_config.json").write_text("{}")
    (checkpoint / "preprocessor_config.json").write_text('{"size": 37}')
    (checkpoint / "chat_template.jinja").write_text("{{ messages }}")
    recipe = [("quantize", {"method": "weight-only", "bits": 4, "block_size": 64})]
    params = JavaScriptParams(
        task="image-classification", graphs={"q4": "small"}, default_dtype="q4", recipes={"q4": recipe}
    )
    facts = write_package(params, {"model": checkpoint, "graph-small": exported}, {"package": package}, print)
    assert read(package / "preprocessor_config.json") == {"size": 37}
    assert read(package / "tokenizer_config.json") == {"chat_template": "{{ messages }}"}
    assert (package / "chat_template.jinja").read_text() == "{{ messages }}"
    assert read(package / "quantize_config.json") == quantize_config({"q4": recipe})
    assert read(package / "quantize_config.json")["block_size"] == 64
    assert read(package / "config.json")["transformers.js_config"] == {"dtype": "q4"}
    assert (facts["files"], facts["graphs"]) == (9, {"model_q4.onnx": 0})


def test_quantize_config_says_what_the_dtypes_share():
    dynamic = ("quantize", {"method": "dynamic", "per_channel": True})
    blocks = ("quantize", {"method": "weight-only", "block_size": 32, "symmetric": False, "algorithm": "rtn"})
    smaller = ("quantize", {"method": "weight-only", "block_size": 16, "symmetric": False, "algorithm": "rtn"})
    content = quantize_config({"fp32": (), "q8": (dynamic,), "q4": (blocks,), "q4f16": (smaller,)})
    assert content["modes"] == ["fp32", "q8", "q4", "q4f16"]
    assert (content["per_channel"], content["is_symmetric"], content["block_size"]) == (True, False, None)
    assert content["recipes"]["q8"] == [{"quantize": {"method": "dynamic", "per_channel": True}}]


def test_card_lists_the_files_of_each_dtype(tmp_path):
    for name in ("model.onnx", "model_q4.onnx", "model_q4f16.onnx", "model_q4.onnx_data"):
        path = tmp_path / "onnx" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * 150_000)
    assert [path.name for path in graphs_of(tmp_path, "fp32")] == ["model.onnx"]
    assert [path.name for path in graphs_of(tmp_path, "q4")] == ["model_q4.onnx"]
    task = "text-classification"
    text = card(tmp_path, task, javascript_task(task), "BertForSequenceClassification", ["fp32", "q4"], "q4")
    assert text.startswith("---\nlibrary_name: transformers.js\npipeline_tag: text-classification\n")
    assert "await pipeline('text-classification', 'PACKAGE', { dtype: 'q4' })" in text
    assert "| `q4` | `model_q4.onnx` | 0.3 |" in text


def test_card_of_a_model_that_a_class_runs_names_no_pipeline(tmp_path):
    (tmp_path / "onnx").mkdir()
    row = javascript_task("feature-extraction", {"model_type": "sam"})
    text = card(tmp_path, "feature-extraction", row, "SamModel", ["fp32"], "fp32")
    assert "await SamModel.from_pretrained('PACKAGE', { dtype: 'fp32' })" in text
    assert "{ input_points: [[[45, 60]]] }" in text
    assert "pipeline_tag: mask-generation\n" in text
    assert "pipeline(" not in text


# -- kernels ----------------------------------------------------------------------------------------------------------


def test_operators_without_a_kernel():
    assert without_kernel(frozenset({"GatherBlockQuantized", "MatMul"}), "wasm", 4) == ("GatherBlockQuantized",)
    assert without_kernel(frozenset({"GatherBlockQuantized"}), "wasm", 3) == ()
    assert without_kernel(frozenset({"GatherBlockQuantized"}), "node", 4) == ()
    assert without_kernel(frozenset({"ConvInteger", "ConvInteger:uint8"}), "wasm", 3) == ()


def test_convolution_with_signed_weights_is_named(tmp_path):
    weight = numpy_helper.from_array(np.ones((2, 3, 1, 1), np.int8), "w")
    node = helper.make_node("ConvInteger", ["x", "w"], ["y"])
    made = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 3, 5, 7])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 2, 5, 7])],
        [weight],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])
    assert set(operators_of(model)) == {"ConvInteger", "ConvInteger:int8"}
    (tmp_path / "onnx").mkdir()
    onnx.save(model, tmp_path / "onnx/model_quantized.onnx")
    assert missing_kernels(tmp_path, "q8", "wasm", 3) == ("ConvInteger:int8",)
    assert missing_kernels(tmp_path, "q8", "wasm", 4) == ()


def test_zero_points_of_weights_in_blocks_are_told_from_none():
    names = ["x", "codes", "scales", "zeros"]
    for inputs, found in ((names, {"MatMulNBits", "MatMulNBits:zero-points"}), (names[:3], {"MatMulNBits"})):
        node = helper.make_node("MatMulNBits", inputs, ["y"], domain="com.microsoft")
        model = helper.make_model(helper.make_graph([node], "g", [], []))
        assert set(operators_of(model)) == found
    assert without_kernel(frozenset(found), "webgpu", 3) == ()
    assert without_kernel(frozenset({"MatMulNBits:zero-points"}), "webgpu", 3) == ("MatMulNBits:zero-points",)
    assert without_kernel(frozenset({"MatMulNBits:zero-points"}), "webgpu", 4) == ()


# -- what a client computed -------------------------------------------------------------------------------------------


def dumped(array):
    import base64

    return {"type": str(array.dtype), "dims": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}


@pytest.fixture
def answer(tmp_path):
    path = graph(tmp_path / "onnx/model.onnx")
    x = np.linspace(-1, 1, 111, dtype=np.float32).reshape(3, 37)
    return tmp_path, {"version": "4", "inputs": {"x": dumped(x)}, "outputs": {"y2": dumped(run(path, x))}}


def test_equal_numbers_of_a_client_pass(answer):
    package, told = answer
    facts = compared(told, package, 1e-5, "fp32", 1)
    assert facts["equal"]
    assert facts["far"] <= tolerance_of("node", 4, "fp32") == 1e-5


@pytest.mark.parametrize("damage", [lambda y: y + 1e-3, lambda y: y[:, :36], lambda y: y * np.float32("nan")])
def test_other_numbers_of_a_client_fail(answer, damage):
    package, told = answer
    wrong = damage(arrays(told["outputs"])["y2"]).astype(np.float32)
    facts = compared({**told, "outputs": {"y2": dumped(wrong)}}, package, 1e-5, "fp32", 1)
    assert facts["loads"]
    assert not facts["equal"]


def test_outputs_of_other_names_fail(answer):
    package, told = answer
    facts = compared({**told, "outputs": {"z": told["outputs"]["y2"]}}, package, 1e-5, "fp32", 1)
    assert not facts["equal"]


def test_error_of_a_client_is_its_cause(tmp_path):
    facts = compared({"error": "no file"}, tmp_path, 1e-5, "fp32", 1)
    assert facts == {"loads": False, "equal": False, "because": "no file"}


def test_suppressed_tokens_are_those_of_the_package(tmp_path):
    assert suppressed_in(tmp_path) == []
    (tmp_path / "generation_config.json").write_text('{"suppress_tokens": [3, 7]}')
    assert suppressed_in(tmp_path) == [3, 7]


# -- tables -----------------------------------------------------------------------------------------------------------


def test_tasks_have_their_pipelines():
    assert javascript_task("text-generation-with-past").pipeline == "text-generation"
    assert javascript_task("ner").pipeline == "token-classification"
    assert javascript_task("multiple-choice") is None
    assert javascript_task("feature-extraction", {"model_type": "sam"}).of_class == "SamModel"
    assert javascript_task("feature-extraction", {"model_type": "bert"}).pipeline == "feature-extraction"


@pytest.mark.parametrize(
    ("config", "reads"),
    [
        ({"model_type": "bert", "vocab_size": 9}, None),
        ({"model_type": "vit", "image_size": 32, "patch_size": 8}, "images"),
        ({"model_type": "sam", "vision_config": {}, "prompt_encoder_config": {}}, None),
        ({"model_type": "sam2", "vision_config": {}, "prompt_encoder_config": {}}, "images"),
        ({"model_type": "wav2vec2", "vocab_size": 32, "conv_dim": [8]}, "audio"),
        ({"model_type": "layoutlmv3", "vocab_size": 9, "patch_size": 8}, None),
        ({"model_type": "clip", "text_config": {}, "vision_config": {}}, "text and images"),
        ({"model_type": "clap", "text_config": {}, "audio_config": {}}, "text and audio"),
        ({"model_type": "gemma3", "text_config": {}}, None),
        (None, None),
    ],
)
def test_feature_extractors_of_text_are_told_from_others(config, reads):
    assert read_instead("feature-extraction", config) == reads
    assert read_instead("image-classification", config) is None


def test_default_dtypes_are_those_of_the_library():
    assert DEFAULT_DTYPES == {"node": "fp32", "wasm": "q8", "webgpu": "fp32"}


@pytest.mark.parametrize("major", [3, 4])
def test_lock_files_name_no_registry(major):
    lock = read(CLIENTS / f"transformers-js-{major}/package-lock.json")
    library = lock["packages"]["node_modules/@huggingface/transformers"]
    assert library["version"].startswith(f"{major}.")
    assert all("resolved" not in one for one in lock["packages"].values())
    assert all(one.get("integrity") for name, one in lock["packages"].items() if name)


def test_a_client_that_writes_no_token_is_not_equal(tmp_path, monkeypatch):
    monkeypatch.setattr(SameFiles, "margins", lambda *_: [])
    outputs = {"tokens": dumped(np.array([[3, 5, 7]], np.int64))}
    facts = compared({"version": "4", "inputs": {}, "outputs": outputs, "given": 3}, tmp_path, 1e-5, "fp32", 1)
    assert (facts["loads"], facts["equal"], facts["because"]) == (True, False, "it writes no token")
