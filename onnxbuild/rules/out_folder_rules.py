"""The rule that compares a manifest with those that were built beside it: two that write one folder below `out/`."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, fault
from onnxbuild.manifest.document import Array, Table
from onnxbuild.manifest.reading.manifest_file import read_bytes
from onnxbuild.manifest.reading.yaml_reader import read_document
from onnxbuild.planning.action_graph import PACKAGES
from onnxbuild.regular_files import open_regular
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
    folder = os.path.dirname(world.manifest.path)
    if _writes_elsewhere(world, folder):
        return
    ours = set(world.expansion.graph.folders)
    places = {model.name: model.span for model in world.manifest.models}
    read = {os.path.realpath(one) for one in world.manifest.files}
    for name in sorted(name for name, outs in _built_in(folder).items() if None in outs):
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


def _writes_elsewhere(world: World, folder: str) -> bool:
    """Whether the outputs go to another folder than `out/`: that of the run, or of all runs before a lint."""
    if world.out is not None:
        return os.path.abspath(world.out) != os.path.join(os.path.abspath(folder), "out")
    outs = _built_in(folder).get(os.path.basename(world.manifest.path))
    return outs is not None and None not in outs


def _built_in(folder: str) -> Mapping[str, set[str | None]]:
    """The manifests that were built in a folder, each with the `--out` of its runs: their receipts say so.

    Drafts and copies that nobody builds are no fault, and without a receipt nothing is read.
    """
    state = os.path.join(folder, ".onnxbuild")
    receipts_folder = os.path.join(state, "receipts")
    if os.path.islink(state) or os.path.islink(receipts_folder):
        return {}
    try:
        receipts = list(os.scandir(receipts_folder))
    except OSError:
        return {}
    built: dict[str, set[str | None]] = defaultdict(set)
    for entry in receipts:
        try:
            with open_regular(entry.path) as file:
                head = file.read(_HEAD_BYTES).decode("utf-8", "replace")
            question = json.JSONDecoder().raw_decode(head, len(_HEAD))[0]
        except (OSError, ValueError, RecursionError):
            continue
        manifest, out = (question.get("manifest"), question.get("out")) if isinstance(question, dict) else (None, None)
        # A damaged receipt may hold anything.
        if isinstance(manifest, str) and manifest.isprintable() and isinstance(out, str | None):
            built[os.path.basename(manifest)].add(out)
    return built


def _folders_of(path: str) -> set[Folder]:
    """The folders below `out/` that another manifest writes, as far as its own text says."""
    if os.path.islink(path):  # it may lead out of the folder
        return set()
    try:
        return set(_written(read_document(read_bytes(path), path, [])))
    except DiagnosticError:
        return set()


def _written(document: Table) -> Iterator[Folder]:
    defaults, models = document.get("defaults"), document.get("models")
    shared = defaults if isinstance(defaults, Table) else {}
    for name, block in models.items() if isinstance(models, Table) else ():
        own = block if isinstance(block, Table) else {}
        targets = own.get("targets", shared.get("targets"))
        for target in targets if isinstance(targets, Array) else ():
            named = target.get("name") if isinstance(target, Table) else target
            if isinstance(named, str):
                yield name, named
        for package in _packages(own.get("package", shared.get("package"))):
            yield name, f"{PACKAGES}/{package}"


def _packages(written: object) -> Iterator[str]:
    """The names of the packages that a block asks for: one, a list, or a mapping."""
    if isinstance(written, str):
        yield written
    elif isinstance(written, Array):
        yield from (one for one in written if isinstance(one, str))
    elif isinstance(written, Table):
        yield from (name for name, block in written.items() if block is not False)


RULES: tuple[Rule, ...] = (shared_out_folder,)
