from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from families import (
    checkpoint,
    contents,
    exported,
    generated_by,
    generated_by_torch,
    minilm_files,
    optimized,
    outputs_of,
    run_step,
    scratch,
    text_folder,
)
from onnx import TensorProto, helper, numpy_helper

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.export import ExportParams
from onnxbuild.steps.fetch import FetchParams
from onnxbuild.steps.optimize import OptimizeParams
from onnxbuild.tables.fusions import FUSIONS
from onnxbuild.workers.libraries.quiet import quiet
from onnxbuild.workers.optimize.completions import complete
from onnxbuild.workers.optimize.fused import count_fused
from onnxbuild.workers.optimize.fusion_settings import LEVELS, Sizes, fusion_options, sizes_of
from onnxbuild.workers.optimize.worker import run

pytestmark = pytest.mark.heavy


def config_of(architecture):
    return json.loads((checkpoint(architecture) / "config.json").read_text())


@pytest.mark.parametrize("level", ["O1", "O2", "O3"])
@pytest.mark.parametrize("architecture", ["bert", "distilbert", "gpt2", "llama", "vit"])
def test_a_level_gives_fewer_nodes_and_equal_numbers(architecture, level):
    facts, folder = optimized(architecture, level)
    file = facts["files"]["model.onnx"]
    assert file["nodes"] < 0.7 * file["nodes_before"]
    assert bool(file["fused"]) == (level != "O1")
    names = {"model.onnx", *contents(exported(architecture)[1])}
    assert set(contents(folder)) == names
    before = outputs_of(exported(architecture)[1] / "model.onnx", config_of(architecture))
    after = outputs_of(folder / "model.onnx", config_of(architecture))
    tolerance = 2e-3 if level == "O3" else 1e-5  # O3 approximates Gelu
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_allclose(new, old, atol=tolerance)


@pytest.mark.parametrize("architecture", ["bert", "distilbert"])
def test_a_graph_for_cuda_does_not_depend_on_the_gpu_of_the_builder(architecture, caplog):
    """It has the fusions of the graph for the CPU; with a GPU, copies between devices stood between their nodes."""
    folder = exported(architecture)[1]
    facts = {
        device: run_step(run, OptimizeParams(level="O2", device=device), model=folder)[0]["files"]["model.onnx"]
        for device in ("cpu", "cuda")
    }
    fused = {device: of["fused"] for device, of in facts.items()}
    assert fused["cuda"].pop("SkipLayerNormalization") > 0  # parted again in the graph for the CPU
    assert fused["cuda"].items() <= fused["cpu"].items()
    assert sum("Attention" in name for name in fused["cuda"]) == 1
    assert "gpu" not in caplog.text


def test_what_is_fused_in_a_sentence_transformer():
    from onnxbuild.workers.export.worker import run as export

    _, folder = run_step(export, ExportParams(task="feature-extraction"), model=minilm_files())
    facts, output = run_step(run, OptimizeParams(level="O2"), model=folder)
    assert facts["files"]["model.onnx"]["fused"] == {"Attention": 6, "BiasGelu": 6, "SkipLayerNormalization": 12}
    assert {"modules.json", "1_Pooling/config.json"} <= set(contents(output))


@pytest.mark.parametrize("level", ["O1", "O2"])
def test_an_encoder_decoder_still_writes_what_pytorch_writes(level):
    facts, folder = optimized("t5", level)
    assert facts["files"]["decoder_model_merged.onnx"]["merged"] is True
    assert set(contents(folder)) == set(contents(exported("t5")[1]))
    wanted = generated_by_torch(checkpoint("t5"), "t5")
    assert generated_by(folder, "t5") == wanted
    (folder / "decoder_model_merged.onnx").unlink()
    assert generated_by(folder, "t5") == wanted


def test_whisper_is_optimized_in_all_its_files():
    facts, _ = optimized("whisper")
    counts = {name: file.get("fused") for name, file in facts["files"].items() if "fused" in file}
    assert set(counts) == {"encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx"}
    assert all(fused["SkipLayerNormalization"] >= 4 for fused in counts.values())
    assert facts["files"]["decoder_model_merged.onnx"]["merged"] is True


