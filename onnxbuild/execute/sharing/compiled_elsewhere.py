"""What a machine without a compiler may take from one that has it: the compiled result, in place of a prepared one.

A compiled result is recorded under two keys: its own, and that of the same action where the compiler is absent. A
prepared result stays on its machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from onnxbuild.execute.key import KeyParts
from onnxbuild.steps import Kinds

ABSENT = "absent"  # the version of what is not installed


def without_compiler(parts: KeyParts, kinds: Kinds) -> KeyParts | None:
    """The parts of the same action on a machine without the compiler; None if nothing compiles, or none is here."""
    kind = kinds.get(parts.kind)
    if kind is None or not kind.backend:
        return None
    needs = kind.compiler(msgspec.convert(parts.params, kind.params))
    absent = replace(parts, packages={**parts.packages, **dict.fromkeys(needs, ABSENT)})
    return None if absent == parts else absent


def is_compiled(facts: Mapping[str, Any]) -> bool:
    """Whether the facts are those of a compiled variant."""
    return facts.get("state") == "compiled"


def is_prepared(facts: Mapping[str, Any]) -> bool:
    """Whether the facts are those of a variant whose compiler was absent."""
    return facts.get("state") == "prepared"
