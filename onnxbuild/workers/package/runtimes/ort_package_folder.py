"""ort-model-package: writes the folder that ONNX Runtime opens as a model package.

The layout is that of `model_package/README.md` in ONNX Runtime's repository, schema 1.0:

    manifest.json                    the components, by name
    COMPONENT/component.json         its variants by name, in the order in which ONNX Runtime prefers them
    COMPONENT/VARIANT/GRAPH.onnx     with its files of weights, unless several graphs have the same
    shared_assets/sha256-HASH/       files of weights that several graphs have

Each graph of a model is a component, and each target a variant. Tokenizer and configs are at the root.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from msgspec import Struct

from onnxbuild.protocol import Facts, Tell
from onnxbuild.publishing.sha256_sums import sha256_of, sha256_of_bytes, sum_line
from onnxbuild.steps.packaging.ort_package import OrtPackageParams
from onnxbuild.tables.publishing.model_packages import PROVIDERS
from onnxbuild.workers.folders.model_files import copy_model_file, onnx_names
from onnxbuild.workers.folders.model_graphs import copy_data, data_file, external_files
from onnxbuild.workers.package.checksums import closed
from onnxbuild.workers.package.placed_graphs import carry_configs, folders_of

ASSETS = "shared_assets"
WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"

_SCHEMA = "1.0"


class _Graph(Struct, frozen=True, kw_only=True):
    """A graph of a target, and its place in the package. `weights`: the hash of its external files, "" for none."""

    component: str
    role: str
    path: Path
    weights: str


def run(params: OrtPackageParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Write components and variants, the weights that they share once, and the configs at the root."""
    package = outputs["package"]
    progress("hashing the weights")
    graphs = list(_graphs(params, inputs))
    uses = Counter(one.weights for one in graphs if one.weights)
    shared = {hash_ for hash_, times in uses.items() if times > 1}
    progress("copying the graphs")
    carry_configs(params.graphs, inputs, package)
    for one in graphs:
        _copy(one, package, shared)
    _write_components(params, graphs, package, shared)
    facts = {"components": sorted({one.component for one in graphs}), "shared_weights": len(shared)}
    return {**facts, **closed(package)}


def _graphs(params: OrtPackageParams, inputs: Mapping[str, Path]) -> Iterator[_Graph]:
    for role, folder in folders_of(params.graphs, inputs):
        for name in onnx_names(folder):
            component = str(PurePosixPath(name).with_suffix("")).replace("/", "-")
            path = folder / name
            yield _Graph(component=component, role=role, path=path, weights=_hash_of_weights(path))


def _hash_of_weights(path: Path) -> str:
    """The hash by which a package names a folder with these files: of the lines of `sha256sum`, sorted by name."""
    named = {name.removeprefix("./"): data_file(path, name) for name in external_files(path)}
    lines = [sum_line(sha256_of(file), name) for name, file in sorted(named.items())]
    return sha256_of_bytes("".join(lines).encode()) if lines else ""


def _copy(one: _Graph, package: Path, shared: set[str]) -> None:
    place = package / one.component / one.role / one.path.name
    place.parent.mkdir(parents=True, exist_ok=True)
    copy_model_file(one.path, place)
    if one.weights not in shared:
        copy_data(one.path, place)
        return
    asset = package / ASSETS / f"sha256-{one.weights}"
    if not asset.exists():
        asset.mkdir(parents=True)
        copy_data(one.path, asset / one.path.name)


def _write_components(params: OrtPackageParams, graphs: list[_Graph], package: Path, shared: set[str]) -> None:
    variants: dict[str, dict[str, Any]] = defaultdict(dict)
    for one in graphs:
        variants[one.component][one.role] = _variant(params, one, shared)
    for component, by_role in variants.items():
        _write_json(package / component / "component.json", {"component_name": component, "variants": by_role})
    manifest = {
        "schema_version": _SCHEMA,
        "layout": "portable",
        "components": {name: name for name in variants},
        "additional_metadata": {"producer": "onnxbuild", **({"task": params.task} if params.task else {})},
    }
    _write_json(package / "manifest.json", manifest)


def _variant(params: OrtPackageParams, one: _Graph, shared: set[str]) -> dict[str, Any]:
    provider, device = PROVIDERS[params.device_of(one.role)]
    info: dict[str, Any] = {"model_file": one.path.name}
    if one.weights in shared:
        info["session_options"] = {WEIGHTS_FOLDER: f"sha256:{one.weights}"}
    return {
        "variant_directory": one.role,
        "ep": provider,
        "device": device,
        "executor_info": {"ort": info},
        "additional_metadata": {"target": params.graphs[one.role]},
    }


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8", newline="\n")