@pytest.mark.parametrize("level", ["O1", "O2"])
def test_a_tied_head_is_not_written_twice(level):
    config = {"n_embd": 128, "n_layer": 1, "n_head": 2}
    task = "text-generation-with-past"
    fetch = FetchParams(origin="random", architecture="gpt2", task=task, config={**config, "vocab_size": 4000})
    from onnxbuild.workers.export.worker import run as export
    from onnxbuild.workers.fetch.worker import run as fetch_run

    _, source = run_step(fetch_run, fetch, text=text_folder())
    _, model = run_step(export, ExportParams(task=task), model=source)
    facts, folder = run_step(run, OptimizeParams(level=level), model=model)
    assert facts["files"]["model.onnx"]["shared_bytes"] == 128 * 4000 * 4
    assert facts["bytes"] < facts["bytes_before"]
    np.testing.assert_allclose(outputs_of(folder / "model.onnx")[0], outputs_of(model / "model.onnx")[0], atol=1e-5)


def test_two_runs_give_the_same_bytes():
    again = run_step(run, OptimizeParams(level="O2"), model=exported("bert")[1])[1]
    assert contents(again) == contents(optimized("bert")[1])


def test_external_data_stays_external():
    from onnxbuild.workers.graphs.graph_files import load_model, save_model

    folder = scratch()
    (folder / "config.json").write_text(json.dumps(config_of("bert")))
    save_model(load_model(exported("bert")[1] / "model.onnx"), folder / "model.onnx", external=True)
    facts, output = run_step(run, OptimizeParams(level="O2"), model=folder)
    assert set(contents(output)) == {"config.json", "model.onnx", "model.onnx_data"}
    assert facts["bytes"] == sum((output / name).stat().st_size for name in ("model.onnx", "model.onnx_data"))
    np.testing.assert_allclose(
        outputs_of(output / "model.onnx")[0], outputs_of(exported("bert")[1] / "model.onnx")[0], atol=1e-5
    )


def test_the_types_that_lint_knows_are_those_that_the_optimizer_knows():
    with quiet():
        from optimum.onnxruntime.optimization import ORTOptimizer  # noqa: F401 - it registers clip
        from optimum.onnxruntime.utils import ORTConfigManager
        from optimum.utils.normalized_config import NormalizedConfigManager

    known = {*NormalizedConfigManager._conf, "clip"}
    assert set(FUSIONS) == {name for name in ORTConfigManager._conf if name in known}


def test_the_fusions_are_told_what_optimum_tells_them():
    """The settings are ours, because optimum-onnx excludes transformers 5; they must stay equal to optimum's."""
    with quiet():
        from optimum.onnxruntime import AutoOptimizationConfig
        from optimum.onnxruntime.optimization import ORTOptimizer
        from optimum.onnxruntime.utils import ORTConfigManager
        from transformers import AutoConfig

    for model_type in FUSIONS:
        theirs = ORTOptimizer([], AutoConfig.for_model(model_type)).normalized_config
        family = ORTConfigManager.get_model_ort_type(model_type)
        found = sizes_of({"model_type": model_type}, "O2")
        assert found == Sizes(family, theirs.num_attention_heads, theirs.hidden_size), model_type
    for name, level in LEVELS.items():
        asked = AutoOptimizationConfig.with_optimization_level(name)
        assert (level.runtime, level.fuses) == (
            asked.optimization_level, asked.enable_transformers_specific_optimizations)  # fmt: skip
        assert level.halves == asked.fp16
        for family in ("bert", "bart", "gpt2", "vit", "clip"):
            assert vars(fusion_options(family, level)) == vars(asked.create_fusion_options(family)), (name, family)


NOT_READ = {"segformer"}  # its sizes are lists, so the fusions read them from the graph


