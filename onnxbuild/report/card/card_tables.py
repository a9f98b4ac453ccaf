"""The tables of a card. Their cells are those of the other reports, without what a reader of a card has no use for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from onnxbuild.protocol import json_text
from onnxbuild.report.card.subject import Subject
from onnxbuild.report.evidence.evidence import Step
from onnxbuild.report.evidence.figure_tables import Table, check_table, latency_table, variant_table
from onnxbuild.report.markdown_text import code, escaped, table
from onnxbuild.report.result.figures import NONE, megabytes
from onnxbuild.report.result.package_table import check_in_words
from onnxbuild.report.result.table_layout import Cell
from onnxbuild.report.wording import size_in_words
from onnxbuild.steps import KINDS
from onnxbuild.tables.choices import BEST

_ACCURACY = ("variant", "metric", "value", "interval", "bound", "verdict", "ran on", "compared on")
_SPEED = (
    "variant", "engine", "stage", "batch", "tokens", "ran as", "past", "threads", "p50", "p90", "samples/s", "tokens/s",
    "speed-up", "contended",
)  # fmt: skip
_VERDICTS = {"passed": "passed", "warned": "passed with a warning", "failed": "**FAILED**", None: "none"}
_LONGEST = 200  # characters of a value in the table of steps; `onnxbuild.json` has the rest
# What every step repeats, or what only says how a result is found again.
_HIDDEN = frozenset({"rows", "files", "task", "thresholds", "shapes", "origin", "repo", "revision"})
_NOTHING: tuple[Any, ...] = ("", None, 0, [], (), {})


def variants(subject: Subject) -> str:
    """One row per variant, with its folder; a variant that failed has none."""
    shown = variant_table(subject.evidence)
    folders = [code(f"{one.target}/") if one.target in subject.folders else NONE for one in subject.variants]
    rows = [
        [escaped(one.target), folder, _VERDICTS[one.row.verdict], *map(_cell, row[1:])]
        for one, folder, row in zip(subject.variants, folders, shown.rows, strict=True)
    ]
    return table(["variant", "folder", "validation", *map(escaped, shown.head[1:])], rows)


def accuracy(subject: Subject) -> str:
    """One row per metric of each validation; empty if there is none."""
    return _some(check_table(subject.evidence), _ACCURACY)


def speed(subject: Subject) -> str:
    """One row per engine and configuration; empty if nothing was measured."""
    return _some(latency_table(subject.evidence), _SPEED)


def packages(subject: Subject) -> str:
    """One row per package that was built: which variants are in it, and what its client says; empty without any."""
    rows = [
        [
            code(f"{row.name.partition('/')[2]}/"),
            escaped(", ".join(row.targets)) or NONE,
            megabytes(row.size_bytes),
            NONE if row.files is None else f"{row.files:,}",
            escaped(check_in_words(row)),
        ]
        for row in subject.packages
    ]
    return table(["folder", "variants", "size", "files", "check with the client"], rows) if rows else ""


def _some(whole: Table, wanted: Sequence[str]) -> str:
    """Some columns of a table; the name of the model, which all rows share, is left out."""
    numbers = [whole.head.index(name) for name in wanted if name in whole.head]
    rows = [[_cell(row[number], number) for number in numbers] for row in whole.rows]
    return table([escaped(whole.head[number]) for number in numbers], rows) if rows else ""


def _cell(cell: Cell, number: int = 1) -> str:
    text = escaped(cell.text.partition("/")[2] if number == 0 else cell.text)
    return f"**{text}**" if cell.wrong else text


def files(subject: Subject) -> str:
    """The files of each folder that a runtime loads, or that a backend has written, with sizes and digests."""
    rows = [
        [code(f"{_folder(subject, variant.target)}/{file.name}"), size_in_words(file.size), code(file.digest)]
        for variant, folder in subject.named()
        for file in folder.files
        if file.name in folder.of_model
    ]
    return table(["file", "size", "BLAKE3"], rows)


def _folder(subject: Subject, target: str) -> str:
    """The name of a folder, with that of its copy."""
    chosen = subject.chosen.best if subject.chosen is not None else None
    return f"{{{target},{BEST}}}" if chosen is not None and chosen.variant.target == target else target


def steps(subject: Subject) -> str:
    """How the variants were made: each step once, with the params that differ from the default."""
    made = {step.id: step for variant in subject.variants for step in variant.steps}
    users = {
        name: [variant.target for variant in subject.variants if any(step.id == name for step in variant.steps)]
        for name in made
    }
    rows = [[escaped(step.kind), escaped(", ".join(users[name])), _params(step)] for name, step in made.items()]
    return table(["step", "variants", "parameters"], rows)


def _params(step: Step) -> str:
    defaults = _defaults(step.kind)
    shown = (f"{name} {_value(value)}" for name, value in step.params.items() if _is_telling(name, value, defaults))
    text = ", ".join(shown)
    return escaped(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…") or NONE


def _defaults(kind: str) -> Mapping[str, Any]:
    """The default of each param that has one, as JSON has it; none of a kind that is not ours."""
    params = KINDS[kind].params if kind in KINDS else None
    fields = msgspec.structs.fields(params) if params is not None else ()
    known = (field for field in fields if not isinstance(field.default, (msgspec.UnsetType, type(msgspec.NODEFAULT))))
    return {field.name: msgspec.to_builtins(field.default) for field in known}


def _is_telling(name: str, value: Any, defaults: Mapping[str, Any]) -> bool:
    return name not in _HIDDEN and value not in _NOTHING and value != defaults.get(name)


def _value(value: Any) -> str:
    """Texts as they are, the items of a plain list with blanks between them, and all else as JSON."""
    if isinstance(value, list | tuple) and not any(isinstance(one, list | tuple | Mapping) for one in value):
        return " ".join(map(_value, value))
    return value if isinstance(value, str) else json_text(value)
