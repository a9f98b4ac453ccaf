"""What converters did wrong for Transformers.js, one test each: no package has these faults.

The others have their tests elsewhere: processors, chat templates and chunks in `test_javascript_package.py`; kernels in
`tests/rules/OB775` and there; pages in `test_javascript_clients.py` and `tests/docs/test_javascript_page.py`. No step
writes GatherBlockQuantized, so lint has no rule for it, and the check with a browser names it in graphs from elsewhere.
"""

from __future__ import annotations

import json
import logging
import shutil
from importlib.metadata import requires
from pathlib import Path

import numpy as np
import onnx
import pytest
from families import checkpoint, exported, run_step, scratch
from onnx import TensorProto

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.packaging.transformers_js import JavaScriptClientParams, JavaScriptParams
from onnxbuild.steps.precision import PrecisionParams
from onnxbuild.steps.quantize import QuantizeParams
from onnxbuild.workers.graphs.walk import graphs_of, nodes_of
from onnxbuild.workers.package.javascript.dtype_files import write_dtype
from onnxbuild.workers.package.javascript.javascript_client import run_cases
from onnxbuild.workers.package.javascript.javascript_package import run as write_package
from onnxbuild.workers.package.javascript.node_project import ClientAbsent, node, project_folder
from onnxbuild.workers.precision.worker import run as convert
from onnxbuild.workers.quantize.worker import run as quantize

pytestmark = pytest.mark.heavy


def half(family: str, **changes) -> Path:
    return run_step(convert, PrecisionParams(dtype="fp16", **changes), model=exported(family)[1])[1]


def four_bits(family: str) -> Path:
    params = QuantizeParams(method="weight-only", bits=4, symmetric=True, accuracy_level=0)
    return run_step(quantize, params, model=exported(family)[1])[1]


def written(family: str, task: str, **graphs: Path) -> tuple[dict, Path]:
    params = JavaScriptParams(task=task, graphs={dtype: dtype for dtype in graphs}, default_dtype="fp16")
    ports = {f"graph-{dtype}": folder for dtype, folder in graphs.items()}
    return run_step(write_package, params, "package", model=checkpoint(family), **ports)


def skip_without_library() -> None:
    try:
        node()
        project_folder(4, lambda *_: None)
    except (ClientAbsent, CheckFailed) as absent:
        pytest.skip(str(absent))


def test_nodes_of_half_precision_are_sorted():
    """ONNX Runtime's converter appends its casts at the end, and the checker of onnx refuses the graph."""
    onnx.checker.check_model(half("gpt2") / "model.onnx")


def test_branches_of_a_merged_decoder_are_halved_and_valid():
    """Converted as one graph, it returns a value from outside its branches; left alone, it stays in fp32."""
    path = half("t5") / "decoder_model_merged.onnx"
    onnx.checker.check_model(path)
    model = onnx.load(path)
    assert len(list(graphs_of(model.graph))) == 3  # the graph, and the branches of its If
    types = {one.data_type for graph in graphs_of(model.graph) for one in graph.initializer if len(one.dims) > 1}
    assert types == {TensorProto.FLOAT16}


def test_four_bits_are_quantized_without_a_line_in_the_log(caplog, capfd):
    """ONNX Runtime's quantizer writes one for each node, and imports onnx_ir without requiring it."""
    with caplog.at_level(logging.INFO):
        four_bits("gpt2")
    assert [record.getMessage() for record in caplog.records] == []
    assert capfd.readouterr().out == ""
    assert any(one.startswith("onnx-ir") for one in requires("onnxbuild"))


def test_embeddings_stay_in_float_at_four_bits():
    """WebAssembly and WebGPU of Transformers.js 4 have no kernel for GatherBlockQuantized."""
    operators = {node.op_type for node in nodes_of(onnx.load(four_bits("gpt2") / "model.onnx"))}
    assert {"Gather", "MatMulNBits"} <= operators
    assert "GatherBlockQuantized" not in operators