@pytest.mark.parametrize("names", ["own", "standard"])
def test_sizes_are_read_from_the_config_as_transformers_reads_them(names):
    with quiet():
        from transformers import AutoConfig

    for number, (model_type, fusion) in enumerate(FUSIONS.items()):
        if model_type in NOT_READ:
            continue
        heads, hidden = 3 + number, 120 * (3 + number)  # odd, and each divides its hidden size
        fields = (fusion.heads.field, fusion.hidden.field) if names == "own" else ("num_attention_heads", "hidden_size")
        part = dict(zip(fields, (heads, hidden), strict=True))
        config = {"model_type": model_type, **({fusion.part: part} if fusion.part else part)}
        loaded = AutoConfig.for_model(**config)
        owner = getattr(loaded, fusion.part) if fusion.part else loaded
        assert (owner.num_attention_heads, owner.hidden_size) == (heads, hidden), model_type
        assert sizes_of(config, "O2") == Sizes(fusion.family, heads, hidden), model_type


def test_an_old_config_of_clip_has_its_text_sizes_twice():
    config = {
        "model_type": "clip",
        "text_config": {"num_attention_heads": 5},
        "text_config_dict": {"num_attention_heads": 7, "hidden_size": 77},
    }
    assert sizes_of(config, "O2") == Sizes("clip", 7, 77)
    assert sizes_of({**config, "text_config_dict": None}, "O2") == Sizes("clip", 5, 512)


