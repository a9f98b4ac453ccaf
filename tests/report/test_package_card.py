"""The card of a package: what its kind has written stays, and what was measured is added."""

from __future__ import annotations

import ast
from typing import Any

import card_rules
import pytest
import yaml
from card_worlds import FORWARD, folder, subject
from evidence_worlds import evidence
from msgspec import structs

from onnxbuild.digest import Digest
from onnxbuild.report.card.compiled_snippets import compiled_snippet, library_of_compiled
from onnxbuild.report.card.package_card import package_card
from onnxbuild.report.card.package_snippets import Contents
from onnxbuild.report.card.subject import Folder, Subject
from onnxbuild.steps.compiling.backends import BACKENDS
from onnxbuild.steps.compiling.compiled_record import CompiledRecord, CompiledStage, CompilerOfRecord, StageInput
from onnxbuild.store.content import File

OWN = """---
library_name: transformers.js
pipeline_tag: sentence-similarity
tags:
- transformers.js
- onnx
---

# Mine

| file | MB |
"""


def world(**changes: Any) -> Subject:
    whole = evidence()
    steps = {one.name: tuple(structs.replace(step, params={"task": "fill-mask"}) for step in one.steps)
             for one in whole.variants}  # fmt: skip
    variants = tuple(structs.replace(one, steps=steps[one.name]) for one in whole.variants)
    return subject(evidence=structs.replace(whole, variants=variants), **changes)


def head(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text.split("\n---\n", maxsplit=1)[0].removeprefix("---\n"))
    return found


def plain(**roles: str) -> Contents:
    """A package `plain` whose roles are the endings of its graphs; `first` stands for the one without."""
    named = {"" if role == "first" else role: target for role, target in roles.items()}
    graphs = {f"model_{role}" if role else "model": FORWARD for role in named}
    return Contents(kind="plain", whole=folder(".", **graphs), roles=named)


def compiled(backend: str, *, name: str, properties: dict[str, str] | None = None) -> Folder:
    record = CompiledRecord(
        backend=backend, state="compiled", compiler=CompilerOfRecord(name=backend, version="7.5.3"), device="CPU",
        stages={}, properties=properties or {}, files={"model.bin": "f" * 64},
    )  # fmt: skip
    return Folder(name=name, files=(File("model.bin", Digest("d" * 64), 3),), compiled=record)


def test_a_package_without_a_card_gets_one_with_license_base_model_and_results() -> None:
    folders = {"fp32": folder("fp32"), "int8": folder("int8")}
    text = package_card(world(folders=folders), plain(first="fp32", small="int8"), "")
    assert card_rules.faults(text) == []
    found = head(text)
    results = found.pop("model-index")[0]["results"]
    assert {metric["name"] for one in results for metric in one["metrics"]} >= {"max_abs (fp32)"}
    assert found == {
        "library_name": "optimum",
        "tags": ["onnx", "onnxruntime", "fill-mask", "fp32", "int8", "retrieval"],
        "base_model": "org/bert",
        "base_model_relation": "quantized",
        "pipeline_tag": "fill-mask",
        "license": "mit",
        "language": ["en", "no"],
        "datasets": ["org/rows"],
    }
    assert 'folder = "."\n' in text
    assert 'ORTModelForMaskedLM.from_pretrained(folder, provider="CPUExecutionProvider")' in text
    assert 'pass its file to `from_pretrained`: `file_name="model_small.onnx"` for int8.' in text
    assert "| `fp32` | `model.onnx` | passed |" in text
    assert "| `int8` | `model_small.onnx` | failed |" in text
    assert "## Accuracy\n" in text
    assert "## Speed\n" in text


def test_the_card_of_its_kind_stays_and_the_rest_is_added() -> None:
    text = package_card(world(), Contents(kind="transformers.js"), OWN)
    assert card_rules.faults(text) == []
    found = head(text)
    assert (found["library_name"], found["pipeline_tag"]) == ("transformers.js", "sentence-similarity")
    assert found["tags"][:2] == ["transformers.js", "onnx"]
    assert found["tags"].count("onnx") == 1
    assert found["license"] == "mit"
    assert text.index("# Mine\n\n| file | MB |\n") < text.index("## Accuracy\n")


def test_a_damaged_head_of_a_card_is_replaced() -> None:
    text = package_card(world(), plain(first="fp32"), "---\nlicense: [\n---\n\n# Mine\n")
    assert head(text)["license"] == "mit"
    assert "# Mine\n" in text


