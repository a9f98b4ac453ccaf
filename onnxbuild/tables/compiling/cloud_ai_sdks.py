"""What the compiler of each Cloud AI SDK is called, and how it is told what to do.

Read from the tags of Qualcomm's Efficient Transformers. Documents of Qualcomm still say `qaic-exec` for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class CloudAiSdk(Struct, frozen=True, kw_only=True):
    """The compiler of one SDK: its name, the arguments that always come first, and the form of specializations.

    `names_hardware`: it takes `-aic-hw-version`. `names_specializations`: `specializations.json` gives each a name.
    """

    program: str
    head: tuple[str, ...]
    names_hardware: bool = True
    names_specializations: bool = True


SDKS: Mapping[str, CloudAiSdk] = {
    "1.21": CloudAiSdk(
        program="qaic-exec",
        head=("-aic-hw", "-compile-only"),
        names_hardware=False,
        names_specializations=False,
    ),
    "1.22": CloudAiSdk(program="qaic-compile", head=("-aic-hw",)),
    "1.23": CloudAiSdk(program="qaic-compile", head=("-aic-hw",)),
}

# A program of the platform SDK. Where it is on the PATH, compiled programs run on the card; `dev/`, beside the folder
# that it is in, has the modules for Python.
CARD_TOOL = "qaic-util"

# What onnxbuild writes itself, and the param that stands for it: with `options`, the compiler would have two of them.
# None: it is always written, and no param changes it.
OWN_OPTIONS: Mapping[str, str | None] = {
    "m": None,
    "aic-hw": None,
    "aic-hw-version": "hw_version",
    "compile-only": None,
    "retained-state": None,
    "convert-to-fp16": None,
    "mxfp6-matmul": "mxfp6",
    "aic-num-cores": "num_cores",
    "mdp-load-partition-config": "num_devices",
    "network-specialization-config": None,
    "custom-IO-list-file": "mxint8_kv",
    "aic-binary-dir": None,
    # Arguments of `compile()` in Efficient Transformers, which no compiler knows.
    "batch-size": "batch_size",
    "ctx-len": "ctx_len",
    "full-batch-size": "full_batch_size",
    "mxint8-kv-cache": "mxint8_kv",
    "num-cores": "num_cores",
    "num-devices": "num_devices",
    "mdp-ts-num-devices": "num_devices",
    "prefill-seq-len": "prefill_seq_len",
}

# Begins the options that spread a program over devices.
PARTITIONS = "mdp-"


def flag_of(option: str) -> str:
    """An option of a manifest as the compiler writes it: `aic_enable_depth_first` is `aic-enable-depth-first`."""
    return option.replace("_", "-")
