"""Lint rules, and the page of every code: `onnxbuild explain CODE` and the docs are made from `ALL`."""

from __future__ import annotations

from collections.abc import Mapping

from onnxbuild.diagnostics import Diagnostic
from onnxbuild.manifest.load import in_order
from onnxbuild.rules import command, runtime, sources, steps, store, structure
from onnxbuild.rules.rule import Rule, World

__all__ = ["ALL", "Rule", "World", "check"]

ALL: Mapping[str, Rule] = {
    rule.code: rule for family in (structure, sources, store, command, steps, runtime) for rule in family.RULES
}


def check(world: World) -> list[Diagnostic]:
    """What planning found and what every rule finds, in order of place."""
    found = list(world.expansion.diagnostics)
    for rule in ALL.values():
        if rule.check is not None:
            found.extend(rule.check(world))
    return in_order(found)
