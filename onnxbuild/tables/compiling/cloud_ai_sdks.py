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

# What onnxbuild writes itself: `options` may not repeat it, since the compiler would have two of them.
OWN_OPTIONS = frozenset(
    {
        "m",
        "aic-hw",
        "aic-hw-version",
        "compile-only",
        "retained-state",
        "convert-to-fp16",
        "mxfp6-matmul",
        "aic-num-cores",
        "mdp-load-partition-config",
        "network-specialization-config",
        "custom-IO-list-file",
        "aic-binary-dir",
    }
)


def flag_of(option: str) -> str:
    """An option of a manifest as the compiler writes it: `aic_enable_depth_first` is `aic-enable-depth-first`."""
    return option.replace("_", "-")
