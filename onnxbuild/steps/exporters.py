"""The exporters: what each needs, knows and can write, and which one `auto` picks. `exporter_types` has the types."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from msgspec import Struct

from onnxbuild.steps.kind import EVERYTHING
from onnxbuild.tables.exporter_types import (
    GENAI,
    GENAI_FAILS,
    MOBIUS,
    OPTIMUM,
    OPTIMUM_FAILS,
    SENTENCE_TRANSFORMERS,
    TIMM,
    TRANSFORMERS,
    TRANSFORMERS_FAILS,
    Failing,
)

Types = Mapping[str, str]  # task → model types, separated by blanks


class Exporter(Struct, frozen=True, kw_only=True):
    """An exporter: the packages in its key, the versions it works with (from, below), its opsets, types, precisions.

    `fails` are types of its table that it does not export right. `requirement` brings an exporter that no other package
    brings along: a toolchain without it cannot run the exporter. If it `may_come_along` with another package, only a
    lock can say that it is missing.
    """

    name: str
    packages: tuple[str, ...]
    needs: Mapping[str, tuple[str, str]]
    opsets: tuple[int, int]
    types: Types
    dtypes: tuple[str, ...] = ("fp32", "fp16")
    fails: tuple[Failing, ...] = ()
    requirement: str | None = None
    may_come_along: bool = False

    def knows(self, model_type: str, task: str) -> bool:
        """Whether the table has this task for this model type, and the export is not known to fail."""
        return model_type in self.types.get(task, "").split() and self.failing(model_type, task) is None

    def failing(self, model_type: str, task: str) -> str | None:
        """Why a model type of the table is not exported right for a task; None if nothing is known against it."""
        return next((one.reason for one in self.fails if one.concerns(model_type, task)), None)

    def tasks_of(self, model_type: str) -> tuple[str, ...]:
        """The tasks that the exporter has for a model type; empty for an unknown type."""
        return tuple(task for task in self.types if self.knows(model_type, task))

    @property
    def package(self) -> str:
        """The distribution whose version is the exporter's."""
        return self.requirement.partition("==")[0] if self.requirement else self.name

    def is_missing(self, versions: Mapping[str, str]) -> bool:
        """Whether a toolchain is known to be without a package of the exporter that only a requirement brings."""
        return self.requirement is not None and versions.get(self.package) == "absent"

    def is_there(self, versions: Mapping[str, str]) -> bool:
        """Whether `auto` may take the exporter: it is known to be there, or every toolchain for its version has it."""
        unknown = "" if self.may_come_along else "absent"
        return self.requirement is None or versions.get(self.package, unknown) != "absent"

    def lacks(self, versions: Mapping[str, str]) -> tuple[str, str] | None:
        """The first package whose known version is not supported, and that version; None if all are."""
        for package, (lowest, below) in self.needs.items():
            version = versions.get(package, "absent")
            if version not in UNKNOWN and not _between(version, lowest, below):
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
            fails=OPTIMUM_FAILS,
        ),
        Exporter(
            name="transformers",
            packages=("transformers", "torch", "onnxscript", "onnx-ir", "onnx"),
            needs={"transformers": ("5.23", "6"), "torch": ("2.11", "3")},
            opsets=(18, 23),
            types=TRANSFORMERS,
            fails=TRANSFORMERS_FAILS,
        ),
        Exporter(
            name="mobius",
            packages=("mobius-onnx", "transformers", "torch", "onnxscript", "onnx-ir", "onnx-shape-inference", "onnx"),
            needs={"mobius-onnx": ("0.1", "0.2"), "transformers": ("5.23", "6"), "torch": ("2.13", "2.14")},
            opsets=(24, 24),
            types=MOBIUS,
            dtypes=("fp32",),
            requirement="mobius-onnx==0.1.0",
        ),
        Exporter(
            name="timm",
            packages=("timm", "torchvision", "torch", "onnx"),
            needs={"timm": ("1.0.16", "2")},  # the first that reads a folder
            opsets=(14, 20),
            types=TIMM,
            requirement="timm==1.0.31",
            may_come_along=True,
        ),
        Exporter(
            name="sentence_transformers",
            packages=("sentence-transformers", "transformers", "torch", "onnx"),
            needs={"sentence-transformers": ("5", "6")},
            opsets=(14, 20),
            types=SENTENCE_TRANSFORMERS,
            requirement="sentence-transformers==5.7.0",
            may_come_along=True,
        ),
        Exporter(
            name="genai",
            packages=("onnxruntime-genai", "transformers", "torch", "onnx-ir", "onnx"),
            # Its builder imports classes that transformers 4 does not have.
            needs={"onnxruntime-genai": ("0.18", "1"), "transformers": ("5.23", "6")},
            opsets=(22, 22),
            types=GENAI,
            fails=GENAI_FAILS,
            dtypes=("fp32", "fp16", "q8", "q4"),
            requirement="onnxruntime-genai==0.18.0",
        ),
    )
}
# What a version may be besides a number: not in the lock, or in the requirements without `==`.
UNPINNED = "unpinned"
UNKNOWN = frozenset({"absent", UNPINNED})

