"""The card of a model whose variants are compiled: its example in Python, run as it is written."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from blake3 import blake3
from plugin.world import World
from token_model import OUT, token_model

pytest.importorskip("openvino")

# The example of a card leaves what it has computed: the difference from the graph that was compiled.
BESIDE = """
import onnxruntime
plain = onnxruntime.InferenceSession("../../model/model.onnx", providers=["CPUExecutionProvider"])
(wanted,) = plain.run(None, {"input_ids": encoded["input_ids"]})
print("off by", abs(wanted - NAMED).max() / abs(wanted).max())
"""
NAMED = {"ov": 'outputs["last_hidden_state"]', "quick": "values[0]"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("compiled-card"))
    token_model(made.root / "model")
    model = {"source": "onnx:model", "task": "feature-extraction", "validate": False, "benchmark": False, "load": False}
    targets = {"ov": {"compile": "openvino"}, "quick": {"compile": "ort"}}
    # A card shows one example: a model per backend.
    models = {name: {**model, "targets": [name]} for name in targets}
    models["both"] = {**model, "targets": ["plain", *targets], "package": "compiled"}
    content = {"onnxbuild": 1, "targets": {"plain": {}, **targets}, "models": models}
    (made.root / "manifest.yaml").write_text(json.dumps(content))
    assert made.run().code == 0
    assert made.run("--no-plots", verb="card").code == 0
    return made


def card(world: World, name: str) -> str:
    return (world.root / "out" / name / "README.md").read_text()


@pytest.mark.parametrize("name", NAMED)
def test_the_example_loads_what_was_compiled(world: World, name: str) -> None:
    (text,) = re.findall(r"\n```python\n(.*?)\n```\n", card(world, name), re.DOTALL)
    program = world.root / "out" / name / "example.py"
    program.write_text(f"{text}\n{BESIDE.replace('NAMED', NAMED[name])}")
    done = world.run_arguments(
        [sys.executable, "-c", f"import os; os.chdir({str(program.parent)!r}); exec(open('example.py').read())"]
    )
    assert done.code == 0, done
    shape, off = done.out.splitlines()
    assert re.fullmatch(rf"last_hidden_state \(2, \d+, {OUT}\)", shape)
    assert float(off.removeprefix("off by ")) < 1e-5


def test_the_card_of_several_variants_loads_one_of_each_backend(world: World) -> None:
    """That of the model and that of the package, in one process: importing the libraries takes most of the time."""
    code = "import os\n"
    for folder in ("out/both", "out/both/packages/compiled"):
        text = (world.root / folder / "README.md").read_text()
        pattern = r"\n### Compiled for (\w+): [^`]*`(\w+)`\n.*?\n```python\n(.*?)\n```\n"
        sections = re.findall(pattern, text, re.DOTALL)
        assert [section[:2] for section in sections] == [("openvino", "ov"), ("ort", "quick")]
        lines = "\n".join(f"{lines}\n{BESIDE.replace('NAMED', NAMED[name])}" for _, name, lines in sections)
        code += f"os.chdir({str(world.root / folder)!r})\n{lines.replace('../../model/', f'{world.root}/model/')}"
    done = world.run_arguments([sys.executable, "-c", code])
    assert done.code == 0, done
    assert len(done.out.splitlines()) == 8
    assert all(float(line.removeprefix("off by ")) < 1e-5 for line in done.out.splitlines()[1::2])


def test_the_digests_are_those_of_all_that_is_loaded(world: World) -> None:
    text = card(world, "both")
    listed = re.findall(r"\| `([^` ]+)` \| [^|]* \| `([0-9a-f]{64})` \|", text)
    loaded = {"plain/model.onnx", "ov/model.xml", "ov/model.bin", "ov/model.blob", "quick/model.onnx"}
    assert {name for name, _ in listed} == loaded | {"ov/compiled.json", "quick/compiled.json"}
    for name, digest in listed:
        assert blake3((world.root / "out" / "both" / name).read_bytes()).hexdigest() == digest


def test_the_card_says_how_it_is_loaded(world: World) -> None:
    of_openvino, of_ort = card(world, "ov"), card(world, "quick")
    assert "exactly these properties: `INFERENCE_PRECISION_HINT: f32`" in of_openvino
    assert re.search(r"\npip install openvino==\d+\.\d+\.\d+ transformers\n", of_openvino)
    assert "library_name: openvino" in of_openvino
    assert "```js" not in of_openvino
    assert "ORT_DISABLE_ALL" in of_ort


def test_the_card_of_what_is_only_prepared_says_so(tmp_path: Path) -> None:
    from onnxbuild.report.card.compiled_snippets import compiled_snippet
    from onnxbuild.report.card.subject import Folder
    from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompilerOfRecord

    record = CompiledRecord(
        backend="openvino", state="prepared", compiler=CompilerOfRecord(name="openvino"), device="CPU", stages={},
        needs="open`vino",
    )  # fmt: skip
    snippet = compiled_snippet(Folder(name="ov", files=()), record)
    assert "nothing is compiled, because ``open`vino`` was absent" in snippet.notes
    assert "import_model" not in snippet.lines
