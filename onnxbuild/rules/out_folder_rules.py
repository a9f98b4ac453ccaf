"""The rule that compares a manifest with those that were built beside it: two that write one folder below `out/`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, fault
from onnxbuild.manifest.document import Array, Table
from onnxbuild.manifest.reading.manifest_file import read_bytes
from onnxbuild.manifest.reading.yaml_reader import read_document
from onnxbuild.rules.rule import Rule, World, rule

_HEAD = '{"question":'  # how a receipt begins; what follows it may be long
_HEAD_BYTES = 1 << 16
Folder = tuple[str, str]  # model and target


@rule("OB051", "shared-out-folder", severity="warning")
def shared_out_folder(world: World) -> Iterator[Diagnostic]:
    """A manifest that was built in the same folder has a model and a target of the same names.

    Why: both write their results to `out/MODEL/TARGET`, so that each run replaces the files of the other.
    Fix: rename the model or the target in one of them, or run one with `--out DIR`.
    """
    ours = {(one.model, one.target) for one in world.expansion.graph.variants}
    places = {model.name: model.span for model in world.manifest.models}
    folder = os.path.dirname(world.manifest.path)
    read = {os.path.realpath(one) for one in world.manifest.files}
    for name in sorted(set(_built_in(folder))):
        path = os.path.join(folder, name)
        common = [] if os.path.realpath(path) in read else sorted(ours & _folders_of(path))
        if common:
            (model, target), more = common[0], len(common) - 1
            others = f" and {more} more" if more else ""
            yield fault(
                "OB051",
                f"`{path}` was built here and writes the folder `out/{model}/{target}`{others} too",
                span=places[model],
                hint="rename the model in one of the two, or run one of them with `--out DIR`",
                severity="warning",
            )


def _built_in(folder: str) -> Iterator[str]:
    """The names of the manifests that were built in a folder, into its `out/`: their receipts say so.

    Drafts and copies that nobody builds are no fault, and without a receipt nothing is read.
    """
    try:
        receipts = list(os.scandir(os.path.join(folder, ".onnxbuild", "receipts")))
    except OSError:
        return
    for entry in receipts:
        try:
            with open(entry.path, encoding="utf-8", errors="replace") as file:
                question = json.JSONDecoder().raw_decode(file.read(_HEAD_BYTES), len(_HEAD))[0]
        except (OSError, ValueError):
            continue
        manifest = question.get("manifest") if isinstance(question, dict) and question.get("out") is None else None
        if isinstance(manifest, str) and manifest.isprintable():  # a damaged receipt may hold anything
            yield os.path.basename(manifest)


def _folders_of(path: str) -> set[Folder]:
    """The folders below `out/` that another manifest writes, as far as its own text says."""
    try:
        return set(_written(read_document(read_bytes(path), path, [])))
    except DiagnosticError:
        return set()


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