def test_past_in_half_precision_is_told_to_old_versions():
    """Up to 4.1 the library feeds a past in fp32 unless `kv_cache_dtype` says otherwise."""
    facts, folder = written(
        "gpt2", "text-generation-with-past", fp16=half("gpt2", keep_io_types=False), fp32=exported("gpt2")[1]
    )
    assert facts["settings"]["kv_cache_dtype"] == {"fp16": "float16"}
    config = json.loads((folder / "config.json").read_text())
    assert config["transformers.js_config"] == {"dtype": "fp16", "kv_cache_dtype": {"fp16": "float16"}}


def test_past_in_fp32_needs_no_word():
    facts, _ = written("gpt2", "text-generation-with-past", fp16=half("gpt2"))
    assert facts["settings"] == {"dtype": "fp16"}


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_tokenizer_gives_what_the_graph_reads(family):
    """PreTrainedTokenizerFast adds token_type_ids unless `model_input_names` leaves them out."""
    names = json.loads((checkpoint(family) / "tokenizer_config.json").read_text())["model_input_names"]
    read = {one.name for one in onnx.load(exported(family)[1] / "model.onnx").graph.input}
    assert set(names) <= read
    assert ("token_type_ids" in names) == (family == "bert")


def test_words_of_whisper_get_times(tmp_path):
    """The library aligns them by `cross_attentions.N`, which have to be those of PyTorch."""
    import onnxruntime
    import torch
    from transformers import WhisperForConditionalGeneration

    graphs = tmp_path / "graphs"
    shutil.copytree(exported("whisper")[1], graphs)
    path = graphs / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "alignment_heads": [[0, 1], [1, 0]]}))
    task = "automatic-speech-recognition-with-past"
    params = JavaScriptParams(task=task, graphs={"fp32": "plain"}, default_dtype="fp32", word_timestamps=True)
    inputs = {"model": checkpoint("whisper"), "graph-plain": graphs}
    folder = run_step(write_package, params, "package", **inputs)[1]
    decoder = onnxruntime.InferenceSession(folder / "onnx/decoder_model_merged.onnx")
    hidden = np.random.default_rng(3).normal(size=(1, 1500, 32)).astype(np.float32)
    ids = np.array([[1, 7, 31]])
    feeds = {"input_ids": ids, "encoder_hidden_states": hidden, "use_cache_branch": np.array([False])}
    read = {one.name for one in decoder.get_inputs()}
    feeds |= {name: np.zeros((1, 2, 0, 16), np.float32) for name in read if name.startswith("past")}
    found = decoder.run(["cross_attentions.0", "cross_attentions.1"], feeds)
    model = WhisperForConditionalGeneration.from_pretrained(checkpoint("whisper"), attn_implementation="eager").eval()
    with torch.no_grad():
        wanted = model(
            decoder_input_ids=torch.tensor(ids),
            encoder_outputs=(torch.tensor(hidden),),
            output_attentions=True,
        ).cross_attentions
    assert [one.shape for one in found] == [(1, 2, 3, 1500)] * 2
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-3, atol=1e-7)
    skip_without_library()
    client = JavaScriptClientParams(task=task, graphs={"fp32": "plain"}, word_timestamps=True)
    cases, _ = run_cases(client, folder, lambda *_: None)
    assert cases["node/fp32"]["equal"], cases


def test_whisper_without_alignment_heads_is_refused():
    with pytest.raises(CheckFailed) as failed:
        write_dtype(exported("whisper")[1], scratch(), "fp32", 2_000_000_000, attentions=True)
    assert failed.value.failure.code == "OBE197"


def test_failed_case_does_not_fail_the_next():
    """After one session that failed, the library gives later ones of the same process the same error."""
    skip_without_library()
    _, folder = written("bert", "text-classification", fp16=exported("bert")[1], fp32=exported("bert")[1])
    (folder / "onnx/model_fp16.onnx").write_bytes(b"no graph")
    params = JavaScriptClientParams(task="text-classification", graphs={"fp16": "fp16", "fp32": "fp32"})
    cases, _ = run_cases(params, folder, lambda *_: None)
    assert list(cases) == ["node/fp16", "node/fp32"]
    assert not cases["node/fp16"]["loads"]
    assert cases["node/fp32"]["equal"]