def test_inputs_that_fusions_take_for_given_are_there():
    """torch.export leaves out a missing bias; the fusions of onnxruntime index it."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy")
    weights = [
        numpy_helper.from_array(np.arange(4, dtype=np.float32), "scale"),
        numpy_helper.from_array(np.arange(16, dtype=np.float32).reshape(4, 4), "w"),
    ]
    nodes = [
        helper.make_node("LayerNormalization", ["x", "scale"], ["normal"]),
        helper.make_node("Gemm", ["normal", "w"], ["product"]),
        helper.make_node("Gemm", ["product", "w"], ["y"], transB=1),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], weights), ir_version=8, opset_imports=[helper.make_opsetid("", 18)]
    )
    feeds = {"x": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)}
    before = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)[0]
    assert complete(model) == 2
    assert [(node.op_type, len(node.input)) for node in model.graph.node] == [
        ("LayerNormalization", 3), ("MatMul", 2), ("Gemm", 2)]  # fmt: skip
    after = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feeds)[0]
    np.testing.assert_allclose(after, before, rtol=1e-6)


def test_a_type_without_fusions():
    with pytest.raises(CheckFailed) as caught:
        run_step(run, OptimizeParams(level="O2"), model=exported("wav2vec2")[1])
    assert str(caught.value) == "OBE22 O2 knows no fusions for the model type `wav2vec2`"
    assert caught.value.failure.notes == (
        ("hint", "use `optimize: O1`, which works for every model type, or leave `optimize:` out"),
    )
    facts, _ = run_step(run, OptimizeParams(level="O1"), model=exported("wav2vec2")[1])
    assert facts["files"]["model.onnx"]["nodes"] < facts["files"]["model.onnx"]["nodes_before"]


def bare_model(folder):
    weight = numpy_helper.from_array(np.ones((8, 8), np.float32), "w")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 8]) for name in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    onnx.save(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)]), folder / "model.onnx"
    )
    return folder


OTHER_FORM = (
    "use `optimize: O1`, which matches no forms; what fuses in bert was measured on its export by `export: {exporter:"
    " optimum, opset: 18}`, and this graph has another form"
)


def quantized(model):
    node = helper.make_node("DynamicQuantizeLinear", ["y"], ["q", "s", "z"])
    model.graph.node.append(node)
    model.graph.output.append(helper.make_tensor_value_info("q", TensorProto.UINT8, None))


def half(model):
    model.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float16), "h"))
    model.graph.node.append(helper.make_node("Neg", ["h"], ["n"]))
    model.graph.output.append(helper.make_tensor_value_info("n", TensorProto.FLOAT16, [2]))


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda _model: None, OTHER_FORM),
        (quantized, "the graph is quantized already, and no fusion matches it: optimize first, then quantize"),
        (half, "the graph is in half precision already, and few fusions match it: optimize first, then `precision:`"),
    ],
)
def test_a_graph_in_which_nothing_is_fused(change, hint):
    folder = bare_model(scratch())
    model = onnx.load(folder / "model.onnx")
    change(model)
    onnx.save(model, folder / "model.onnx")
    (folder / "config.json").write_text(json.dumps(config_of("bert")))
    with pytest.raises(CheckFailed) as caught:
        run_step(run, OptimizeParams(level="O2"), model=folder)
    failure = caught.value.failure
    assert (failure.code, failure.message) == ("OBE24", "O2 fused nothing that it should have in model.onnx")
    assert failure.notes == (
        ("expected", "for bert one of Attention, SkipLayerNormalization, EmbedLayerNormalization"),
        ("found", "none"),
        ("hint", hint),
    )


@pytest.mark.parametrize("task", ["text-classification", "feature-extraction"])
@pytest.mark.parametrize("architecture", ["llama", "mistral"])
def test_a_norm_that_is_fused_counts_in_whichever_domain_it_is(architecture, task):
    """ONNX Runtime writes SimplifiedLayerNormalization as an operator of the standard, which it is not."""
    from onnxbuild.workers.export.worker import run as export
    from onnxbuild.workers.fetch.worker import run as fetch_run

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = {**sizes, "num_key_value_heads": 1, "head_dim": 16, "vocab_size": 300, "pad_token_id": 0}
    fetch = FetchParams(origin="random", architecture=architecture, task=task, config=config)
    _, source = run_step(fetch_run, fetch, text=text_folder())
    _, model = run_step(export, ExportParams(task=task), model=source)
    facts, folder = run_step(run, OptimizeParams(level="O2"), model=model)
    fused = facts["files"]["model.onnx"]["fused"]
    assert fused["SimplifiedLayerNormalization"] == 5  # two per layer, and the last one
    assert facts["warnings"] == []
    domains = {n.domain for n in onnx.load(folder / "model.onnx").graph.node if "SimplifiedLayerNorm" in n.op_type}
    assert domains == {""}
    for old, new in zip(outputs_of(model / "model.onnx"), outputs_of(folder / "model.onnx"), strict=True):
        np.testing.assert_allclose(new, old, atol=1e-4)


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
@pytest.mark.parametrize("operator", ["RMSNormalization", "Attention", "SimplifiedLayerNormalization"])
def test_a_fused_operator_counts_in_every_domain(operator, domain):
    node = helper.make_node(operator, ["x", "w"], ["y"], domain=domain)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 8]) for name in "xy")
    assert count_fused(helper.make_model(helper.make_graph([node], "g", [x], [y]))) == {operator: 1}


def test_a_graph_without_a_config():
    with pytest.raises(CheckFailed) as caught:
        run_step(run, OptimizeParams(level="O2"), model=bare_model(scratch()))
    assert str(caught.value) == "OBE22 O2 knows no fusions for a model without config.json"


@pytest.mark.parametrize(("divisor", "ran"), [(0.0, False), (2.0, True)])
def test_a_graph_that_cannot_take_made_up_inputs_is_only_loaded(divisor, ran):
    folder = scratch()
    weight = numpy_helper.from_array(np.full((8,), divisor, np.float32), "w")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 8]) for name in "xy")
    nodes = [helper.make_node("Identity", ["x"], ["i"]), helper.make_node("Div", ["i", "w"], ["y"])]
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], [weight]), ir_version=8)
    model.opset_import[0].version = 18
    onnx.save(model, folder / "model.onnx")
    facts, _ = run_step(run, OptimizeParams(level="O1"), model=folder)
    assert facts["ran"] is ran
    assert facts["files"]["model.onnx"]["nodes"] == 1


def test_a_folder_without_a_graph():
    with pytest.raises(CheckFailed) as caught:
        run_step(run, OptimizeParams(level="O1"), model=checkpoint("vit"))
    assert str(caught.value) == "OBE41 the input has no .onnx file"


def test_a_damaged_graph():
    folder = scratch()
    (folder / "model.onnx").write_bytes(b"<html>denied</html>")
    with pytest.raises(CheckFailed) as caught:
        run_step(run, OptimizeParams(level="O1"), model=folder)
    assert str(caught.value) == "OBE41 model.onnx is not an ONNX model"
