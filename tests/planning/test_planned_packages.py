"""Packages in a plan: what they are made of, what they wait for, how they are named, and what is in their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.action_graph import ActionGraph, OutputRef
from onnxbuild.planning.expand import expand
from onnxbuild.planning.locked import Lock
from onnxbuild.planning.select import named, packages_named, select
from onnxbuild.steps import KINDS
from onnxbuild.steps.kind import Kind
from onnxbuild.steps.packaging.package_kind import Client, Package, PackageParams

MANIFEST = """
onnxbuild: 1
targets:
  fp32: {{}}
  o3: {{optimize: O3}}
  int8: {{optimize: O2, quantize: {{method: dynamic, preset: avx512_vnni}}}}
  old: {{quantize: {{method: dynamic, preset: avx2}}}}
  q4: {{quantize: q4}}
  off: {{optimize: O1, validate: false}}
{defaults}
models:
  m:
    source: random:bert
    task: feature-extraction
    targets: [fp32, o3, int8, old, q4, off]
    package: {package}
"""
MACHINE = Machine(cpu="Toy", architecture="x86_64", flags=(), cores=2)


def graph_of(folder: Path, package: str, defaults: str = "", kinds: Any = KINDS) -> ActionGraph:
    path = folder / "m.yaml"
    path.write_text(MANIFEST.format(package=package, defaults=defaults))
    return expand(load_manifest(str(path), kinds=kinds), kinds, Lock(), MACHINE)


def roles(graph: ActionGraph, name: str) -> Any:
    return graph.actions[f"m:package-{name}"].params["graphs"]


def test_the_first_target_of_a_plain_package_has_the_plain_name(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "{plain: {targets: [int8, fp32]}}")
    assert roles(graph, "plain") == {"": "int8", "fp32": "fp32"}
    action = graph.actions["m:package-plain"]
    assert action.inputs == {
        "model": OutputRef("m:fetch", "model"),
        "graph-int8": OutputRef("m/int8:quantize", "model"),
        "graph-fp32": OutputRef("m:export", "model"),
    }
    assert graph.actions["m:client-plain"].inputs == {"model": OutputRef("m:package-plain", "package")}


def test_files_for_sentence_transformers_have_the_names_of_the_library(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "{sentence-transformers: {targets: [fp32, o3, int8, old, q4]}}")
    assert roles(graph, "sentence-transformers") == {
        "": "fp32", "O3": "o3", "qint8_avx512_vnni": "int8", "quint8_avx2": "old", "q4": "q4",
    }  # fmt: skip
    lone = graph_of(tmp_path, "{sentence-transformers: {targets: [int8, o3]}}")
    assert roles(lone, "sentence-transformers") == {"": "int8", "O3": "o3"}
    written = graph_of(tmp_path, '{sentence-transformers: {targets: {"": o3, tiny: q4}}}')
    assert roles(written, "sentence-transformers") == {"": "o3", "tiny": "q4"}


def test_a_model_package_knows_the_devices_of_its_variants(tmp_path: Path) -> None:
    devices = "defaults: {targets: [{name: gpu, device: cuda}, fp32]}"
    text = MANIFEST.replace("    targets: [fp32, o3, int8, old, q4, off]\n", "")
    path = tmp_path / "m.yaml"
    path.write_text(text.format(defaults=devices, package="ort-model-package"))
    graph = expand(load_manifest(str(path), kinds=KINDS), KINDS, Lock(), MACHINE)
    params = graph.actions["m:package-ort-model-package"].params
    assert params["graphs"] == {"gpu": "gpu", "fp32": "fp32"}
    assert params["devices"] == {"gpu": "cuda"}


def test_a_genai_package_knows_the_limit_of_the_export(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "onnxbuild: 1\nmodels: {m: {source: random:gpt2, task: text-generation-with-past, targets: [{name: t}],"
        " export: {max_length: 40}, package: genai}}\n"
    )
    graph = expand(load_manifest(str(path), kinds=KINDS), KINDS, Lock(), MACHINE)
    assert (roles(graph, "genai"), graph.actions["m:package-genai"].params["max_length"]) == ({"": "t"}, 40)


def test_a_package_waits_for_the_checks_of_its_targets_and_of_no_other(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "{plain: {targets: [int8, off]}}")
    action = graph.actions["m:package-plain"]
    # Opening a graph is its check where it is not validated; the proof is of what int8 was made from.
    assert set(action.after) == {"m/int8:validate", "m/off:load", "m/int8:validate-fp32"}
    assert action.id in graph.dependents()["m/int8:validate"]
    (packed,) = graph.packages
    assert set(packed.variant.needed) >= {*action.after, "m:client-plain", "m:package-plain", "m:fetch", "m:export"}
    assert (packed.variant.name, packed.variant.precision) == ("m/packages/plain", "int8, fp32")
    assert ("m", "packages/plain") in graph.folders


def test_the_client_and_the_way_to_write_targets_are_not_in_the_key_of_a_package(tmp_path: Path) -> None:
    one = graph_of(tmp_path, "{plain: {targets: [int8]}}")
    other = graph_of(tmp_path, '{plain: {targets: {"": int8}, client: false}}')
    assert one.actions["m:package-plain"].params == other.actions["m:package-plain"].params
    assert {"client", "targets"} & one.actions["m:package-plain"].params.keys() == set()
    assert "m:client-plain" not in other.actions
    assert other.packages[0].client is None


@pytest.mark.parametrize(
    ("package", "names"),
    [
        ("plain", ["plain"]),
        ("[plain, sentence-transformers]", ["plain", "sentence-transformers"]),
        ("{plain: true, sentence-transformers: false}", ["plain"]),
        ("{plain: {}, sentence-transformers: {targets: [o3]}}", ["plain", "sentence-transformers"]),
    ],
)
def test_every_form_of_the_block(tmp_path: Path, package: str, names: list[str]) -> None:
    assert [one.name for one in graph_of(tmp_path, package).packages] == names


def test_defaults_give_every_model_its_packages(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(
        "onnxbuild: 1\ntargets: {fp32: {}}\ndefaults: {package: plain, source: random:bert, task: fill-mask, "
        "targets: [fp32]}\nmodels: {a: {}, b: {package: {plain: {client: false}}}, c: {package: []}}\n"
    )
    graph = expand(load_manifest(str(path), kinds=KINDS), KINDS, Lock(), MACHINE)
    assert [(one.variant.name, one.client) for one in graph.packages] == [
        ("a/packages/plain", "a:client-plain"), ("b/packages/plain", None),
    ]  # fmt: skip


def test_packages_are_selected_by_folder_by_action_and_by_kind(tmp_path: Path) -> None:
    graph = graph_of(tmp_path, "{plain: {targets: [o3]}, sentence-transformers: {targets: [fp32]}}")
    plain = {"m:package-plain", "m:client-plain"}
    both = plain | {"m:package-sentence-transformers", "m:client-sentence-transformers"}
    assert named(graph, ["m/packages/plain"]) == plain
    assert named(graph, [":client"]) == {name for name in both if "client" in name}
    assert named(graph, ["m:package"]) == {name for name in both if ":package" in name}
    assert named(graph, ["m:package-plain"]) == {"m:package-plain"}
    assert both <= named(graph, ["m"])
    assert not named(graph, ["m/o3"]) & both
    part = select(graph, ["m/packages/plain"])
    assert [one.name for one in part.packages] == ["plain"]
    assert {"m/o3:optimize", "m/o3:validate"} <= part.actions.keys()
    assert "m/q4:quantize" not in part.actions
    assert [one.name for one in packages_named(graph, ["m/packages/plain"])] == ["plain"]
    assert [one.name for one in packages_named(graph, ["m/o3"])] == []


class _OwnParams(PackageParams, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A toy."""

    OF_CLIENT = ("client", "speed")

    speed: int = 1
    colour: str = "red"


OWN = Package(
    name="own",
    summary="a toy",
    version=3,
    params=_OwnParams,
    worker="toys:run",
    client=Client(worker="toys:check", version=5, packages=lambda _params: ("program toy",)),
)


def test_a_package_of_a_plugin_is_planned_like_a_built_in_one(tmp_path: Path) -> None:
    own: dict[str, Kind] = {kind.name: kind for kind in OWN.kinds}
    assert {name: (kind.version, kind.pure) for name, kind in own.items()} == {
        "package-own": (3, False), "client-own": (5, False),
    }  # fmt: skip
    graph = graph_of(tmp_path, "{own: {targets: [o3], speed: 7, colour: blue}}", kinds={**KINDS, **own})
    assert dict(graph.actions["m:package-own"].params) == {
        "task": "feature-extraction", "graphs": {"o3": "o3"}, "colour": "blue",
    }  # fmt: skip
    assert dict(graph.actions["m:client-own"].params) == {"task": "feature-extraction", "graphs": {"o3": "o3"}}
