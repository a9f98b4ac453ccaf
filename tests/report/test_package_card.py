"""The card of a package: what its kind has written stays, and what was measured is added."""

from __future__ import annotations

from typing import Any

import card_rules
import yaml
from card_worlds import folder, subject
from evidence_worlds import evidence
from msgspec import structs

from onnxbuild.report.card.package_card import package_card
from onnxbuild.report.card.subject import Subject

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


def test_a_package_without_a_card_gets_one_with_license_base_model_and_results() -> None:
    folders = {"fp32": folder("fp32"), "int8": folder("int8")}
    text = package_card(world(folders=folders), "plain", "")
    assert card_rules.faults(text) == []
    found = head(text)
    results = found.pop("model-index")[0]["results"]
    assert {metric["name"] for one in results for metric in one["metrics"]} >= {"max_abs (fp32)"}
    assert found == {
        "library_name": "onnx",
        "tags": ["onnx", "onnxruntime", "fill-mask", "fp32", "int8", "retrieval"],
        "base_model": "org/bert",
        "base_model_relation": "quantized",
        "pipeline_tag": "fill-mask",
        "license": "mit",
        "language": ["en", "no"],
        "datasets": ["org/rows"],
    }
    assert 'ORTModelForMaskedLM.from_pretrained(".")' in text
    assert "## Accuracy\n" in text
    assert "## Speed\n" in text


def test_the_card_of_its_kind_stays_and_the_rest_is_added() -> None:
    text = package_card(world(), "transformers.js", OWN)
    assert card_rules.faults(text) == []
    found = head(text)
    assert (found["library_name"], found["pipeline_tag"]) == ("transformers.js", "sentence-similarity")
    assert found["tags"][:2] == ["transformers.js", "onnx"]
    assert found["tags"].count("onnx") == 1
    assert found["license"] == "mit"
    assert text.index("# Mine\n\n| file | MB |\n") < text.index("## Accuracy\n")


def test_a_damaged_head_of_a_card_is_replaced() -> None:
    text = package_card(world(), "plain", "---\nlicense: [\n---\n\n# Mine\n")
    assert head(text)["license"] == "mit"
    assert "# Mine\n" in text
