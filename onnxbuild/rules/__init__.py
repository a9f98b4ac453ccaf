"""Lint rules, and the page of every code. `onnxbuild explain CODE` and the docs are made from `ALL`."""

from __future__ import annotations

from collections.abc import Mapping

from onnxbuild.diagnostics import Diagnostic
from onnxbuild.manifest.load import in_order
from onnxbuild.rules import (
    check_rules,
    command_rules,
    export_rules,
    graph_rules,
    installed_rules,
    out_folder_rules,
    package_rules,
    publish_rules,
    store_rules,
    structure_rules,
    toolchain_rules,
    yaml_rules,
)
from onnxbuild.rules.compiling import compile_rules, qaic_rules, runtime_rules
from onnxbuild.rules.rule import Rule, World
from onnxbuild.rules.sources import checkpoint_rules, pinning_rules, source_rules, tokenizer_rules
from onnxbuild.tables.failure_codes import FAILURE_CODES

__all__ = ["ALL", "Rule", "World", "check"]

_FAMILIES = (
    yaml_rules,
    structure_rules,
    source_rules,
    tokenizer_rules,
    pinning_rules,
    out_folder_rules,
    installed_rules,
    toolchain_rules,
    store_rules,
    command_rules,
    export_rules,
    graph_rules,
    check_rules,
    checkpoint_rules,
    package_rules,
    publish_rules,
    compile_rules,
    qaic_rules,
    runtime_rules,
)

ALL: Mapping[str, Rule] = {rule.code: rule for family in _FAMILIES for rule in family.RULES} | {
    code: Rule(code=code, name=page.name, severity="error", summary=page.headline, why=page.cause, fix=page.fix)
    for code, page in FAILURE_CODES.items()
}


def check(world: World) -> list[Diagnostic]:
    """The diagnostics of planning and of every rule, in order of place."""
    diagnostics = list(world.expansion.diagnostics)
    for rule in ALL.values():
        if rule.check is not None:
            diagnostics.extend(rule.check(world))
    return in_order(diagnostics)
