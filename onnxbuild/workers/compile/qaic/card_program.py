"""What a compiled program accepts, read from the files that its compiler was given.

`specializations.json` has two forms, by the version of the SDK: flat mappings, or names with symbols.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.protocol import CheckFailed

SPECIALIZATIONS, CUSTOM_IO = "specializations.json", "custom_io.yaml"
STATE = "_RetainedState"

_CUSTOM_IO = re.compile(r" - IOName: (\S+)\n   Precision: (\S+)\n\n")


class Specialization(Struct, frozen=True):
    """One set of shapes that a program is compiled for. `name` is None in the flat form."""

    name: str | None
    symbols: Mapping[str, int]

    def shape(self, dimensions: tuple[int | str, ...]) -> tuple[int, ...]:
        """The shape of a tensor whose dimensions are numbers, or names of symbols."""
        return tuple(size if isinstance(size, int) else self.symbols[size] for size in dimensions)


def read_specializations(folder: Path) -> tuple[Specialization, ...]:
    """The specializations of a folder, of either form. Errors: CheckFailed OBE234 for a file that has none."""
    try:
        rows = msgspec.json.decode((folder / SPECIALIZATIONS).read_bytes())["specializations"]
        found = tuple(map(_specialization, rows))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        found = ()
    if not found:
        message = f"`{SPECIALIZATIONS}` has no shapes that can be read, without which the program cannot be run"
        raise CheckFailed("OBE234", message, notes=[("hint", "compile it again")])
    return found


def _specialization(row: Mapping[str, Any]) -> Specialization:
    name, symbols = (row.get("name"), row["symbols"]) if "symbols" in row else (None, row)
    return Specialization(name, {key: int(value) for key, value in symbols.items()})


def read_custom_io(folder: Path) -> dict[str, str]:
    """The precision of each input and output that `custom_io.yaml` names; none without the file."""
    path = folder / CUSTOM_IO
    return dict(_CUSTOM_IO.findall(path.read_text(encoding="utf-8"))) if path.is_file() else {}
