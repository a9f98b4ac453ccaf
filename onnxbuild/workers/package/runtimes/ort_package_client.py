"""Checks a model package with its client: the session that ONNX Runtime creates from it computes what its graph does.

ONNX Runtime selects one variant per provider. To check the others for the CPU as well, each is listed first in a
manifest that refers to the files of the package.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from onnxbuild.protocol import CheckFailed, Facts, Tell
from onnxbuild.steps.packaging.package_kind import ClientParams
from onnxbuild.tables.publishing.model_packages import FIRST_WITH_PACKAGES, PROVIDERS
from onnxbuild.workers.engines.smoke_run import sample_feeds
from onnxbuild.workers.folders.configs import read_config
from onnxbuild.workers.package.client_checks import (
    check_equal,
    largest_difference,
    reported,
    skipped,
    unequal,
    unopened,
)
from onnxbuild.workers.package.runtimes.ort_package_folder import ASSETS, WEIGHTS_FOLDER

_CLIENT = "onnxruntime.ModelPackage"
_CPU = PROVIDERS["cpu"][0]
_BOUND = 1e-5  # the same graph and the same library
_SEED = 20

Variants = Mapping[str, Mapping[str, Any]]  # of a component, by name, as ONNX Runtime has read them


def run(params: ClientParams, inputs: Mapping[str, Path], outputs: Mapping[str, Path], progress: Tell) -> Facts:
    """Open the package and compare every variant for the CPU with a plain session on its graph.

    Errors: CheckFailed OBE190 for other numbers or another variant than the first, OBE191 if it does not open.
    """
    if not hasattr(onnxruntime, "ModelPackageContext"):
        return skipped(f"needs onnxruntime {FIRST_WITH_PACKAGES}", outputs)
    package = inputs["model"]
    components = _read(package)
    _check_names(components, params)
    _check_assets(package)
    differences: dict[str, float] = {}
    for component, variants in components.items():
        progress(f"opening {component}")
        differences |= dict(_differences(package, component, variants))
    others = sorted({name for one in components.values() for name in one if name not in _for_cpu(one)})
    if not differences:
        providers = sorted({variant["ep"] for one in components.values() for variant in one.values()})
        return skipped(f"needs {', '.join(providers)}", outputs)
    check_equal(differences, _BOUND, _CLIENT)
    facts = {"client": f"onnxruntime {onnxruntime.__version__}", "max_difference": differences, "bound": _BOUND}
    return reported({**facts, **({"not_run": others} if others else {})}, outputs)


def _read(package: Path) -> Mapping[str, Variants]:
    """The components of a package with their variants, as ONNX Runtime reads them."""
    try:
        info = onnxruntime.ModelPackage.open(str(package)).get_info()
    except Exception as error:
        raise unopened(_CLIENT, "manifest.json", error) from error
    return {one["name"]: {variant["name"]: variant for variant in one["variants"]} for one in info["components"]}


def _check_names(components: Mapping[str, Variants], params: ClientParams) -> None:
    """Check that the package has the variants that it was written for, and no other. Errors: CheckFailed OBE191."""
    found, wanted = {name for one in components.values() for name in one}, set(params.graphs)
    if found != wanted:
        error = ValueError(f"it has the variants {sorted(found)} instead of {sorted(wanted)}")
        raise unopened(_CLIENT, "component.json", error)


def _check_assets(package: Path) -> None:
    """Check that shared weights are those that their names say. Errors: CheckFailed OBE191."""
    for folder in sorted((package / ASSETS).glob("sha256-*")):
        uri = onnxruntime.ModelPackage.compute_directory_hash(str(folder))
        if uri != folder.name.replace("-", ":", 1):
            name = folder.relative_to(package).as_posix()
            raise unopened(_CLIENT, name, ValueError(f"the hash of its content is {uri}"))


def _for_cpu(variants: Variants) -> list[str]:
    return [name for name, one in variants.items() if one["ep"] == _CPU]


def _differences(package: Path, component: str, variants: Variants) -> Iterator[tuple[str, float]]:
    names = _for_cpu(variants)
    for number, name in enumerate(names):
        if number == 0:
            yield f"{component}/{name}", _difference(package, package, component, variants[name])
            continue
        with tempfile.TemporaryDirectory() as scratch:
            _list_alone(package, Path(scratch), component, variants[name])
            yield f"{component}/{name}", _difference(Path(scratch), package, component, variants[name])


def _list_alone(package: Path, folder: Path, component: str, variant: Mapping[str, Any]) -> None:
    """Write a manifest with one variant, which refers to the files of the package."""
    info = {namespace: json.loads(text) for namespace, text in variant["executor_info"].items()}
    body = {key: variant[key] for key in ("variant_directory", "ep", "device")} | {"executor_info": info}
    manifest = {
        "schema_version": "1.0",
        "layout": "installed",
        "components": {component: {"variants": {variant["name"]: body}}},
        "shared_assets": {
            one.name.replace("-", ":", 1): str(one.resolve()) for one in (package / ASSETS).glob("sha256-*")
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def _difference(opened: Path, package: Path, component: str, variant: Mapping[str, Any]) -> float:
    """The largest difference of all outputs, for one batch of made-up inputs."""
    name = f"{component}/{variant['name']}"
    try:
        client = _selected(opened, component, variant["name"])
        direct = _direct(package, variant)
        feeds = _feeds(direct, read_config(package))
        got, expected = client.run(None, feeds), direct.run(None, feeds)
    except CheckFailed:
        raise
    except Exception as error:
        raise unopened(_CLIENT, name, error) from error
    return max(largest_difference(one, other, name) for one, other in zip(got, expected, strict=True))


def _selected(opened: Path, component: str, variant: str) -> Any:
    """The session of the variant that is selected for the CPU. Errors: CheckFailed OBE190 for another one."""
    context = onnxruntime.ModelPackageContext(str(opened))
    options = onnxruntime.ModelPackageOptions(onnxruntime.SessionOptions())
    chosen = context.select_component(component, options)
    if chosen.get_selected_variant_name() != variant:
        found = chosen.get_selected_variant_name()
        raise unequal(f"{_CLIENT} selects the variant `{found}` of `{component}` for the CPU, not `{variant}`", {})
    return chosen.create_session()


def _direct(package: Path, variant: Mapping[str, Any]) -> Any:
    """A plain session on the graph of a variant."""
    info = json.loads(variant["executor_info"]["ort"])
    options = onnxruntime.SessionOptions()
    weights = info.get("session_options", {}).get(WEIGHTS_FOLDER)
    if weights is not None:
        options.add_session_config_entry(WEIGHTS_FOLDER, str(package.resolve() / ASSETS / weights.replace(":", "-", 1)))
    path = Path(variant["variant_directory"]) / info["model_file"]
    return onnxruntime.InferenceSession(str(path), options, providers=[_CPU])


def _feeds(session: Any, config: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Made-up inputs: states and pictures of random numbers, ids below the size of the vocabulary."""
    random = np.random.default_rng(_SEED)
    words = int(config.get("vocab_size") or 1)
    feeds = sample_feeds(session, config)
    for name, value in feeds.items():
        if np.issubdtype(value.dtype, np.floating) and "mask" not in name:
            feeds[name] = random.standard_normal(value.shape).astype(value.dtype)
        elif name in {"input_ids", "decoder_input_ids"}:
            feeds[name] = random.integers(0, words, value.shape).astype(value.dtype)
    return feeds
