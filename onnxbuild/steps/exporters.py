"""The exporters: what each needs, knows and can write, and which one `auto` picks. `exporter_types` has the types."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from msgspec import Struct

from onnxbuild.steps.kind import EVERYTHING
from onnxbuild.tables.exporter_types import GENAI, MOBIUS, OPTIMUM, TRANSFORMERS

Types = Mapping[str, str]  # task → model types, separated by blanks


class Exporter(Struct, frozen=True, kw_only=True):
    """An exporter: the packages in its key, the versions it works with (from, below), its opsets, types, precisions."""

    name: str
    packages: tuple[str, ...]
    needs: Mapping[str, tuple[str, str]]
    opsets: tuple[int, int]
    types: Types
    dtypes: tuple[str, ...] = ("fp32", "fp16")

    def knows(self, model_type: str, task: str) -> bool:
        """Whether the table has this task for this model type."""
        return model_type in self.types.get(task, "").split()

    def tasks_of(self, model_type: str) -> tuple[str, ...]:
        """The tasks that the table has for a model type; empty for an unknown type."""
        return tuple(task for task, types in self.types.items() if model_type in types.split())

    def lacks(self, versions: Mapping[str, str]) -> tuple[str, str] | None:
        """The first package whose known version is not supported, and that version; None if all are."""
        for package, (lowest, below) in self.needs.items():
            version = versions.get(package, "absent")
            if version != "absent" and not _between(version, lowest, below):
                return package, version
        return None


# Opsets and precisions are measured (docs/reference/export.md). So are the versions that the packages' metadata does
# not state.
EXPORTERS: Mapping[str, Exporter] = {
    exporter.name: exporter
    for exporter in (
        Exporter(
            name="optimum",
            packages=("optimum", "optimum-onnx", "transformers", "torch", "onnx"),
            needs={"transformers": ("4.36", "4.58"), "optimum": ("2.1", "2.2")},
            opsets=(14, 23),
            types=OPTIMUM,
        ),
        Exporter(
            name="transformers",
            packages=("transformers", "torch", "onnxscript", "onnx-ir", "onnx"),
            needs={"transformers": ("5.23", "6"), "torch": ("2.11", "3")},
            opsets=(18, 23),
            types=TRANSFORMERS,
        ),
        Exporter(
            name="mobius",
            packages=("mobius-onnx", "transformers", "torch", "onnxscript", "onnx-ir", "onnx-shape-inference", "onnx"),
            needs={"mobius-onnx": ("0.1", "0.2"), "transformers": ("5.23", "6"), "torch": ("2.13", "2.14")},
            opsets=(24, 24),
            types=MOBIUS,
        ),
        Exporter(
            name="genai",
            packages=("onnxruntime-genai", "transformers", "torch", "onnx-ir", "onnx"),
            # Its builder imports classes that transformers 4 does not have.
            needs={"onnxruntime-genai": ("0.18", "1"), "transformers": ("5.23", "6")},
            opsets=(22, 22),
            types=GENAI,
            dtypes=("fp32", "fp16", "q8", "q4"),
        ),
    )
}
# A custom exporter: nothing is known of what it supports, and it may import whatever is installed.
OWN_PACKAGES = ("transformers", "torch", "onnx", EVERYTHING)
OWN_OPSETS = (7, 26)

# The order in which `auto` looks for an exporter that knows the model. genai is left out: it writes for one runtime.
_AUTOMATIC = ("optimum", "transformers")


def pick(model_type: str, task: str, versions: Mapping[str, str]) -> str:
    """The exporter that `auto` stands for: the first that the toolchain's versions allow and that knows the model."""
    able = [name for name in _AUTOMATIC if EXPORTERS[name].lacks(versions) is None] or list(_AUTOMATIC[:1])
    known = [name for name in able if EXPORTERS[name].knows(model_type, task)]
    return (known or able)[0]


def reason(name: str, model_type: str, task: str) -> str:
    """Why an exporter is the one for a model, in words."""
    exporter = EXPORTERS.get(name)
    if exporter is None:
        return "a custom exporter of the manifest"
    if exporter.knows(model_type, task):
        return f"{name} knows {model_type} for {task}"
    return f"the toolchain's versions allow {name}; its table does not have {model_type} for {task}"


def recommended(name: str, versions: Mapping[str, str]) -> str:
    """An exporter as it is written in a model, with the toolchain that it needs where this one cannot run it."""
    return f"`export: {{exporter: {name}}}`{remark(name, versions)}"


def remark(name: str, versions: Mapping[str, str]) -> str:
    """The toolchain that an exporter needs, if this one cannot run it."""
    conflict = EXPORTERS[name].lacks(versions)
    if conflict is None:
        return ""
    lowest, below = EXPORTERS[name].needs[conflict[0]]
    return f" in a toolchain with {conflict[0]} from {lowest} and below {below} (see docs/how-to/toolchains.md)"


def is_own(name: str) -> bool:
    """Whether a text names a custom exporter: `path/to/file.py:function` or `module:function`."""
    return ":" in name


@functools.cache
def _between(version: str, lowest: str, below: str) -> bool:
    return _numbers(lowest) <= _numbers(version) < _numbers(below)


def _numbers(version: str) -> tuple[int, ...]:
    """`4.57.6` as (4, 57, 6); the first part that is not a number ends it (`2.13.0+cpu`, `5.0rc1`)."""
    numbers: list[int] = []
    for part in version.partition("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)
