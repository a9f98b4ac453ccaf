"""A compiled program on a card, by the contract of the SDK's runtime: a stand-in for its modules plays the card."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

import devices_here
import numpy as np
import pytest
import stand_in_card
import torch
import transformers
from cloud_ai_models import CONTEXT, greedy, prompts, random_decoder, write_compiler

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.benchmark import BenchmarkParams
from onnxbuild.steps.compiling.qaic_backend import QAIC, QaicParams
from onnxbuild.steps.kind import Runtime
from onnxbuild.workers.benchmark.worker import run as benchmark
from onnxbuild.workers.compile.qaic import qaic_worker
from onnxbuild.workers.compile.qaic.card.card_session import CardSession
from onnxbuild.workers.engines.compiled.open_variant import open_variant, why_not_timed

RUNTIME = Runtime(backend="qaic", needs=("onnxruntime",))
MODULES = ("qaicrt", "QAicApi_pb2")


@pytest.fixture
def sdk(tmp_path, monkeypatch):
    """The compiler on the PATH, and its folder; `sdk()` puts the tools of a card beside it."""
    write_compiler(tmp_path / "tools")
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "path", list(sys.path))

    def install() -> Path:
        tools = stand_in_card.install(tmp_path / "sdk")
        monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
        return tools

    yield install
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gpt2")
    random_decoder("gpt2").save_pretrained(folder)
    return folder


def build(checkpoint: Path, folder: Path, **params: Any) -> dict[str, Any]:
    folder.mkdir()
    settings: dict[str, Any] = {"task": "text-generation", "ctx_len": CONTEXT, **params}
    return dict(qaic_worker.run(QaicParams(**settings), {"model": checkpoint}, {"model": folder}, lambda *_: None))


@pytest.mark.parametrize(
    ("chunk", "rows"),
    [(1, {}), (8, {"batch_size": 2}), (32, {}), (1, {"full_batch_size": 3}), (8, {"full_batch_size": 3})],
)
def test_tokens_on_a_card_are_those_of_pytorch(checkpoint, tmp_path, sdk, chunk, rows):
    build(checkpoint, tmp_path / "out", prefill_seq_len=chunk, **rows)
    sdk()
    variant = open_variant(tmp_path / "out", threads=1)
    assert isinstance(variant.session, CardSession)
    assert (variant.where.place, variant.where.name) == ("device", "Cloud AI 100")
    model = random_decoder("gpt2")
    told: list[int] = []
    tokens = [variant.continue_text(one, 12, (), told=told.append) for one in prompts()]
    assert tokens == [greedy(model, one, 12) for one in prompts()]
    assert told == [token for one in tokens for token in one]
    latency = variant.latency(prompts, 12, ())
    assert (latency["measured_on"], latency["new_tokens"]) == ("Cloud AI 100", 48)


def test_it_is_measured_only_where_a_card_is(checkpoint, tmp_path, sdk):
    build(checkpoint, tmp_path / "out", prefill_seq_len=8)
    assert why_not_timed(tmp_path / "out", RUNTIME) == "needs Cloud AI 100: a host double is not measured"
    sdk()
    assert why_not_timed(tmp_path / "out", RUNTIME) is None


def test_the_tools_of_a_card_are_no_card(checkpoint, tmp_path, sdk):
    """As on a build server: the program runs in the host double, and says why no card does."""
    build(checkpoint, tmp_path / "out", prefill_seq_len=8)
    tools = sdk()
    runtime = Runtime(backend="qaic", needs=RUNTIME.needs, uses=QAIC.runs_better_with(QaicParams()))
    for text, code, words in (
        ("Number of devices: 0\n", 0, "`qaic-util -q` finds no card"),
        ("QID 0\n\tStatus:Error\n", 0, "`qaic-util -q` finds no card that is ready (0: Error)"),
        ("Failed to get Runtime Platform\n", 255, "`qaic-util -q` ended with code 255: Failed to get Runtime Platform"),
    ):
        devices_here.card_tool(tools, text, code)
        assert open_variant(tmp_path / "out", threads=1).where.place == "host double"
        assert why_not_timed(tmp_path / "out", runtime) == f"needs Cloud AI 100: {words}"
    devices_here.card_tool(tools)
    assert why_not_timed(tmp_path / "out", runtime) is None


def test_what_is_only_prepared_runs_in_the_host_double_although_a_card_is_there(checkpoint, tmp_path, sdk, monkeypatch):
    tools = sdk()
    monkeypatch.setenv("PATH", str(tools))
    assert build(checkpoint, tmp_path / "out")["state"] == "prepared"
    variant = open_variant(tmp_path / "out", threads=1)
    assert variant.where.place == "host double"
    assert why_not_timed(tmp_path / "out", RUNTIME) == "needs Cloud AI 100: a host double is not measured"


def test_a_benchmark_times_the_program_and_its_latency(checkpoint, tmp_path, sdk):
    build(checkpoint, tmp_path / "out", prefill_seq_len=8, batch_size=2)
    sdk()
    params = BenchmarkParams(
        task="text-generation", runtime=RUNTIME, batch=(3,), sequence=(17,), iterations=2, warmup=1, rounds=1
    )
    (tmp_path / "samples").mkdir()
    inputs = {"model": tmp_path / "out", "reference": checkpoint}
    facts = benchmark(params, inputs, {"samples": tmp_path / "samples"}, lambda *_: None)
    assert facts["executed_on"] == {"place": "device", "name": "Cloud AI 100"}
    (result,) = facts["results"]
    assert set(result["engines"]) == {"qaic", "torch"}
    names = ("measured_on", "prompts", "new_tokens")
    assert [result["latency"][name] for name in names] == ["Cloud AI 100", 3, 3 * (CONTEXT - 17)]


def test_an_encoder_returns_the_pooled_vectors(tmp_path, sdk):
    torch.manual_seed(4)
    config = transformers.BertConfig(
        vocab_size=97, hidden_size=36, num_hidden_layers=2, num_attention_heads=3, intermediate_size=44
    )
    model = transformers.BertModel(config).eval()
    model.save_pretrained(tmp_path / "bert")
    build(tmp_path / "bert", tmp_path / "out", task="feature-extraction", pooling="mean", seq_len=(9, 5), batch_size=2)
    sdk()
    ids = np.random.default_rng(3).integers(5, 97, (3, 7))
    mask = np.array([[1] * 7, [1] * 4 + [0] * 3, [1] + [0] * 6])
    with torch.inference_mode():
        vectors = model(torch.tensor(ids), attention_mask=torch.tensor(mask)).last_hidden_state.numpy()
    wanted = (vectors * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
    variant = open_variant(tmp_path / "out", threads=1)
    feeds = {"input_ids": ids, "attention_mask": mask}
    np.testing.assert_allclose(variant.run("forward", feeds)["mean_pooled"], wanted, atol=2e-6)
    assert variant.latency_after(feeds) == {}


def test_a_program_leaves_the_card_with_its_engine(checkpoint, tmp_path, sdk):
    """At once, and not when the garbage is collected: the next action of the worker needs the cores."""
    build(checkpoint, tmp_path / "out")
    sdk()
    gc.disable()
    try:
        variant = open_variant(tmp_path / "out", threads=1)
        running = sys.modules["qaicrt"].Program
        assert running.running == 1
        del variant
        assert running.running == 0
    finally:
        gc.enable()


def test_several_devices_share_a_program(checkpoint, tmp_path, sdk):
    build(checkpoint, tmp_path / "out", num_devices=3)
    sdk()
    session = open_variant(tmp_path / "out", threads=1).session
    assert isinstance(session, CardSession)
    assert session._context.devices == [0, 1, 2]


def test_shapes_that_the_program_does_not_have(checkpoint, tmp_path, sdk):
    build(checkpoint, tmp_path / "out", prefill_seq_len=8)
    sdk()
    session = open_variant(tmp_path / "out", threads=1).session
    ids = np.ones((1, 7), np.int64)
    with pytest.raises(CheckFailed, match="no specialization has the shapes") as caught:
        session.run({"input_ids": ids, "position_ids": ids})
    assert caught.value.failure.code == "OBE241"
    with pytest.raises(CheckFailed, match=r"the program takes .*, and was given input_ids"):
        session.run({"input_ids": ids})


def test_a_card_that_refuses_a_call(checkpoint, tmp_path, sdk):
    build(checkpoint, tmp_path / "out", prefill_seq_len=8)
    sdk()
    session = open_variant(tmp_path / "out", threads=1).session
    session._allowed[0] = [[2, *shape[1:]] for shape in session._allowed[0]]
    ids = np.ones((2, 8), np.int64)
    with pytest.raises(CheckFailed, match="the card could not run the program: QS_ERROR") as caught:
        session.run({"input_ids": ids, "position_ids": ids})
    assert caught.value.failure.code == "OBE243"


def test_an_sdk_without_its_modules(checkpoint, tmp_path, sdk):
    build(checkpoint, tmp_path / "out")
    tools = sdk()
    next(tools.parent.rglob("QAicApi_pb2.py")).unlink()
    with pytest.raises(CheckFailed, match="Python cannot import the SDK's runtime: No module named 'QAicApi_pb2'"):
        open_variant(tmp_path / "out", threads=1)
