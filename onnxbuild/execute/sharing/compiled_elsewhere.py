"""What a machine without a compiler may take from one that has it: the compiled result, in place of a prepared one.

A compiled result is recorded under its own key, and under those of the same action where the compiler, or a part of it,
is absent. These do not say which compiler it was, so the newest result takes the place of an older one.

A prepared result stays on its machine, and is not final: a compiled one takes its place as soon as the store or the
remote store has it, and it never takes the place of a compiled one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain, combinations
from typing import Any

import msgspec
from msgspec.structs import replace

from onnxbuild.execute.key import KeyParts
from onnxbuild.needs.step_needs import ABSENT, of_key
from onnxbuild.steps import Kinds
from onnxbuild.steps.kind import needed_together
from onnxbuild.store.traces import Trace


def without_compiler(parts: KeyParts, kinds: Kinds) -> tuple[KeyParts, ...]:
    """The parts of the same action on machines without the compiler, or without some of what it needs.

    Empty if nothing compiles, or if all of the compiler is absent here.
    """
    kind = kinds.get(parts.kind)
    if kind is None or not kind.backend:
        return ()
    params = msgspec.convert(parts.params, kind.params)
    together = needed_together(kind, params)
    absent = (
        replace(parts, packages=of_key({**parts.packages, **dict.fromkeys(one, ABSENT)}, together))
        for one in _parts_of(kind.compiler(params))
    )
    return tuple(one for one in absent if one != parts)


def _parts_of(needs: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    """Every choice of one need or more. A compiler needs few."""
    return chain.from_iterable(combinations(needs, count) for count in range(len(needs), 0, -1))


def is_compiled(facts: Mapping[str, Any]) -> bool:
    """Whether the facts are those of a compiled variant."""
    return facts.get("state") == "compiled"


def is_prepared(facts: Mapping[str, Any]) -> bool:
    """Whether the facts are those of a variant whose compiler was absent."""
    return facts.get("state") == "prepared"


def is_final(trace: Trace) -> bool:
    """Whether no other machine may have a better result for the same key."""
    return not is_prepared(trace.facts)
