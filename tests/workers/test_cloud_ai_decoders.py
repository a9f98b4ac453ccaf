"""Decoders for Cloud AI 100 in the host double of their program: the tokens are those of PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cloud_ai_models import CONFIGS, CONTEXT, NEW, greedy, prompts, random_decoder, write_program, write_settings

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.compiling.qaic_backend import QaicParams
from onnxbuild.workers.compile.qaic.host_double import HostDouble
from onnxbuild.workers.compile.qaic.retained_decoding import Decoded, Decoder, ProgramShape
from onnxbuild.workers.compile.qaic.retained_graph import export_decoder
from onnxbuild.workers.compile.qaic.state_rounding import in_float16, in_mxint8

ROWS = 3  # of the programs with more than one


def decode(folder: Path, params: QaicParams, layers: int, texts: list[list[int]], **more: Any) -> Decoded:
    write_settings(folder, params, layers)
    session = HostDouble(folder / "model.onnx", folder)
    return Decoder(session, ProgramShape.of(session.specializations), **more).decode(texts, NEW)


@pytest.fixture(scope="module", params=list(CONFIGS))
def family(request, tmp_path_factory) -> tuple[Path, int, list[tuple[int, ...]]]:
    """A checkpoint, its layers, and what PyTorch continues the prompts with."""
    model = random_decoder(request.param)
    checkpoint = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(checkpoint)
    wanted = [greedy(model, prompt) for prompt in prompts()]
    assert len({token for answer in wanted for token in answer}) > 5, "the answers could be right by chance"
    return checkpoint, model.config.num_hidden_layers, wanted


def test_tokens_are_those_of_pytorch(family, tmp_path):
    checkpoint, layers, wanted = family
    folder = write_program(checkpoint, tmp_path / "plain", QaicParams(ctx_len=CONTEXT))
    for chunk in (1, 8, 32):
        for rows in (1, ROWS):
            params = QaicParams(prefill_seq_len=chunk, ctx_len=CONTEXT, batch_size=rows)
            assert decode(folder, params, layers, prompts()).tokens == tuple(wanted), (chunk, rows)


def test_continuous_batching_fills_rows_as_they_become_free(family, tmp_path):
    checkpoint, layers, wanted = family
    folder = write_program(checkpoint, tmp_path / "batched", QaicParams(ctx_len=CONTEXT, full_batch_size=ROWS))
    for chunk in (1, 8, 32):
        params = QaicParams(prefill_seq_len=chunk, ctx_len=CONTEXT, full_batch_size=ROWS)
        assert decode(folder, params, layers, prompts()).tokens == tuple(wanted), chunk


@pytest.mark.parametrize("family", ["mistral", "gemma3_text"])
def test_a_window_shorter_than_a_chunk_hides_what_is_before_it(family, tmp_path):
    """Windows of 5 tokens: the prompts have up to 24, and each chunk of 8 or 32 has tokens that it hides again."""
    model = random_decoder(family, sliding_window=5)
    model.save_pretrained(tmp_path / "checkpoint")
    wanted = tuple(greedy(model, prompt) for prompt in prompts())
    wide = random_decoder(family, sliding_window=60)
    assert wanted != tuple(greedy(wide, prompt) for prompt in prompts()), "the window would not show"
    layers = model.config.num_hidden_layers
    for rows, chunks in (({}, (8, 32)), ({"full_batch_size": ROWS}, (8,))):
        folder = write_program(tmp_path / "checkpoint", tmp_path / f"{len(rows)}", QaicParams(ctx_len=CONTEXT, **rows))
        for chunk in chunks:
            params = QaicParams(prefill_seq_len=chunk, ctx_len=CONTEXT, **rows)
            assert decode(folder, params, layers, prompts()).tokens == wanted, (chunk, rows)


@pytest.mark.parametrize("name", ["gpt2", "gemma3_text"])
def test_the_graph_for_an_old_sdk_has_its_opset_and_the_same_tokens(name, tmp_path):
    model = random_decoder(name)
    model.save_pretrained(tmp_path)
    params = QaicParams(prefill_seq_len=8, ctx_len=CONTEXT, full_batch_size=ROWS, sdk="1.20")
    folder = write_program(tmp_path, tmp_path / "old", params)
    assert [one.version for one in onnx.load(folder / "model.onnx").opset_import] == [13]
    wanted = tuple(greedy(model, prompt) for prompt in prompts())
    assert decode(folder, params, model.config.num_hidden_layers, prompts()).tokens == wanted


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory) -> tuple[Path, Any]:
    model = random_decoder("gpt2")
    checkpoint = tmp_path_factory.mktemp("gpt2")
    model.save_pretrained(checkpoint)
    params = QaicParams(prefill_seq_len=8, ctx_len=CONTEXT, batch_size=2)
    return write_program(checkpoint, checkpoint / "program", params), model


def test_the_graph_has_the_inputs_and_outputs_of_a_retained_cache(gpt2):
    folder, _ = gpt2
    model = onnx.load(folder / "model.onnx")
    states = [f"past_{part}.{layer}" for layer in (0, 1) for part in ("key", "value")]
    assert [one.name for one in model.graph.input] == ["input_ids", "position_ids", *states]
    assert [one.name for one in model.graph.output] == ["logits", *(f"{name}_RetainedState" for name in states)]
    shapes = {
        one.name: [size.dim_param or size.dim_value for size in one.type.tensor_type.shape.dim]
        for one in (*model.graph.input, *model.graph.output)
    }
    assert shapes["position_ids"] == ["batch_size", "seq_len"]
    assert shapes["past_key.1"] == shapes["past_key.1_RetainedState"] == ["batch_size", 3, "ctx_len", 12]
    assert shapes["logits"] == ["batch_size", 1, 97]
    assert {node.domain for node in model.graph.node} == {""}
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)]


def test_a_text_ends_with_a_stop_token_and_with_a_full_cache(gpt2):
    folder, model = gpt2
    params = QaicParams(prefill_seq_len=8, ctx_len=CONTEXT, batch_size=2)
    (whole, *_) = decode(folder, params, 2, prompts()[:1]).tokens
    place = next(place for place, token in enumerate(whole) if token not in whole[:place] and place > 0)
    (stopped, *_) = decode(folder, params, 2, prompts()[:1], stops={whole[place]}).tokens
    assert stopped == whole[: place + 1]
    session = HostDouble(folder / "model.onnx", folder)
    long = (prompts()[2] + prompts()[0])[: CONTEXT - 2]
    (full,) = Decoder(session, ProgramShape.of(session.specializations)).decode([long], 10).tokens
    assert full == greedy(model, long, 3), "two more tokens fit, and the last answer is not written"


def test_what_cannot_be_written_is_refused(gpt2, tmp_path):
    folder, model = gpt2
    with pytest.raises(CheckFailed, match="a cache of 65 tokens is longer than the model's 64 positions"):
        export_decoder(folder.parent, tmp_path, batched=False, context=65, trusts_code=False)
    config = {**model.config.to_dict(), "model_type": "opt"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckFailed, match="onnxbuild cannot write a decoder of `opt`"):
        export_decoder(tmp_path, tmp_path, batched=False, context=9, trusts_code=False)
    config = {"model_type": "llama", "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckFailed, match="`rope_scaling` of type `dynamic` depends on the length"):
        export_decoder(tmp_path, tmp_path, batched=False, context=9, trusts_code=False)


def test_padding_changes_nothing_of_the_cache(gpt2):
    folder, _ = gpt2
    params = QaicParams(prefill_seq_len=8, ctx_len=CONTEXT, batch_size=2)
    write_settings(folder, params, 2)
    session = HostDouble(folder / "model.onnx", folder)
    before = {name: state.copy() for name, state in session._kept.items()}
    ids = np.full((2, 8), 5, np.int64)
    positions = np.full((2, 8), -1, np.int64)
    positions[0, :3] = (7, 8, 9)
    session.run({"input_ids": ids, "position_ids": positions})
    for name, state in session._kept.items():
        changed = np.argwhere((state != in_float16(before[name])).any(axis=(1, 3)))
        assert changed.tolist() == [[0, 7], [0, 8], [0, 9]], name


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 7), "no specialization has the shapes {'input_ids': (2, 7), 'position_ids': (2, 7)}; it has "),
        ((1, 8), "no specialization has the shapes {'input_ids': (1, 8), 'position_ids': (1, 8)}; it has "),
    ],
)
def test_other_shapes_are_refused(gpt2, shape, message):
    folder, _ = gpt2
    write_settings(folder, QaicParams(prefill_seq_len=8, ctx_len=CONTEXT, batch_size=2), 2)
    session = HostDouble(folder / "model.onnx", folder)
    with pytest.raises(CheckFailed) as caught:
        session.run({"input_ids": np.zeros(shape, np.int64), "position_ids": np.zeros(shape, np.int64)})
    assert caught.value.failure.code == "OBE241"
    assert caught.value.failure.message.startswith(message)


def test_other_inputs_and_types_are_refused(gpt2):
    folder, _ = gpt2
    write_settings(folder, QaicParams(prefill_seq_len=8, ctx_len=CONTEXT, batch_size=2), 2)
    session = HostDouble(folder / "model.onnx", folder)
    ids = np.zeros((2, 8), np.int64)
    with pytest.raises(CheckFailed, match="the program takes input_ids, position_ids, and was given input_ids"):
        session.run({"input_ids": ids})
    with pytest.raises(CheckFailed, match="`position_ids` is int32, and the program takes int64"):
        session.run({"input_ids": ids, "position_ids": ids.astype(np.int32)})


def test_a_cache_with_two_precisions_is_refused(gpt2, tmp_path):
    folder, _ = gpt2
    write_settings(tmp_path, QaicParams(prefill_seq_len=8, ctx_len=CONTEXT, batch_size=2), 2)
    path = tmp_path / "custom_io.yaml"
    path.write_text(path.read_text().replace("float16", "mxint8", 1))
    with pytest.raises(CheckFailed, match=r"custom_io\.yaml gives `past_key.0` two precisions"):
        HostDouble(folder / "model.onnx", tmp_path)


def test_the_cache_is_rounded(gpt2, tmp_path):
    folder, _ = gpt2
    ids = np.array([[9, 4, 77], [1, 2, 3]])
    positions = np.array([[0, 1, 2], [0, 1, 2]])
    states = {}
    for name, precision in (("float16", {}), ("mxint8", {"mxint8_kv": True})):
        write_settings(tmp_path, QaicParams(prefill_seq_len=3, ctx_len=CONTEXT, batch_size=2, **precision), 2)
        session = HostDouble(folder / "model.onnx", tmp_path)
        session.run({"input_ids": ids, "position_ids": positions})
        states[name] = session._kept["past_value.0"][:, :, :3]
    (tmp_path / "custom_io.yaml").unlink()
    session = HostDouble(folder / "model.onnx", tmp_path)
    session.run({"input_ids": ids, "position_ids": positions})
    exact = session._kept["past_value.0"][:, :, :3]
    assert (states["float16"] != exact).any()
    np.testing.assert_array_equal(states["float16"], in_float16(exact))
    np.testing.assert_array_equal(states["mxint8"], in_mxint8(exact))


def test_mxint8_shares_a_power_of_two_in_blocks_of_32():
    values = np.zeros((1, 33), np.float32)
    values[0, :4] = (3.0, 0.03, -3.984375, 1.5)  # scale 2, so that steps are 1/32
    values[0, 32] = 0.03  # alone in its block: scale 1/64, steps of 1/4096
    rounded = in_mxint8(values)[0]
    assert rounded[:4].tolist() == [3.0, 0.03125, -3.96875, 1.5]
    assert rounded[32] == pytest.approx(123 / 4096, abs=0)
    assert in_mxint8(np.zeros((2, 5), np.float32)).tolist() == np.zeros((2, 5)).tolist()


def test_both_forms_of_specializations_are_read(gpt2, tmp_path):
    for sdk, first in (("1.21", {"batch_size": "1", "seq_len": "8", "ctx_len": "41"}), ("1.23", None)):
        write_settings(tmp_path, QaicParams(prefill_seq_len=8, ctx_len=CONTEXT, sdk=sdk), 2)
        written = json.loads((tmp_path / "specializations.json").read_text())["specializations"]
        if first is not None:
            assert written[0] == first
        session = HostDouble(gpt2[0] / "model.onnx", tmp_path)
        assert ProgramShape.of(session.specializations) == ProgramShape(8, CONTEXT, 1, batched=False)
