"""The rule that compares a manifest with those beside it: two that write one folder below `out/`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, fault
from onnxbuild.manifest.document import Array, Table
from onnxbuild.manifest.manifest_file import manifests_in, read_bytes
from onnxbuild.manifest.yaml_reader import read_document
from onnxbuild.rules.rule import Rule, World, rule

_WORD = re.compile(rb"[\w.-]+")
Folder = tuple[str, str]  # model and target


@rule("OB051", "shared-out-folder", severity="warning")
def shared_out_folder(world: World) -> Iterator[Diagnostic]:
    """Two manifests in one folder have a model and a target of the same names.

    Why: both write their results to `out/MODEL/TARGET`, so that each run replaces the files of the other.
    Fix: rename the model or the target in one of them, or run one with `--out DIR`.
    """
    ours = {(one.model, one.target) for one in world.expansion.graph.variants}
    places = {model.name: model.span for model in world.manifest.models}
    folder = os.path.dirname(world.manifest.path)
    read = {os.path.realpath(one) for one in world.manifest.files}
    for name in manifests_in(folder):
        path = os.path.join(folder, name)
        if os.path.realpath(path) in read:
            continue
        common = sorted(ours & _folders_of(path, {model for model, _ in ours}))
        if common:
            (model, target), more = common[0], len(common) - 1
            others = f" and {more} more" if more else ""
            yield fault(
                "OB051",
                f"`{path}` writes the folder `out/{model}/{target}`{others} too",
                span=places[model],
                hint="rename the model in one of the two, or run one of them with `--out DIR`",
                severity="warning",
            )


def _folders_of(path: str, models: set[str]) -> set[Folder]:
    """The folders below `out/` that another manifest names. It is parsed only if it has the name of a model of ours."""
    try:
        data = read_bytes(path)
        words = set(_WORD.findall(data))
        if b"onnxbuild" not in words or not any(model.encode() in words for model in models):
            return set()
        document = read_document(data, path, [])
    except DiagnosticError:
        return set()
    return set(_written(document))


def _written(document: Table) -> Iterator[Folder]:
    defaults, models = document.get("defaults"), document.get("models")
    shared = defaults.get("targets") if isinstance(defaults, Table) else None
    for name, block in models.items() if isinstance(models, Table) else ():
        targets = block.get("targets", shared) if isinstance(block, Table) else None
        for target in targets if isinstance(targets, Array) else ():
            named = target.get("name") if isinstance(target, Table) else target
            if isinstance(named, str):
                yield name, named


RULES: tuple[Rule, ...] = (shared_out_folder,)
