"""The sections without their faulty blocks, so that lint can plan the rest."""

from __future__ import annotations

from typing import Any

import msgspec

from onnxbuild.diagnostics import Diagnostic
from onnxbuild.manifest.checks.cross_checks import interpreter_problem
from onnxbuild.manifest.document import Table, copy_table
from onnxbuild.manifest.interpolate import Scope, fill
from onnxbuild.manifest.reach import Reach
from onnxbuild.manifest.sections import ModelEntry, Sections
from onnxbuild.manifest.structure.structure_checker import Structure, block


def sound(sections: Sections, structure: Structure, reach: Reach) -> Sections:
    """The sections without the blocks that have a fault, and without the models that need such a block."""
    store = sections.store
    kept = msgspec.structs.replace(
        sections,
        targets=_sound_entries(sections.targets, "TargetBlock", structure),
        datasets=_sound_entries(sections.datasets, "DatasetBlock", structure),
        toolchains=_within(_sound_entries(sections.toolchains, "ToolchainBlock", structure), reach),
        store=store if _is_sound(store, "StoreBlock", structure) else Table(store.span),
    )
    return msgspec.structs.replace(
        kept, models=tuple(one for one in sections.models if _is_sound_model(one, kept, structure))
    )


def _sound_entries(section: Table, definition: str, structure: Structure) -> Table:
    kept = copy_table(section)
    for name, entry in section.items():
        if not _is_sound(entry, definition, structure):
            del kept[name]
    return kept


def _within(toolchains: Table, reach: Reach) -> Table:
    for name in list(toolchains):
        if interpreter_problem(toolchains[name], reach) is not None:
            del toolchains[name]
    return toolchains


def _is_sound(entry: Any, definition: str, structure: Structure) -> bool:
    """Whether a block has no structural fault, and no reference is left in it."""
    if not isinstance(entry, Table):
        return False
    unresolved: list[Diagnostic] = []
    fill(entry, entry.span, Scope({}), unresolved)
    return not unresolved and structure.is_valid(entry, block(definition))


def _is_sound_model(model: ModelEntry, kept: Sections, structure: Structure) -> bool:
    written = model.block
    # First the types: what is not a string cannot be looked up.
    if not _is_sound(written, "ModelBlock", structure) or not written.get("source") or not written.get("targets"):
        return False
    if written.get("toolchain") and written["toolchain"] not in kept.toolchains:
        return False
    return all(isinstance(entry, Table) or entry in kept.targets for entry in written["targets"])
