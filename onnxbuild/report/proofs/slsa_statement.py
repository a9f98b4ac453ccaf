"""A SLSA provenance statement of a delivered folder: in-toto Statement v1 with the predicate of SLSA v1.

The spec leaves the times of a build optional, and a statement of equal folders has to be equal: so it has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from onnxbuild.deliver.checking.account import Account, StepMade
from onnxbuild.digest import digest_bytes
from onnxbuild.report.proofs.names_of_origins import (
    name_of,
    packages_of,
    page_of_repository,
    purl_of_package,
    purl_of_repository,
)

BUILD_TYPE = "urn:onnxbuild:build:1"
BUILDER = "urn:onnxbuild:builder:unspecified"
_DIGEST = "onnxbuildTree"  # BLAKE3 over names, digests and sizes of files


def statement(account: Account, text: bytes, sha256: Mapping[str, str], builder: str = BUILDER) -> dict[str, Any]:
    """The statement about a folder. `text`: its account; `sha256`: the digests of its files, the account among them."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sha256.items()],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "model": account.model,
                    "target": account.target,
                    "steps": [{"id": one.id, "kind": one.kind, "params": one.params} for one in account.steps],
                },
                "internalParameters": {"steps": [_internal(one) for one in account.steps]},
                "resolvedDependencies": [*_sources(account), *_datasets(account), *_packages(account)],
            },
            "runDetails": {
                "builder": {"id": builder, "version": {"onnxbuild": account.onnxbuild or "unknown"}},
                "metadata": {"invocationId": f"urn:onnxbuild:account:{digest_bytes(text)}"},
            },
        },
    }


def _internal(step: StepMade) -> dict[str, Any]:
    """What a build has settled by itself."""
    return {"id": step.id, "version": step.version, "key": step.key, "toolchain": dict(step.toolchain)}


def _sources(account: Account) -> Iterator[dict[str, Any]]:
    for source in account.origins:
        tree = {_DIGEST: source.digest} if source.digest else {}
        if source.repository:
            yield {
                "name": source.repository,
                "uri": purl_of_repository(source.repository, source.commit),
                "downloadLocation": page_of_repository(source.repository, source.commit),
                "digest": {"gitCommit": source.commit, **tree},
            }
        else:
            yield {"name": name_of(source), "digest": tree}


def _datasets(account: Account) -> Iterator[dict[str, Any]]:
    for name, rows in account.datasets.items():
        commit = {"gitCommit": rows.commit} if rows.repository else {}
        place = {"downloadLocation": page_of_repository(rows.repository, rows.commit)} if rows.repository else {}
        yield {"name": rows.repository or name, **place, "digest": {**commit, _DIGEST: rows.digest}}


def _packages(account: Account) -> Iterator[dict[str, Any]]:
    for (name, version), steps in packages_of(account).items():
        uri = purl_of_package(name, version)
        yield {"name": name, "uri": uri, "annotations": {"version": version, "steps": steps}}
