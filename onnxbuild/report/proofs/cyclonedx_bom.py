"""A bill of materials of a delivered folder: CycloneDX 1.6 in JSON, with a model card.

It is equal for equal folders: its serial number comes from the digest of `onnxbuild.json`, and it has no time.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from onnxbuild.deliver.checking.account import Account, SourceRead, StepMade
from onnxbuild.digest import digest_bytes
from onnxbuild.report.evidence.saved import evidence_of, read_delivered
from onnxbuild.report.proofs.names_of_origins import (
    name_of,
    packages_of,
    page_of_repository,
    purl_of_package,
    purl_of_repository,
    spdx,
)
from onnxbuild.tables.thresholds import side_of

_MODEL, _BUILDER = "model", "onnxbuild"
_SPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # of URLs, as in RFC 9562
_BASE = "urn:onnxbuild:account:"


def bom(account: Account, text: bytes, sha256: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    """The bill of a folder. `text`: its account; `sha256`: the digests of its files; `config`: its config.json."""
    components = [*_sources(account), *_datasets(account), *_packages(account)]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_SPACE, _BASE + digest_bytes(text))}",
        "version": 1,
        "metadata": {"tools": {"components": [_builder(account)]}, "component": _model(account, text, sha256, config)},
        "components": components,
        "dependencies": [
            {"ref": _MODEL, "dependsOn": [one["bom-ref"] for one in components]},
            *({"ref": one["bom-ref"]} for one in components),
        ],
    }


def _builder(account: Account) -> dict[str, Any]:
    version = account.onnxbuild or "unknown"
    purl = purl_of_package("onnxbuild", version)
    return {"type": "application", "bom-ref": _BUILDER, "name": "onnxbuild", "version": version, "purl": purl}


def _model(account: Account, text: bytes, sha256: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    digest = digest_bytes(text)
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": account.name,
        "version": digest[:16],
        "description": f"{account.model} as ONNX in {account.precision or 'unknown precision'}",
        **_licenses(account.origins),
        "components": [
            _file(name, sha256[name], account.files[name].blake3 if name in account.files else digest)
            for name in sha256
        ],
        "modelCard": _card(account, text, config),
        "properties": [
            {"name": "onnxbuild:target", "value": account.target},
            {"name": "onnxbuild:precision", "value": account.precision},
            *({"name": f"onnxbuild:step:{step.id}", "value": step.key} for step in account.steps),
        ],
    }


def _file(name: str, sha256: str, blake3: str) -> dict[str, Any]:
    hashes = [{"alg": "SHA-256", "content": sha256}, {"alg": "BLAKE3", "content": blake3}]
    return {"type": "file", "bom-ref": f"file:{name}", "name": name, "hashes": hashes}


# -- the model card ---------------------------------------------------------------------------------------------------


def _card(account: Account, text: bytes, config: Mapping[str, Any]) -> dict[str, Any]:
    family, classes = config.get("model_type"), config.get("architectures")
    parameters: dict[str, Any] = {
        "task": account.task or None,
        "architectureFamily": family if isinstance(family, str) else None,
        "modelArchitecture": classes[0] if isinstance(classes, list) and classes and _is_text(classes[0]) else None,
        "datasets": [{"ref": f"dataset:{name}"} for name in account.datasets] or None,
    }
    measured = [*_figures(account, text)]
    return {
        "modelParameters": {name: value for name, value in parameters.items() if value is not None},
        **({"quantitativeAnalysis": {"performanceMetrics": measured}} if measured else {}),
        "considerations": {"technicalLimitations": [*_limitations(account)]},
    }


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _figures(account: Account, text: bytes) -> Iterator[dict[str, Any]]:
    """What validations and benchmarks have measured, one entry per figure."""
    try:
        row = evidence_of([read_delivered(text)], "").variants[0].row
    except ValueError:  # of a version that described its steps in another way
        return
    rows = next((_rows(step) for step in account.checks if step.kind == "validate"), "")
    for name, metric in row.metrics.items():
        yield {"type": name, "value": repr(metric.value), "slice": rows}
    for name in ("size_bytes", "latency_ms", "baseline_ms", "speedup", "tokens_per_second", "first_token_ms"):
        if (value := getattr(row, name)) is not None:
            yield {"type": name, "value": repr(value)}


def _rows(step: StepMade) -> str:
    rows = step.params.get("dataset")
    return f"dataset {rows}" if rows else "rows of onnxbuild"


def _limitations(account: Account) -> Iterator[str]:
    checks = [step for step in account.checks if step.kind == "validate" and "skipped" not in step.facts]
    if not checks:
        yield "it was not validated against the model that it was made from"
    for step in checks:
        bounds = step.facts.get("thresholds")
        words = (_bound(name, bound) for name, bound in bounds.items()) if isinstance(bounds, Mapping) else ()
        yield f"validated against {step.facts.get('reference', 'its source')} within these bounds: {', '.join(words)}"


def _bound(name: str, bound: Any) -> str:
    """A bound as text; one that is relative to the reference is text already."""
    sign = ">= " if side_of(name) == "min" else "<= "
    return f"{name} {bound if isinstance(bound, str) else f'{sign}{bound}'}"


# -- what it was made from --------------------------------------------------------------------------------------------


def _licenses(sources: tuple[SourceRead, ...]) -> dict[str, Any]:
    """The licenses that sources state; nothing if one of them is not known."""
    names = list(dict.fromkeys(source.license for source in sources))
    if not names or any(name is None for name in names):
        return {}
    return {"licenses": [_license(str(name)) for name in names]}


def _license(name: str) -> dict[str, Any]:
    known = spdx(name)
    return {"license": {"id": known} if known is not None else {"name": name}}


def _sources(account: Account) -> Iterator[dict[str, Any]]:
    for source in account.origins:
        place: dict[str, Any] = {}
        if source.repository:
            page = page_of_repository(source.repository, source.commit)
            place = {
                "version": source.commit,
                "purl": purl_of_repository(source.repository, source.commit),
                "externalReferences": [{"type": "distribution", "url": page}],
            }
        yield {
            "type": "machine-learning-model",
            "bom-ref": f"source:{source.step}",
            "name": name_of(source),
            **place,
            **_licenses((source,)),
            "properties": [{"name": "onnxbuild:digest", "value": source.digest or ""}],
        }


def _datasets(account: Account) -> Iterator[dict[str, Any]]:
    for name, rows in account.datasets.items():
        place = {"version": rows.commit} if rows.repository else {}
        yield {
            "type": "data",
            "bom-ref": f"dataset:{name}",
            "name": rows.repository or name,
            **place,
            "data": [{"type": "dataset", "name": name}],
            "properties": [{"name": "onnxbuild:digest", "value": rows.digest}],
        }


def _packages(account: Account) -> Iterator[dict[str, Any]]:
    for (name, version), steps in packages_of(account).items():
        purl = purl_of_package(name, version)
        used = [{"name": "onnxbuild:step", "value": step} for step in steps]
        yield {
            "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl, "properties": used,
        }  # fmt: skip
