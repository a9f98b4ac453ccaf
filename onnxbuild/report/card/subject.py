"""What a card is about: one model with its variants, the files of each, and where the model comes from."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from onnxbuild.deliver.best_variant import Chosen
from onnxbuild.deliver.package_rows import PackageRow
from onnxbuild.onnx_files.onnx_outline import Outline
from onnxbuild.report.card.source_readme import SourceCard
from onnxbuild.report.evidence.evidence import Evidence, VariantEvidence
from onnxbuild.steps.compiling.compiled_record import RECORD, CompiledRecord
from onnxbuild.store.content import File
from onnxbuild.tables.choices import BEST

_FLOATS = frozenset({"fp32", "fp16", "bf16"})


class Folder(Struct, frozen=True, kw_only=True):
    """The delivered files of a variant.

    `graphs`: the outline of each ONNX file, by name; `compiled`: how a compiled variant is loaded.
    """

    name: str
    files: tuple[File, ...]
    graphs: Mapping[str, Outline] = {}
    config: Mapping[str, Any] = {}
    compiled: CompiledRecord | None = None

    def has(self, name: str) -> bool:
        """Whether a file is among them."""
        return any(file.name == name for file in self.files)

    @property
    def of_model(self) -> frozenset[str]:
        """The names of the graphs, of the files of their weights, and of all that a backend has written."""
        weights = (_beside(name, one) for name, outline in self.graphs.items() for one in outline.data)
        record = self.compiled
        written = () if record is None else (RECORD, *record.files, *(one.file for one in record.stages.values()))
        return frozenset((*self.graphs, *weights, *written))


def _beside(graph: str, name: str) -> str:
    """A file of weights, which a graph names from its own folder."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(graph), name.replace("\\", "/")))


class Origin(Struct, frozen=True, kw_only=True):
    """Where a checkpoint comes from: `words` say what `name` is the name of.

    `digest`: of its files; `revision`: the commit of a Hub repository.
    """

    words: str = ""
    name: str = ""
    repo: str = ""
    revision: str = ""
    digest: str = ""


class Subject(Struct, frozen=True, kw_only=True):
    """One model. `evidence` has only its variants, and `folders` those that were delivered, by target."""

    model: str
    manifest: str
    evidence: Evidence
    folders: Mapping[str, Folder]
    origins: tuple[Origin, ...] = ()
    chosen: Chosen | None = None
    stated: SourceCard = SourceCard()
    datasets: Mapping[str, str] = {}  # the Hub repository of a dataset, by its name in the manifest

    @property
    def task(self) -> str:
        """The task that the steps were given; empty if it is not known."""
        tasks = (step.params.get("task") for variant in self.variants for step in variant.steps)
        return next((str(task) for task in tasks if task), "")

    @property
    def variants(self) -> tuple[VariantEvidence, ...]:
        """All of them, also those that failed."""
        return self.evidence.variants

    @property
    def delivered(self) -> tuple[VariantEvidence, ...]:
        """Those whose folder was written."""
        return tuple(variant for variant in self.variants if variant.target in self.folders)

    @property
    def packages(self) -> tuple[PackageRow, ...]:
        """The packages of the model that were built."""
        rows = self.evidence.built_packages
        return tuple(row for row in rows if row.name.startswith(f"{self.model}/") and row.size_bytes is not None)

    @property
    def is_quantized(self) -> bool:
        """Whether a delivered variant has weights of fewer bits than a float of 16."""
        return any(variant.precision not in _FLOATS for variant in self.delivered)

    @property
    def best(self) -> Folder:
        """The folder that the examples load: the chosen one, else the fastest that passed, else the first one."""
        if self.chosen is not None and self.chosen.best is not None:
            folder = self.folders[self.chosen.best.variant.target]
            return msgspec.structs.replace(folder, name=BEST)
        passed = [one for one in self.delivered if one.row.verdict == "passed" and one.row.latency_ms is not None]
        fastest = min(passed, key=lambda one: one.row.latency_ms or 0.0, default=self.delivered[0])
        return self.folders[fastest.target]

    @property
    def of_graphs(self) -> Folder | None:
        """The folder that examples in JavaScript load: the best one, or else the first one that is not compiled."""
        return next((one for one in (self.best, *self.folders.values()) if one.compiled is None), None)

    def named(self) -> Iterator[tuple[VariantEvidence, Folder]]:
        """Each delivered variant with its folder."""
        yield from ((variant, self.folders[variant.target]) for variant in self.delivered)
