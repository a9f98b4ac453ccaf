"""Model types that read more than text, pictures or audio: exported, validated, and compared with PyTorch by hand."""

from __future__ import annotations

import shutil
from functools import cache

import pytest

for module in ("torch", "optimum.onnxruntime"):
    pytest.importorskip(module)

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import torch  # noqa: E402
from families import run_step, scratch  # noqa: E402
from input_kind_models import MODELS  # noqa: E402

from onnxbuild.protocol import CheckFailed  # noqa: E402
from onnxbuild.steps.benchmark import BenchmarkParams  # noqa: E402
from onnxbuild.steps.export import ExportParams  # noqa: E402
from onnxbuild.steps.quantize import QuantizeParams  # noqa: E402
from onnxbuild.steps.validate import ValidateParams  # noqa: E402
from onnxbuild.tables.thresholds import default_bounds  # noqa: E402
from onnxbuild.workers.benchmark import worker as benchmark  # noqa: E402
from onnxbuild.workers.engines.onnxruntime_engine import open_session  # noqa: E402
from onnxbuild.workers.export import worker as export  # noqa: E402
from onnxbuild.workers.libraries.quiet import quiet  # noqa: E402
from onnxbuild.workers.quantize import worker as quantize  # noqa: E402
from onnxbuild.workers.validate import worker as validate  # noqa: E402

pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("ignore")]

GENERATE = {name: model for name, model in MODELS.items() if model.task.endswith("-with-past")}
# The encoder sees other outputs than the whole model, in the names of its exporter.
NAMES = {"mgp-str": lambda found: dict(zip(("char_logits", "bpe_logits", "wp_logits"), found.logits, strict=True))}


def checked(folder, checkpoint, task, precision="fp32"):
    bounds = default_bounds(task, {}, precision, has_labels=False)
    params = ValidateParams(task=task, precision=precision, thresholds=bounds)
    return run_step(validate.run, params, ports="report", model=folder, reference=checkpoint)[0]


def run_file(path, feeds):
    session = open_session(path, threads=1)
    given = {i.name: feeds[i.name].numpy() for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, map(torch.from_numpy, session.run(None, given)), strict=True))


@cache
def exported(name):
    checkpoint = scratch() / "checkpoint"
    model = MODELS[name].save(checkpoint)
    params = ExportParams(task=MODELS[name].task, exporter="optimum")
    return model, checkpoint, run_step(export.run, params, model=checkpoint)[1]


@pytest.mark.parametrize("name", MODELS)
def test_a_model_with_inputs_of_its_own(name):
    model, checkpoint, folder = exported(name)
    facts = checked(folder, checkpoint, MODELS[name].task)
    assert facts["metrics"]["max_abs"] < 1e-4
    assert facts["samples"]["rows"] >= 6
    feeds = MODELS[name].feeds(np.random.default_rng(31))
    if name in GENERATE:
        found, wanted = generated(name, folder, model, feeds)
        assert found.tolist() == wanted.tolist()
        return
    with torch.inference_mode():
        wanted = NAMES.get(name, dict)(model(**feeds))
    if name == "sam":
        assert facts["stages"] == ["mask_decoder", "vision_encoder"]
        feeds = {**feeds, **run_file(folder / "vision_encoder.onnx", feeds)}
    file = "prompt_encoder_mask_decoder.onnx" if name == "sam" else "model.onnx"
    for output, value in run_file(folder / file, feeds).items():
        torch.testing.assert_close(value, wanted[output], atol=1e-4, rtol=1e-3)


def generated(name, folder, model, feeds):
    """Greedy tokens by optimum's loader, and by PyTorch."""
    with quiet():
        from optimum.onnxruntime import ORTModelForPix2Struct, ORTModelForSpeechSeq2Seq

        loader = ORTModelForPix2Struct if name == "pix2struct" else ORTModelForSpeechSeq2Seq
        graphs = loader.from_pretrained(folder, use_cache=True, local_files_only=True)
        return [one.generate(**feeds, max_new_tokens=7, do_sample=False, num_beams=1) for one in (graphs, model)]