# A custom exporter: nothing is known of what it supports, and it may import whatever is installed.
OWN_PACKAGES = ("transformers", "torch", "onnx", EVERYTHING)
OWN_OPSETS = (7, 26)

# The order in which `auto` looks for an exporter that knows the model. genai is last: it writes for one runtime.
AUTOMATIC = ("optimum", "timm", "sentence_transformers", "transformers", "mobius", "genai")
# Those that only know checkpoints which transformers does not load.
OF_OTHER_LIBRARIES = ("timm", "sentence_transformers")


def pick(model_type: str, task: str, versions: Mapping[str, str]) -> str:
    """The exporter that `auto` stands for: the first that the toolchain's versions allow and that knows the model."""
    able = [name for name in AUTOMATIC if EXPORTERS[name].lacks(versions) is None]
    known = [name for name in able if EXPORTERS[name].knows(model_type, task)]
    there = [name for name in known if EXPORTERS[name].is_there(versions)]
    usual = [name for name in able if name not in OF_OTHER_LIBRARIES]
    return (there or usual or AUTOMATIC)[0]


def reason(name: str, model_type: str, task: str) -> str:
    """Why an exporter is the one for a model, in words."""
    exporter = EXPORTERS.get(name)
    if exporter is None:
        return "a custom exporter of the manifest"
    if exporter.knows(model_type, task):
        tried = [one for one in AUTOMATIC[: AUTOMATIC.index(name)] if one not in OF_OTHER_LIBRARIES]
        before = [one for one in tried if not EXPORTERS[one].knows(model_type, task)]
        others = f"; {' and '.join(before)} cannot export it" if before else ""
        return f"{name} knows {model_type} for {task}{others}"
    return f"the toolchain's versions allow {name}; its table does not have {model_type} for {task}"


def knows_type(model_type: str) -> bool:
    """Whether a table has the model type, for whatever task and whether or not it is exported right."""
    return any(model_type in types.split() for one in EXPORTERS.values() for types in one.types.values())


def what_each_lacks(model_type: str, task: str) -> str:
    """Why no exporter exports a model for a task: the reason of each that knows the type, then those that do not."""
    reasons = {name: _lack(one, model_type, task) for name, one in EXPORTERS.items()}
    # Whoever asks for a model of transformers need not read that timm does not know it.
    reasons = {name: why for name, why in reasons.items() if why is not None or name not in OF_OTHER_LIBRARIES}
    strangers = [name for name, why in reasons.items() if why is None]
    said = [f"{name}: {why}" for name, why in reasons.items() if why is not None]
    if strangers:
        *others, last = strangers
        names = f"{', '.join(others)} and {last}" if others else last
        said.append(f"{names} {'do' if others else 'does'} not know it")
    return "; ".join(said)


def _lack(exporter: Exporter, model_type: str, task: str) -> str | None:
    having = [one for one, types in exporter.types.items() if model_type in types.split()]
    tasks = exporter.tasks_of(model_type)
    asked = [task] if task in having else having
    failing = next((why for one in asked if (why := exporter.failing(model_type, one)) is not None), None)
    return failing or (f"exports it for {', '.join(tasks)} only" if tasks else None)


def recommended(name: str, versions: Mapping[str, str]) -> str:
    """An exporter as it is written in a model, with the toolchain that it needs where this one cannot run it."""
    return f"`export: {{exporter: {name}}}`{remark(name, versions)}"


def remark(name: str, versions: Mapping[str, str]) -> str:
    """The toolchain that an exporter needs, if this one cannot run it."""
    exporter = EXPORTERS[name]
    conflict = exporter.lacks(versions)
    if conflict is None:
        return f" with `{exporter.requirement}` in the toolchain" if exporter.is_missing(versions) else ""
    lowest, below = EXPORTERS[name].needs[conflict[0]]
    needed = f"{conflict[0]} from {lowest} and below {below}"
    return f" in a toolchain with {needed} (see how-to/toolchains in the documentation)"


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
