"""The files and the command line of the compiler of Cloud AI 100, as Efficient Transformers writes them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from onnxbuild.steps.compiling.qaic_backend import QaicParams
from onnxbuild.workers.compile.qaic.card.sdk_versions import SdkVersions
from onnxbuild.workers.compile.qaic.card_files import (
    command_of,
    custom_io_text,
    decoder_symbols,
    encoder_symbols,
    files_of,
    specializations_text,
)


def specializations(params: QaicParams, symbols: Any = decoder_symbols) -> list[dict[str, Any]]:
    return json.loads(specializations_text(symbols(params), params.sdk))["specializations"]


def test_specializations_with_names():
    assert specializations(QaicParams(prefill_seq_len=32, ctx_len=128)) == [
        {"name": "Prefill", "symbols": {"batch_size": "1", "seq_len": "32", "ctx_len": "128"}},
        {"name": "Decode", "symbols": {"batch_size": "1", "seq_len": "1", "ctx_len": "128"}},
    ]


@pytest.mark.parametrize("sdk", ["1.17", "1.20", "1.21"])
def test_specializations_up_to_the_sdk_1_21_are_flat(sdk):
    assert specializations(QaicParams(prefill_seq_len=9, ctx_len=77, batch_size=3, sdk=sdk)) == [
        {"batch_size": "3", "seq_len": "9", "ctx_len": "77"},
        {"batch_size": "3", "seq_len": "1", "ctx_len": "77"},
    ]


def test_a_prompt_that_is_read_token_by_token_has_one_specialization():
    assert [one["name"] for one in specializations(QaicParams(prefill_seq_len=1, ctx_len=9))] == ["Prefill"]


@pytest.mark.parametrize("chunk", [1, 16])
def test_continuous_batching_reads_one_prompt_at_a_time(chunk):
    assert specializations(QaicParams(prefill_seq_len=chunk, ctx_len=64, full_batch_size=5)) == [
        {
            "name": "Prefill",
            "symbols": {
                "batch_size": "1", "seq_len": str(chunk), "ctx_len": "64", "full_batch_size": "5",
                "full_batch_exec_size": "1",
            },
        },
        {"name": "Decode", "symbols": {"batch_size": "5", "seq_len": "1", "ctx_len": "64", "full_batch_size": "5"}},
    ]  # fmt: skip


@pytest.mark.parametrize(("sdk", "size"), [("1.18", None), ("1.19", "5"), ("1.21", "5"), ("1.22", "1")])
def test_the_rows_of_a_prompt_are_counted_as_the_sdk_does(sdk, size):
    """As `build_prefill_specialization` of the same version has it."""
    params = QaicParams(prefill_seq_len=16, ctx_len=64, full_batch_size=5, sdk=sdk)
    prompt, token = (row.get("symbols", row) for row in specializations(params))
    assert prompt.get("full_batch_exec_size") == size
    assert "full_batch_exec_size" not in token


def test_an_encoder_has_a_specialization_for_each_length():
    one, two = QaicParams(seq_len=(33,), batch_size=3), QaicParams(seq_len=(33, 128))
    assert specializations(one, encoder_symbols) == [
        {"name": "Embedding", "symbols": {"batch_size": "3", "seq_len": "33"}}
    ]
    assert [row["name"] for row in specializations(two, encoder_symbols)] == ["Embedding_0", "Embedding_1"]


def test_custom_io_names_each_state_twice():
    assert custom_io_text(["past_key.0", "past_value.0"], "mxint8") == (
        " - IOName: past_key.0\n   Precision: mxint8\n\n"
        " - IOName: past_value.0\n   Precision: mxint8\n\n"
        " - IOName: past_key.0_RetainedState\n   Precision: mxint8\n\n"
        " - IOName: past_value.0_RetainedState\n   Precision: mxint8\n\n"
    )


_END = (
    "-network-specialization-config=specializations.json",
    "-custom-IO-list-file=custom_io.yaml",
    "-aic-binary-dir=qpc",
)


@pytest.mark.parametrize(
    ("params", "command"),
    [
        (
            {},
            ("qaic-compile", "-aic-hw", "-aic-hw-version=ai100", "-m=model.onnx", "-retained-state", "-convert-to-fp16",
             "-aic-num-cores=16", *_END),
        ),
        (
            {"sdk": "1.21", "num_cores": 14},
            ("qaic-exec", "-aic-hw", "-compile-only", "-aic-hw-version=ai100", "-m=model.onnx", "-retained-state",
             "-convert-to-fp16", "-aic-num-cores=14", *_END),
        ),
        (
            {"sdk": "1.21", "hw_version": "ai200"},
            ("qaic-exec", "-aic-hw", "-compile-only", "-aic-hw-version=ai200", "-m=model.onnx", "-retained-state",
             "-convert-to-fp16", "-aic-num-cores=16", *_END),
        ),
        *(
            (
                {"sdk": sdk},
                ("qaic-exec", "-aic-hw", "-aic-hw-version=2.0", "-m=model.onnx", "-compile-only", "-retained-state",
                 "-convert-to-fp16", "-aic-num-cores=16", *_END),
            )
            for sdk in ("1.17", "1.18", "1.19", "1.20")
        ),
        (
            {"mxfp6": True, "num_devices": 2, "hw_version": "ai200", "sdk": "1.22",
             "options": {"aic_enable_depth_first": True, "mos": 1, "stats": False}},
            ("qaic-compile", "-aic-hw", "-aic-hw-version=ai200", "-m=model.onnx", "-retained-state", "-convert-to-fp16",
             "-mxfp6-matmul", "-aic-num-cores=16", "-aic-enable-depth-first", "-mos=1",
             "-mdp-load-partition-config=mdp_ts_2.json", *_END),
        ),
    ],
)  # fmt: skip
def test_command_by_sdk(params, command):
    assert command_of(QaicParams(**params), retained=True) == command


def test_an_encoder_keeps_nothing_on_the_card():
    assert command_of(QaicParams(), retained=False) == (
        "qaic-compile", "-aic-hw", "-aic-hw-version=ai100", "-m=model.onnx", "-convert-to-fp16", "-aic-num-cores=16",
        "-network-specialization-config=specializations.json", "-aic-binary-dir=qpc",
    )  # fmt: skip


def test_the_files_of_several_devices():
    params = QaicParams(num_devices=3, num_cores=14, ctx_len=64)
    files = files_of(params, {"model_type": "gpt2"}, decoder_symbols(params), ["past_key.0"])
    assert sorted(files) == ["custom_io.yaml", "mdp_ts_3.json", "qconfig.json", "specializations.json"]
    assert json.loads(files["mdp_ts_3.json"]) == {
        "connections": [{"devices": [0, 1, 2], "type": "p2p"}],
        "partitions": [{"name": "Partition0", "devices": [{"deviceId": i, "numCores": 14} for i in range(3)]}],
    }
    config = json.loads(files["qconfig.json"])
    assert config["huggingface_config"] == {"model_type": "gpt2"}
    assert config["qpc_config"]["compiler_config"]["mdp_ts_num_devices"] == 3
    assert not re.search(r'"/', files["qconfig.json"]), "a path of this machine"


def test_qconfig_has_the_versions_that_the_sdk_says():
    """By the keys of `create_and_dump_qconfigs`; null where no SDK is installed, and never the manifest's `sdk`."""
    params = QaicParams()
    written = [
        json.loads(files_of(params, {}, decoder_symbols(params), (), *more)["qconfig.json"])
        for more in ((), (SdkVersions("1.23.0.5", "1.23.1.2"),))
    ]
    assert [one["qpc_config"]["aic_sdk_config"] for one in written] == [
        {"qaic_apps_version": None, "qaic_platform_version": None},
        {"qaic_apps_version": "1.23.0.5", "qaic_platform_version": "1.23.1.2"},
    ]
