"""What the Hub refuses in the metadata of a model card, as far as its documentation says it, written without our code.

https://huggingface.co/docs/hub/model-cards and the `modelcard.md` of hub-docs name the fields and their forms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

LICENSES = {
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "gpl-3.0",
    "bsd-3-clause", "llama2", "llama3", "gemma", "other", "unknown",
}  # fmt: skip
PIPELINES = {
    "text-classification", "token-classification", "question-answering", "fill-mask", "feature-extraction",
    "sentence-similarity", "text-generation", "text2text-generation", "summarization", "translation", "text-ranking",
    "image-classification", "zero-shot-image-classification", "audio-classification", "automatic-speech-recognition",
    "image-to-text", "multiple-choice", "zero-shot-classification",
}  # fmt: skip
TEXTS = {"library_name", "base_model_relation", "pipeline_tag", "license", "license_name", "license_link"}
LISTS = {"tags", "language", "datasets"}
KNOWN = TEXTS | LISTS | {"base_model", "model-index"}
REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}")


def faults(content: str) -> list[str]:
    """Every fault of a README.md; none for one that the Hub takes."""
    lines = content.split("\n")
    if lines[0] != "---" or "---" not in lines[1:]:
        return ["metadata is missing"]
    try:
        found = yaml.safe_load("\n".join(lines[1 : lines.index("---", 1)]))
    except yaml.YAMLError as error:
        return [f"metadata is not YAML: {error}"]
    return list(_faults(found)) if isinstance(found, dict) else ["metadata is no mapping"]


def _faults(found: dict[str, Any]) -> Iterator[str]:
    yield from (f"`{name}` is not known" for name in found if name not in KNOWN)
    yield from (f"`{name}` must be a text" for name in TEXTS if not isinstance(found.get(name, ""), str))
    yield from (f"`{name}` must be a list of texts" for name in LISTS if not _is_list(found.get(name, [])))
    yield from _choices(found)
    bases = found.get("base_model", [])
    for base in bases if isinstance(bases, list) else [bases]:
        if not isinstance(base, str) or not REPOSITORY.fullmatch(base):
            yield f"`base_model` {base!r} is not a model id"
    yield from _index(found.get("model-index", []))


def _choices(found: dict[str, Any]) -> Iterator[str]:
    if found.get("license", "mit") not in LICENSES:
        yield f"`license` must be one of {sorted(LICENSES)}"
    if found.get("pipeline_tag", "fill-mask") not in PIPELINES:
        yield "`pipeline_tag` is not known"
    if found.get("base_model_relation", "quantized") not in {"finetune", "adapter", "quantized", "merge"}:
        yield "`base_model_relation` is not known"
    if "base_model_relation" in found and "base_model" not in found:
        yield "`base_model_relation` without a `base_model`"
    if any(not re.fullmatch(r"[a-z]{2,3}(-\w+)*|multilingual|code", one) for one in found.get("language", ())):
        yield "`language` must be ISO 639 codes"


def _index(entries: Any) -> Iterator[str]:
    if not isinstance(entries, list):
        yield "`model-index` must be a list"
        return
    for entry in entries:
        if set(entry) != {"name", "results"} or not isinstance(entry["name"], str) or not entry["results"]:
            yield "an entry of `model-index` has a `name` and `results`"
            continue
        for result in entry["results"]:
            yield from _result(result)


def _result(result: dict[str, Any]) -> Iterator[str]:
    if not isinstance(result.get("task", {}).get("type"), str):
        yield "a result has a `task.type`"
    dataset = result.get("dataset", {})
    if not all(isinstance(dataset.get(name), str) and dataset[name] for name in ("type", "name")):
        yield "a result has a `dataset.type` and a `dataset.name`"
    for metric in result.get("metrics") or [{}]:
        if not isinstance(metric.get("type"), str) or not isinstance(metric.get("value"), int | float | str):
            yield "a metric has a `type` and a `value`"
        if set(metric) - {"type", "value", "name", "config", "args", "verified", "verifyToken"}:
            yield f"a metric has unknown fields: {sorted(metric)}"


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def metadata_of(readme: bytes) -> dict[str, Any]:
    """The metadata of a README.md, which the Hub's API shows as `cardData`; empty if there are none."""
    lines = readme.decode(errors="replace").split("\n")
    if lines[0] != "---" or "---" not in lines[1:]:
        return {}
    try:
        found = yaml.safe_load("\n".join(lines[1 : lines.index("---", 1)]))
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}
