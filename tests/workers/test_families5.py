"""The families by transformers 5's own exporter: made, exported and changed there, opened by the users' loaders here.

Checkpoints and graphs that version 5 wrote are opened with transformers 4.57, because optimum's classes and the `onnx`
backend of sentence-transformers need it; the reference of a validation is PyTorch with transformers 5.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

for module in ("torch", "optimum.onnxruntime", "sentence_transformers"):
    pytest.importorskip(module)

from families import contents, text_folder  # noqa: E402
from family_table import FAMILIES_5, Family, again_in  # noqa: E402
from test_families import LOOSE, fetch_params, loads, table_for  # noqa: E402
from toolchain5 import Workers  # noqa: E402

from onnxbuild.protocol import Failure  # noqa: E402
from onnxbuild.steps.export import ExportParams  # noqa: E402
from onnxbuild.steps.optimize import OptimizeParams  # noqa: E402
from onnxbuild.steps.quantize import QuantizeParams  # noqa: E402
from onnxbuild.steps.validate import ValidateParams  # noqa: E402
from onnxbuild.tables.thresholds import THRESHOLDS  # noqa: E402
from onnxbuild.workers.libraries.quiet import quiet  # noqa: E402
from onnxbuild.workers.model_folder.decoders import MERGED  # noqa: E402

pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings("ignore")]

BY_NAME = {family.name: family for family in FAMILIES_5}
TWICE = [name for name, family in BY_NAME.items() if family.twice]
SOME = [family.name for family in again_in(FAMILIES_5)]


# Loaders that take a merged decoder if there is one, and otherwise its two parts.
SEQ2SEQ = {"rewrite": "Seq2SeqLM", "transcribe": "SpeechSeq2Seq", "caption": "Vision2Seq"}


def takes_one_file(family: Family, folder: Path) -> bool:
    with quiet():
        from optimum import onnxruntime as runtime

        loader = getattr(runtime, f"ORTModelFor{SEQ2SEQ[family.loader]}")
        return loader.from_pretrained(folder, local_files_only=True).decoder.is_merged


def export_params(family: Family) -> ExportParams:
    return ExportParams(task=family.task, exporter="transformers", library=family.library)


class Walk:
    """Steps in the toolchain of transformers 5, each checkpoint and export made once."""

    def __init__(self, root: Path) -> None:
        self.workers = Workers(root)
        self._checkpoints, self._exports = {}, {}

    def run(self, worker, params, port="model", **inputs):
        facts, folder = self.workers.run(f"onnxbuild.workers.{worker}.worker:run", params, port, **inputs)
        assert not isinstance(facts, Failure), facts
        return facts, folder

    def checkpoint(self, name: str) -> Path:
        if name not in self._checkpoints:
            self._checkpoints[name] = self.run("fetch", fetch_params(BY_NAME[name]), text=text_folder())[1]
        return self._checkpoints[name]

    def exported(self, name: str) -> tuple[dict, Path]:
        if name not in self._exports:
            self._exports[name] = self.run("export", export_params(BY_NAME[name]), model=self.checkpoint(name))
        return self._exports[name]

    def checked(self, name: str, model: Path, precision="fp32") -> dict:
        family = BY_NAME[name]
        bounds = LOOSE.get(precision) or THRESHOLDS[table_for(family)]["fp32"]
        if precision == "q4" and family.loader == "match_images":
            bounds = {"cosine_mean": 0.6}  # a text has as many scores as there are images: two to eight
        params = ValidateParams(task=family.task, precision=precision, thresholds=bounds)
        ports = {"model": model, "reference": self.checkpoint(name)}
        return self.run("validate", params, "report", **ports)[0]


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    found = Walk(tmp_path_factory.mktemp("families5"))
    yield found
    found.workers.close()


@pytest.fixture(scope="module")
def elsewhere(walk, amount, tmp_path_factory):
    """Some of the exports by another worker at the same time."""
    checkpoints = {name: walk.checkpoint(name) for name in amount(SOME, TWICE)}
    workers, threads = Workers(tmp_path_factory.mktemp("elsewhere")), ThreadPoolExecutor(1)

    def export_all():
        worker = "onnxbuild.workers.export.worker:run"
        return {
            name: workers.run(worker, export_params(BY_NAME[name]), "model", model=checkpoint)[1]
            for name, checkpoint in checkpoints.items()
        }

    yield threads.submit(export_all)
    threads.shutdown()
    workers.close()


@pytest.mark.parametrize("name", BY_NAME)
def test_a_family_from_its_config_to_its_loader(walk, elsewhere, name, tmp_path):
    family, checkpoint = BY_NAME[name], walk.checkpoint(name)
    exported, model = walk.exported(name)
    facts = walk.checked(name, model)
    assert facts["metrics"]["max_abs"] < 1e-4
    assert facts["samples"]["rows"] >= 6
    loads(model, checkpoint, family, exact=True)
    if family.loader in SEQ2SEQ:
        assert exported["merged"] is True
        assert {"merged", "merged_step", "decoder", "decoder_step"} <= set(facts["stages"])
        assert takes_one_file(family, model)
        parts = shutil.copytree(model, tmp_path / "parts")
        (parts / MERGED).unlink()
        assert not takes_one_file(family, parts)
        loads(parts, checkpoint, family, exact=True)
    if family.optimize:
        _, optimized = walk.run("optimize", OptimizeParams(level=family.optimize), model=model)
        walk.checked(name, optimized)
        loads(optimized, checkpoint, family, exact=True)
    for method in family.quantize:
        params = QuantizeParams(method=method, preset="avx512_vnni")
        quantized_facts, quantized = walk.run("quantize", params, model=model)
        assert quantized_facts["quantized"] > 0
        walk.checked(name, quantized, {"dynamic": "int8", "weight-only": "q4"}[method])
        loads(quantized, checkpoint, family, exact=False)


def test_a_checkpoint_that_does_not_say_how_to_pool(walk):
    params = ExportParams(task="sentence-similarity", exporter="transformers")
    worker, checkpoint = "onnxbuild.workers.export.worker:run", walk.checkpoint("bert-fill-mask")
    failure, _ = walk.workers.run(worker, params, "model", model=checkpoint)
    message = "the checkpoint is not a sentence-transformer: it has no modules.json, which defines the pooling"
    assert (failure.code, failure.message) == ("OBE02", message)
    bare = ExportParams(task="sentence-similarity", exporter="transformers", library="transformers")
    _, model = walk.run("export", bare, model=checkpoint)
    params = ValidateParams(task="sentence-similarity", thresholds={"max_abs": 1e-4})
    facts, _ = walk.run("validate", params, "report", model=model, reference=checkpoint)
    assert facts["metrics"]["max_abs"] < 1e-4


def test_another_process_exports_the_same_bytes_of_every_family(walk, elsewhere):
    for name, folder in elsewhere.result().items():
        first, again = contents(walk.exported(name)[1]), contents(folder)
        assert {file for file in first if first[file] != again.get(file)} == set(BY_NAME[name].varies), name
