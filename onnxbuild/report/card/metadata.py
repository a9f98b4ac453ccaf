"""The metadata of a card, as the Hub reads it: YAML between two lines of dashes at the beginning of README.md."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from onnxbuild.report.card.compiled_snippets import library_of_compiled
from onnxbuild.report.card.python_snippets import library_of
from onnxbuild.report.card.subject import Folder, Subject
from onnxbuild.report.evidence.evidence import Check, Step, VariantEvidence
from onnxbuild.tables.bounds.row_metrics import ROW_METRICS
from onnxbuild.tables.publishing.hub_tasks import hub_task, pipeline_tag

# `named_files` recognizes a card of ours by this line. A comment is no metadata, so a tool that rewrites the metadata
# leaves it out, and then the card is somebody's own.
MARK = "# A card of onnxbuild. `onnxbuild card` replaces this file; without this line, it keeps it."
_LEVEL = 0.95
_OWN_ROWS, _OWN_SAMPLES = "onnxbuild-rows", "onnxbuild-samples"


def front_matter(subject: Subject) -> str:
    """The metadata as text, with the lines of dashes."""
    return f"---\n{MARK}\n{as_yaml(metadata(subject))}---\n"


def as_yaml(values: Mapping[str, Any]) -> str:
    """Values as the lines of YAML that a card has."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(dict(values), Dumper=dumper, sort_keys=False, allow_unicode=True, width=100))


def metadata(subject: Subject, library: str | None = None) -> dict[str, Any]:
    """The metadata as plain values. What is not known is left out, and nothing is guessed.

    `library`: what loads the files, empty if it is not known; by default, that of the example.
    """
    stated = subject.stated
    repos = list(dict.fromkeys(origin.repo for origin in subject.origins if origin.repo))
    values = {
        "library_name": library_of(subject.task, subject.best) if library is None else library,
        "tags": _tags(subject),
        "base_model": repos[0] if len(repos) == 1 else repos,
        "base_model_relation": "quantized" if repos and subject.is_quantized else None,
        "pipeline_tag": pipeline_tag(subject.task, stated.pipeline_tag),
        "license": stated.license,
        "license_name": stated.license_name,
        "license_link": stated.license_link,
        "language": list(stated.languages),
        "datasets": list(stated.datasets),
        "model-index": _index(subject),
    }
    return {name: value for name, value in values.items() if value}


def _tags(subject: Subject) -> list[str]:
    precisions = (variant.precision for variant in subject.delivered)
    known = hub_task(subject.task)
    task = [known.tag if known is not None else subject.task] if subject.task else []
    runtimes = (tag for folder in subject.folders.values() for tag in _runtimes(folder))
    return list(dict.fromkeys([*runtimes, *task, *precisions, *subject.stated.tags]))


def _runtimes(folder: Folder) -> tuple[str, ...]:
    """The format of the files and what runs them; OpenVINO and accelerators have files of their own."""
    library = "onnxruntime" if folder.compiled is None else library_of_compiled(folder.compiled)
    return ("onnx", "onnxruntime") if library == "onnxruntime" else (library,) if library else ()


# -- the measured results ---------------------------------------------------------------------------------------------


def _index(subject: Subject) -> list[dict[str, Any]]:
    """Every metric of the delivered variants, by what it was measured on; none that the device itself did not give.

    Results on the same dataset must be one entry: huggingface_hub merges them when it reads a card.
    """
    tag = pipeline_tag(subject.task, subject.stated.pipeline_tag)
    found: dict[str, dict[str, Any]] = {}
    for variant in subject.delivered if tag is not None else ():
        for check in filter(_is_result, variant.checks):
            name, words = _dataset(subject, variant, check)
            entry = {"task": {"type": tag}, "dataset": {"name": words, "type": name}, "metrics": []}
            found.setdefault(name, entry)["metrics"].append(_metric(variant, check))
    return [{"name": subject.model, "results": list(found.values())}] if found else []


def _is_result(check: Check) -> bool:
    return math.isfinite(check.value) and not check.ran_on


def _metric(variant: VariantEvidence, check: Check) -> dict[str, Any]:
    interval = check.value_interval
    args = {"confidence_interval": list(interval), "confidence_level": _LEVEL} if interval else None
    name = f"{check.metric} ({variant.target}){_fewer(variant, check)}"
    return {"type": check.metric, "value": check.value, "name": name} | ({"args": args} if args else {})


def _fewer(variant: VariantEvidence, check: Check) -> str:
    """`, 60 rows` where a metric was not measured on all rows of its dataset, which the entry names."""
    rows = _step_of(variant, check).facts.get("rows") or {}
    return "" if check.measured_on in {"", f"{rows.get('count')} rows"} else f", {check.measured_on}"


def _step_of(variant: VariantEvidence, check: Check) -> Step:
    return next(step for step in variant.steps if step.id == check.action)


def _dataset(subject: Subject, variant: VariantEvidence, check: Check) -> tuple[str, str]:
    """The identifier and the name of what a metric was measured on."""
    step = _step_of(variant, check)
    name = str(step.params.get("dataset") or "")
    if name:
        return subject.datasets.get(name, name), name
    if check.metric in ROW_METRICS:
        return _OWN_ROWS, f"rows that come with onnxbuild ({languages(step)})"
    return _OWN_SAMPLES, f"inputs made by onnxbuild ({check.data})" if check.data else "inputs made by onnxbuild"


def languages(step: Step) -> str:
    """`200: en 76, de 31`: how many rows a validation read."""
    rows: Mapping[str, Any] = step.facts.get("rows") or {}
    counts = rows.get("languages") or {}
    return ": ".join(filter(None, (str(rows.get("count", "")), ", ".join(_counted(counts)))))


def _counted(counts: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"{name} {count}" for name, count in counts.items())