@pytest.mark.parametrize(
    ("name", "reads", "axes"),
    [("markuplm", "xpath_tags_seq", ["sequence_length", 7]), ("markuplm", "xpath_subs_seq", ["sequence_length", 7]),
     ("visual_bert", "visual_embeds", ["visual_seq_length", 20]), ("patchtsmixer", "past_values", [40, 3]),
     ("mgp-str", "pixel_values", [3, 16, 40])],
)  # fmt: skip
def test_an_axis_that_can_only_have_one_size_says_so(name, reads, axes):
    session = open_session(exported(name)[2] / "model.onnx", threads=1)
    shapes = {one.name: one.shape for one in session.get_inputs()}
    assert shapes[reads] == ["batch_size", *axes]


@pytest.mark.parametrize(
    ("name", "file", "reads"),
    [("layoutlm", "model.onnx", "bbox"), ("markuplm", "model.onnx", "xpath_subs_seq"),
     ("visual_bert", "model.onnx", "visual_embeds"),
     ("sam", "prompt_encoder_mask_decoder.onnx", "input_points")],
)  # fmt: skip
def test_a_graph_that_does_not_read_one_of_its_inputs_fails(name, file, reads, tmp_path):
    _, checkpoint, folder = exported(name)
    deaf = shutil.copytree(folder, tmp_path / "deaf")
    graph = onnx.load(deaf / file)
    for node in graph.graph.node:
        node.input[:] = [f"no_{reads}" if one == reads else one for one in node.input]
    graph.graph.node.insert(0, onnx.helper.make_node("Sub", [reads, reads], [f"no_{reads}"]))
    onnx.save(graph, deaf / file)
    with pytest.raises(CheckFailed, match="OBE04"):
        checked(deaf, checkpoint, MODELS[name].task)


def test_the_last_of_several_outputs_without_known_names_counts(tmp_path):
    _, checkpoint, folder = exported("mgp-str")
    wrong = shutil.copytree(folder, tmp_path / "wrong")
    graph = onnx.load(wrong / "model.onnx")
    for node in graph.graph.node:
        node.output[:] = ["right" if one == "wp_logits" else one for one in node.output]
    graph.graph.node.append(onnx.helper.make_node("Neg", ["right"], ["wp_logits"]))
    onnx.save(graph, wrong / "model.onnx")
    with pytest.raises(CheckFailed, match=r"OBE04.*wp_logits"):
        checked(wrong, checkpoint, "feature-extraction")


def test_int8_of_a_model_that_reads_pages():
    _, checkpoint, folder = exported("layoutlm")
    quantized = run_step(quantize.run, QuantizeParams(method="dynamic", preset="avx512_vnni"), model=folder)[1]
    params = ValidateParams(task="text-classification", precision="int8", thresholds={"max_probability": 0.1})
    ports = {"model": quantized, "reference": checkpoint}
    assert run_step(validate.run, params, ports="report", **ports)[0]["metrics"]["max_probability"] > 0


def test_a_graph_without_config_and_task_is_judged_by_what_it_returns(tmp_path):
    _, _, folder = exported("mctct")
    (tmp_path / "alone").mkdir()
    shutil.copy(folder / "model.onnx", tmp_path / "alone")
    facts = checked(tmp_path / "alone", folder, "")
    assert facts["passed"]
    assert "perplexity_ratio" not in facts["thresholds"]
    written = ValidateParams(thresholds={"perplexity_ratio": 1.5})
    with pytest.raises(CheckFailed, match=r"`perplexity_ratio` is bounded by 1\.5, but this model has no output"):
        run_step(validate.run, written, ports="report", model=tmp_path / "alone", reference=tmp_path / "alone")


def test_both_graphs_of_a_model_that_cuts_out_objects_are_timed():
    _, checkpoint, folder = exported("sam")
    params = BenchmarkParams(task="feature-extraction", batch=(1,), sequence=(8,), threads=(1,), iterations=2, rounds=1)
    facts = run_step(benchmark.run, params, ports="samples", model=folder, reference=checkpoint)[0]
    assert [result["stage"] for result in facts["results"]] == ["vision_encoder", "mask_decoder"]
    assert set(facts["results"][1]["engines"]) == {"onnxruntime", "torch"}