def test_the_card_of_compiled_targets_says_how_each_backend_is_loaded() -> None:
    inner = {
        "a": compiled("openvino", name="a", properties={"HINT": "f32"}),
        "b": compiled("openvino", name="b", properties={"HINT": "f32"}),
        "c": compiled("qaic", name="c"),
        "again": compiled("qaic", name="again"),
    }
    roles = {"a": "fp32", "b": "o2", "c": "int8", "again": "int8"}
    folders = {target: inner[role] for role, target in roles.items()}
    text = package_card(world(folders=folders), Contents(kind="compiled", roles=roles, inner=inner), "")
    assert card_rules.faults(text) == []
    assert head(text)["library_name"] == "openvino"
    assert head(text)["tags"][:2] == ["openvino", "QEfficient"]
    assert "onnx" not in head(text)["tags"]
    assert text.count("\n```python\n") == 2
    assert "\n### Compiled for openvino: `a`, `b`\n\n```sh\npip install openvino==7.5.3\n```\n" in text
    assert "exactly these properties: `HINT: f32`" in text
    assert "\nFor the other folders, change `folder`: `b`.\n" in text
    assert "\n### Compiled for qaic: `c`, `again`\n" in text
    assert "| `o2` | `b/` |" in text
    assert "| `int8` | `c/`, `again/` |" in text


def test_each_kind_of_package_names_the_library_that_loads_it() -> None:
    found = {
        kind: head(package_card(world(), Contents(kind=kind), "")).get("library_name")
        for kind in ("genai", "ort-model-package", "server", "triton", "ovms", "of-a-plugin")
    }
    assert found == {
        "genai": "onnxruntime-genai", "ort-model-package": "onnxruntime", "server": "onnxruntime",
        "triton": "onnxruntime", "ovms": "openvino", "of-a-plugin": None,
    }  # fmt: skip


def test_a_model_package_says_where_each_variant_is() -> None:
    names = ("encoder/component.json", "encoder/small/encoder.onnx", "manifest.json")
    files = tuple(File(name, Digest("d" * 64), 3) for name in names)
    contents = Contents(kind="ort-model-package", whole=Folder(name=".", files=files), roles={"small": "fp32"})
    text = package_card(world(), contents, "")
    assert 'select_component("encoder", ' in text
    assert "| `fp32` | `encoder/small/` | passed |" in text


def inputs_of(*shape: int | str) -> dict[str, StageInput]:
    return {name: StageInput(shape, "tensor(int64)") for name in ("input_ids", "attention_mask")}


@pytest.mark.parametrize("state", ["compiled", "prepared"])
@pytest.mark.parametrize("backend", [one.name for one in BACKENDS])
def test_every_backend_has_an_example_and_a_library(backend: str, state: Any) -> None:
    stage = CompiledStage(file="model.bin", inputs=inputs_of("rows", "tokens"), outputs={"out": ("rows", 5)})
    record = CompiledRecord(
        backend=backend, state=state, compiler=CompilerOfRecord(name="maker"), device="X", stages={"forward": stage},
        settings={"provider": "P", "decodes": True},
    )  # fmt: skip
    read = structs.replace(folder("a"), compiled=record)
    snippet = compiled_snippet(read, record)
    names = {node.id for node in ast.walk(ast.parse(snippet.lines)) if isinstance(node, ast.Name)}
    assert library_of_compiled(record) in {"openvino", "onnxruntime", "QEfficient"}
    loads_when_prepared = backend not in {"openvino", "ort", "qnn", "qaic"}
    assert ("tokenizer" in names) == (state == "compiled" or loads_when_prepared)
    assert ("nothing is compiled" in snippet.notes) == (state == "prepared" and not loads_when_prepared)


@pytest.mark.parametrize(("sizes", "fed"), [
    ({"bounds": {"tokens": "77"}}, 'port."], padding="max_length", truncation=True, max_length=77'),
    ({"sizes": {"rows": 1, "tokens": 77}}, 'tonight."], padding="max_length", truncation=True, max_length=77'),
    ({"bounds": {"tokens": "1..77"}}, 'port."], padding=True, truncation=True, return_tensors'),
    ({"bounds": {"rows": "3"}}, ""),
])  # fmt: skip
def test_an_example_feeds_the_shape_that_was_compiled(sizes: dict[str, Any], fed: str) -> None:
    stage = CompiledStage(file="model.blob", inputs=inputs_of("rows", "tokens"), outputs={"out": ("rows", 5)})
    record = CompiledRecord(
        backend="openvino", state="compiled", compiler=CompilerOfRecord(name="openvino"), device="CPU",
        stages={"forward": stage}, settings=sizes,
    )  # fmt: skip
    lines = compiled_snippet(folder("a"), record).lines
    assert fed in lines
    assert ("tokenizer" in lines) == bool(fed)
