"""Lint rules, and the page of every code: `onnxbuild explain CODE` and the docs are made from `ALL`."""

from __future__ import annotations

from collections.abc import Mapping

from onnxbuild.diagnostics import Diagnostic
from onnxbuild.manifest.load import in_order
from onnxbuild.rules import command_line, manifest_text, pinning, shared_store, step_params
from onnxbuild.rules.rule import Rule, World
from onnxbuild.tables.failure_codes import FAILURE_CODES

__all__ = ["ALL", "Rule", "World", "check"]

ALL: Mapping[str, Rule] = {
    rule.code: rule
    for family in (manifest_text, pinning, shared_store, command_line, step_params)
    for rule in family.RULES
} | {
    code: Rule(code=code, name=page.name, severity="error", summary=page.headline, why=page.cause, fix=page.fix)
    for code, page in FAILURE_CODES.items()
}


def check(world: World) -> list[Diagnostic]:
    """What planning found and what every rule finds, in order of place."""
    found = list(world.expansion.diagnostics)
    for rule in ALL.values():
        if rule.check is not None:
            found.extend(rule.check(world))
    return in_order(found)
