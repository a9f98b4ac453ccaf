"""Mutants of a module: mutmut's operators on every function, with three operators that it lacks."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import libcst as cst
import libcst.matchers as m
from libcst.metadata import MetadataWrapper, PositionProvider
from mutants.mutant import Mutant
from mutmut.mutation.mutators import mutation_operators

# What these hold is not behaviour: types, and the texts of assertions about what cannot happen.
_PASSED_OVER = (cst.Annotation, cst.Assert, cst.Import, cst.ImportFrom, cst.Decorator)
_PROSE = m.SimpleString(value=m.MatchIfTrue(lambda text: " " in text))
# A name that `msgspec`, `isinstance` and the like read, and calls whose arguments always raise when they are wrong.
_CERTAIN = m.Call(func=m.OneOf(m.Name("isinstance"), m.Name("len"), m.Name("cast"), m.Name("super")))


def _removed_call(node: cst.SimpleStatementLine) -> Iterable[cst.CSTNode]:
    """A statement that only calls something is left out."""
    if m.matches(node, m.SimpleStatementLine(body=[m.Expr(value=m.Call())])):
        yield node.with_changes(body=[cst.Pass()])


def _forced_condition(node: cst.If | cst.While) -> Iterable[cst.CSTNode]:
    """A branch that is always taken, and one that never is."""
    forced = ["False"] if isinstance(node, cst.While) else ["True", "False"]
    yield from (node.with_changes(test=cst.Name(value)) for value in forced)


def _returned_nothing(node: cst.Return) -> Iterable[cst.CSTNode]:
    """A function that returns None instead of its value."""
    if node.value is not None and not m.matches(node.value, m.Name("None")):
        yield node.with_changes(value=cst.Name("None"))


_OPERATORS = [
    *mutation_operators,
    (cst.SimpleStatementLine, _removed_call),
    (cst.If, _forced_condition),
    (cst.While, _forced_condition),
    (cst.Return, _returned_nothing),
]


class _Visitor(cst.CSTVisitor):
    """Collects pairs of a node inside a function and what replaces it."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, Any, int]] = []
        self._functions = 0

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, _PASSED_OVER) or m.matches(node, _PROSE | _CERTAIN):
            return False
        if self._functions and not isinstance(node, cst.FunctionDef):
            line = self.get_metadata(PositionProvider, node, None)
            changed = [one for of, operator in _OPERATORS if isinstance(node, of) for one in operator(node)]
            self.found += [(node, one, line.start.line if line else 0) for one in changed]
        self._functions += isinstance(node, cst.FunctionDef)
        return True

    def on_leave(self, node: cst.CSTNode) -> None:
        self._functions -= isinstance(node, cst.FunctionDef)


def sampled(root: Path, paths: Iterable[str], size: int, seed: int) -> tuple[list[Mutant], int]:
    """A sample of the mutants of these modules, the same for the same seed, and how many there are in all."""
    found: list[tuple[str, MetadataWrapper, cst.CSTNode, Any, int]] = []
    for path in paths:
        wrapper = MetadataWrapper(cst.parse_module((root / path).read_text(encoding="utf-8")))
        visitor = _Visitor()
        wrapper.visit(visitor)
        found += [(path, wrapper, *one) for one in visitor.found]
    random.Random(seed).shuffle(found)
    chosen: dict[tuple[str, str], Mutant] = {}
    for path, wrapper, node, replacement, line in found:
        if len(chosen) == size:
            break
        # A text is rendered only once it is chosen: each takes some 20 ms.
        text = wrapper.module.deep_replace(node, replacement).code
        if text != wrapper.module.code and _compiles(text):
            chosen.setdefault((path, text), Mutant(path, line, text, wrapper.module.code))
    return list(chosen.values()), len(found)


def _compiles(text: str) -> bool:
    try:
        compile(text, "mutant", "exec")
    except SyntaxError:
        return False
    return True
