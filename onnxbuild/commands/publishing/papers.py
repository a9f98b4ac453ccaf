"""What a run writes about packages: their cards, `onnxbuild.json`, and the signature that somebody has added."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import structs

from onnxbuild.commands.workspace import Session
from onnxbuild.deliver.checking.signed_content import current_signature
from onnxbuild.deliver.package_papers import with_card
from onnxbuild.deliver.provenance import PROVENANCE, provenance
from onnxbuild.execute.events import Outcome
from onnxbuild.planning.action_graph import (
    Action,
    FilesSource,
    OutputRef,
    Packed,
    PapersSource,
    RowsSource,
    Stated,
    Variant,
)
from onnxbuild.publishing.uploaded_files import SIGNATURE
from onnxbuild.steps.dataset_rows import PORT as ROWS
from onnxbuild.tables.publishing.hub_licenses import hub_license


class Papers:
    """Writes them from the outcomes of a run."""

    def __init__(self, opened: Session) -> None:
        self._graph, self._store, self._out = opened.plan.whole, opened.store, opened.out
        self._manifest = os.path.basename(opened.plan.manifest.path)

    def complete(self, action: Action, outcomes: Mapping[str, Outcome]) -> Action:
        """An upload with its papers, which only now can be written; any other action as it is. Errors: OSError."""
        ports = [(port, source) for port, source in action.inputs.items() if isinstance(source, PapersSource)]
        made = {port: self._rows(source.package, outcomes) for port, source in ports}
        return structs.replace(action, inputs={**action.inputs, **made}) if made else action

    def texts(self, package: str, outcomes: Mapping[str, Outcome]) -> Mapping[str, str]:
        """The papers of a package by name. Every action of it must have succeeded. Errors: OSError."""
        variant = next(one.variant for one in self._graph.packages if one.variant.name == package)
        tree = self._store.tree(outcomes[variant.output.action].outputs[variant.output.port])
        content, texts = with_card(tree, variant, self.card, outcomes, self._store)
        account = provenance(variant, self._graph, outcomes, self._store, content)
        signature = self._signature(variant, account)
        found = {**texts, PROVENANCE: account, **({SIGNATURE: signature} if signature is not None else {})}
        return {name: text.decode("utf-8") for name, text in found.items()}

    def card(self, variant: Variant, own: bytes, outcomes: Mapping[str, Outcome]) -> bytes:
        """The card of a package. `own`: the one that it came with. Errors: OSError if the store lacks a file."""
        from onnxbuild.commands.publishing.card_folders import folder_of_card, inner_folder
        from onnxbuild.report.card.package_card import package_card
        from onnxbuild.report.card.package_snippets import Contents
        from onnxbuild.report.card.subject import Subject
        from onnxbuild.report.evidence.gathering import gather

        packed = next(one for one in self._graph.packages if one.variant.name == variant.name)
        inside = tuple(
            one for one in self._graph.variants if one.model == variant.model and one.target in packed.targets
        )
        shown = structs.replace(self._graph, variants=inside, packages=())
        files = self._store.tree(outcomes[variant.output.action].outputs[variant.output.port]).files
        roles: Mapping[str, str] = self._graph.actions[variant.output.action].params["graphs"]
        inner = {role: inner_folder(files, role, self._store) for role in roles}
        contents = Contents(kind=packed.name, whole=folder_of_card(".", files, self._store), roles=roles, inner=inner)
        subject = Subject(
            model=variant.model,
            manifest=self._manifest,
            evidence=gather(shown, outcomes, self._store.traces.find, source=self._manifest, ended=None),
            folders={target: inner[role] for role, target in roles.items()},
            origins=tuple(self._origins(variant, outcomes)),
            stated=self._stated(packed),
            datasets=dict(self._repositories(inside)),
        )
        return package_card(subject, contents, own.decode("utf-8", "replace")).encode("utf-8")

    def _rows(self, package: str, outcomes: Mapping[str, Outcome]) -> RowsSource:
        return RowsSource(
            tuple({"name": name, "text": text} for name, text in sorted(self.texts(package, outcomes).items()))
        )

    def _signature(self, variant: Variant, account: bytes) -> bytes | None:
        """The signature in the delivered folder, if it was made for this content."""
        if self._out is None:
            return None
        return current_signature(self._out / variant.model / variant.target, account)

    def _stated(self, packed: Packed) -> Any:
        """The license: what the upload states, else the source."""
        from onnxbuild.report.card.source_readme import SourceCard

        uploads = (
            one for one in self._graph.uploads if (one.model, one.package) == (packed.variant.model, packed.name)
        )
        written = (self._graph.actions[one.action].params.get("license") for one in uploads)
        source = next(iter(packed.variant.stated.values()), Stated())
        named = next(filter(None, written), None) or source.license
        license_ = (hub_license(named) or named) if named else named
        if license_ != source.license:
            return SourceCard(license=license_)
        return SourceCard(license=license_, license_name=source.license_name, license_link=source.license_link)

    def _origins(self, variant: Variant, outcomes: Mapping[str, Outcome]) -> Iterator[Any]:
        from onnxbuild.report.card.subject import Origin

        for name, stated in variant.stated.items():
            action = self._graph.actions[name]
            params, digest = action.params, outcomes[name].outputs.get("model", "")
            files = action.inputs.get("files")
            if params["origin"] == "hub":
                yield Origin(repo=str(params["repo"]), revision=str(params["revision"]), digest=digest)
            elif params["origin"] == "random":
                words = "random weights of the architecture"
                yield Origin(words=words, name=str(params["architecture"]), digest=digest)
            elif stated.package:
                yield Origin(words="the Python package", name=stated.package, digest=digest)
            else:
                folder = os.path.basename(files.root) if isinstance(files, FilesSource) else ""
                yield Origin(words="the folder", name=folder, digest=digest)

    def _repositories(self, variants: tuple[Variant, ...]) -> Iterator[tuple[str, str]]:
        """The Hub repository of each dataset that comes from one."""
        actions = self._graph.actions
        for name in dict.fromkeys(check for variant in variants for check in (*variant.proofs, *variant.checks)):
            rows = actions[name].inputs.get(ROWS)
            if isinstance(rows, OutputRef):
                yield str(actions[name].params.get("dataset")), str(actions[rows.action].params["repo"])
