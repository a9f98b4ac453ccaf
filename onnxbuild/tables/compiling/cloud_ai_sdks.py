"""What the compiler of each Cloud AI SDK is called, and how it is told what to do.

Read from the tags of Qualcomm's Efficient Transformers, which have the versions of the SDK: `COMPILER` and
`DEFAULT_AIC_HW_VERSION` in `utils/constants.py`, `_compile` in `base/modeling_qeff.py`, and `compile/compile_helper.py`
up to 1.18. Documents of Qualcomm still say `qaic-exec` for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, structs


class CloudAiSdk(Struct, frozen=True, kw_only=True):
    """The compiler of one SDK.

    `program`: its name. `head`: the arguments that come first. `hardware`: what `-aic-hw-version` is given for each
    `hw_version`. `after_graph`: what follows `-m`. `names_specializations`: `specializations.json` gives each a name.
    `exec_rows`: what the symbol `full_batch_exec_size` counts in the prompts of continuous batching: all rows of the
    cache, or those that are read at once; None without the symbol. `opset`: that of the graphs of its time.
    """

    program: str = "qaic-exec"
    head: tuple[str, ...] = ("-aic-hw",)
    hardware: Mapping[str, str]
    after_graph: tuple[str, ...] = ()
    names_specializations: bool = False
    exec_rows: Literal["all", "read"] | None = "all"
    opset: int = 17


_BY_NAME = {"ai100": "ai100", "ai200": "ai200"}
_OF_1_20 = CloudAiSdk(hardware={"ai100": "2.0"}, after_graph=("-compile-only",), opset=13)
_OF_1_22 = CloudAiSdk(program="qaic-compile", hardware=_BY_NAME, names_specializations=True, exec_rows="read")

SDKS: Mapping[str, CloudAiSdk] = {
    "1.17": structs.replace(_OF_1_20, exec_rows=None),
    "1.18": structs.replace(_OF_1_20, exec_rows=None),
    "1.19": _OF_1_20,
    "1.20": _OF_1_20,
    "1.21": CloudAiSdk(head=("-aic-hw", "-compile-only"), hardware=_BY_NAME),
    "1.22": _OF_1_22,
    "1.23": _OF_1_22,
}

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
