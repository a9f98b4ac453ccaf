"""What the compiler of Cloud AI 100 is given besides the graph: its files, and its command line.

The formats are those that Efficient Transformers writes, so that its `generate` also runs the result. Paths are
relative to the folder in which the compiler runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from onnxbuild.steps.compiling.qaic_backend import QaicParams
from onnxbuild.tables.compiling.cloud_ai_sdks import SDKS, flag_of
from onnxbuild.workers.compile.qaic.card.sdk_versions import SdkVersions
from onnxbuild.workers.compile.qaic.card_program import CUSTOM_IO, SPECIALIZATIONS, STATE

GRAPH = "model.onnx"
PROGRAM_FOLDER = "qpc"
PROGRAM_FILE = "qpc/programqpc.bin"
QCONFIG = "qconfig.json"

_NO_SDK = SdkVersions()


def decoder_symbols(params: QaicParams) -> list[tuple[str, dict[str, int]]]:
    """The specializations of a decoder: prompts in chunks, and single tokens; one if chunks are single tokens.

    With continuous batching, a prompt is read alone and written to its row of the cache, and all rows decode together.
    So it is with chunks of one token too: Efficient Transformers from 1.22 on lets those have all rows, for programs
    that only decode, and its own loop reads one prompt at a time.
    """
    full, exec_rows = params.full_batch_size, SDKS[params.sdk].exec_rows
    prompt = {"batch_size": params.batch_size, "seq_len": params.prefill_seq_len, "ctx_len": params.ctx_len}
    token = {**prompt, "seq_len": 1}
    if isinstance(full, int):
        prompt |= {"batch_size": 1, "full_batch_size": full}
        if exec_rows is not None:  # no dimension of the graph has this name
            prompt["full_batch_exec_size"] = full if exec_rows == "all" else 1
        token |= {"batch_size": full, "full_batch_size": full}
    both = [("Prefill", prompt), ("Decode", token)]
    return both[:1] if prompt == token else both


def encoder_symbols(params: QaicParams) -> list[tuple[str, dict[str, int]]]:
    """The specializations of an encoder: one for each length."""
    lengths = params.seq_len
    names = ["Embedding"] if len(lengths) == 1 else [f"Embedding_{place}" for place in range(len(lengths))]
    return [
        (name, {"batch_size": params.batch_size, "seq_len": length})
        for name, length in zip(names, lengths, strict=True)
    ]


def specializations_text(symbols: Sequence[tuple[str, Mapping[str, int]]], sdk: str) -> str:
    """`specializations.json` in the form of an SDK. All numbers are strings."""
    rows = [(name, {key: str(value) for key, value in of.items()}) for name, of in symbols]
    named = SDKS[sdk].names_specializations
    parts: list[Any] = [{"name": name, "symbols": of} if named else of for name, of in rows]
    return json.dumps({"specializations": parts}, indent=4) + "\n"


def custom_io_text(states: Sequence[str], precision: str) -> str:
    """`custom_io.yaml`: the precision of the cache, as it comes in and as it goes out."""
    names = [f"{state}{end}" for end in ("", STATE) for state in states]
    return "".join(f" - IOName: {name}\n   Precision: {precision}\n\n" for name in names)


def partitions_text(devices: int, cores: int) -> str:
    """`mdp_ts_N.json`: every tensor is sliced over all devices."""
    parts = [{"deviceId": device, "numCores": cores} for device in range(devices)]
    config = {
        "connections": [{"devices": list(range(devices)), "type": "p2p"}],
        "partitions": [{"name": "Partition0", "devices": parts}],
    }
    return json.dumps(config, indent=4) + "\n"


def partitions_name(devices: int) -> str:
    """The name of the file with the partitions."""
    return f"mdp_ts_{devices}.json"


def qconfig_text(
    params: QaicParams,
    config: Mapping[str, Any],
    symbols: Sequence[tuple[str, Mapping[str, int]]],
    versions: SdkVersions,
) -> str:
    """`qconfig.json`: what the program was made of. It has no paths of this machine."""
    compiler = {
        "enable_qnn": False,
        "compile_dir": ".",
        "specializations_file_path": SPECIALIZATIONS,
        "specializations": [dict(of) for _, of in symbols],
        "mdp_ts_num_devices": params.num_devices,
        "num_speculative_tokens": None,
        "aic_num_cores": params.num_cores,
        "mxfp6_matmul": params.mxfp6,
        "mxint8_kv_cache": params.mxint8_kv,
        "convert_to_fp16": True,
        **dict(params.options),
    }
    sdk = {"qaic_apps_version": versions.apps, "qaic_platform_version": versions.platform}
    qeff = {"pytorch_transforms": [], "onnx_transforms": [], "onnx_path": GRAPH}
    parts = {"QEff_config": qeff, "compiler_config": compiler, "aic_sdk_config": sdk}
    return json.dumps({"huggingface_config": config, "qpc_config": parts}, indent=4, sort_keys=True, default=str) + "\n"


def command_of(params: QaicParams, *, retained: bool) -> tuple[str, ...]:
    """The command line of the compiler, in the order of Efficient Transformers. `retained`: the graph has a cache."""
    sdk = SDKS[params.sdk]
    devices = params.num_devices
    partitions = [f"-mdp-load-partition-config={partitions_name(devices)}"] if devices > 1 else []
    custom_io = [f"-custom-IO-list-file={CUSTOM_IO}"] if retained else []
    return (
        sdk.program,
        *sdk.head,
        f"-aic-hw-version={sdk.hardware[params.hw_version]}",
        f"-m={GRAPH}",
        *sdk.after_graph,
        *(["-retained-state"] if retained else []),
        "-convert-to-fp16",
        *(["-mxfp6-matmul"] if params.mxfp6 else []),
        f"-aic-num-cores={params.num_cores}",
        *_flags(params.options),
        *partitions,
        f"-network-specialization-config={SPECIALIZATIONS}",
        *custom_io,
        f"-aic-binary-dir={PROGRAM_FOLDER}",
    )


def _flags(options: Mapping[str, bool | int | str]) -> list[str]:
    """`true` is a flag of its own, `false` none, and everything else a value."""
    named = [(f"-{flag_of(option)}", value) for option, value in options.items() if value is not False]
    return [flag if value is True else f"{flag}={value}" for flag, value in named]


def files_of(
    params: QaicParams,
    config: Mapping[str, Any],
    symbols: Sequence[tuple[str, Mapping[str, int]]],
    states: Sequence[str],
    versions: SdkVersions = _NO_SDK,
) -> dict[str, str]:
    """Every file beside the graph, by name.

    `states`: the inputs of the cache, none for an encoder. `versions`: those of the SDK that compiles.
    """
    files = {
        SPECIALIZATIONS: specializations_text(symbols, params.sdk),
        QCONFIG: qconfig_text(params, config, symbols, versions),
    }
    if states:
        files[CUSTOM_IO] = custom_io_text(states, "mxint8" if params.mxint8_kv else "float16")
    if params.num_devices > 1:
        files[partitions_name(params.num_devices)] = partitions_text(params.num_devices, params.num_cores)
    return files
