"""The upload of a package in a plan: what it waits for, which package it takes, and when it is part of a run."""

import pytest

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.permissions import Permissions
from onnxbuild.planning.expand import expand
from onnxbuild.planning.locked import Lock, LockedSource
from onnxbuild.planning.packages.asked_uploads import without_unasked
from onnxbuild.planning.select import select
from onnxbuild.steps import KINDS

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=("avx2",), cores=2)
BERT = {"model_type": "bert", "architectures": ["BertForMaskedLM"]}
FILES = ("config.json", "model.safetensors", "tokenizer.json")


@pytest.fixture
def graph(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)

    def run(more, source="random:bert", lock=None):
        model = f"m: {{source: '{source}', task: fill-mask, targets: [fp32, int8], {more}}}"
        targets = "targets: {fp32: {}, int8: {quantize: int8}, o2: {optimize: O2}}"
        (tmp_path / "m.yaml").write_text(f"onnxbuild: 1\n{targets}\nmodels:\n  {model}\n")
        return expand(load_manifest("m.yaml", kinds=KINDS, permissions=Permissions()), KINDS, lock or Lock(), MACHINE)

    return run


def params(graph):
    return graph.actions["m:publish"].params


def test_an_upload_waits_for_every_gate_of_the_targets_in_its_package(graph):
    found = graph("package: {plain: {targets: [int8]}}, publish: {hub: me/m, license: mit}")
    needs = found.with_needs(["m:publish"])
    assert {"m:package-plain", "m:client-plain", "m/int8:validate", "m/fp32:validate"} <= needs
    assert "m:client-plain" in found.actions["m:publish"].needs


def test_without_the_check_of_the_client_it_waits_for_the_others(graph):
    found = graph("package: {plain: {targets: [int8], client: false}}, publish: {hub: me/m, license: mit}")
    assert "client" not in found.actions["m:publish"].inputs
    assert "m/int8:validate" in found.with_needs(["m:publish"])


@pytest.mark.parametrize(
    ("selectors", "publish", "is_in"),
    [
        ((), False, False),
        ((), True, True),
        (("m",), False, False),
        (("m",), True, True),
        (("m:*",), False, False),
        (("m:publish",), False, True),
        ((":publish",), False, True),
        (("+:publish",), False, True),
        (("m:package",), True, False),
        (("m/int8:validate+",), False, False),
    ],
)
def test_it_runs_only_where_somebody_asks_for_it(graph, selectors, publish, is_in):
    found = graph("package: plain, publish: {hub: me/m, license: mit}")
    selected = without_unasked(select(found, selectors), selectors, publish=publish)
    assert ("m:publish" in selected.actions) is is_in
    assert [one.place for one in selected.uploads] == (["hub:me/m"] if "m:package-plain" in selected.actions else [])


def locked(**more):
    return Lock(sources={"hub:o/n@main": LockedSource("a" * 40, FILES, BERT, **more)})


def test_the_license_of_the_source_is_carried_over(graph):
    found = graph("package: plain, publish: me/m", "hub:o/n", locked(license="apache-2.0"))
    assert params(found)["license"] == "apache-2.0"
    assert params(found)["base_model"] == "o/n"
    assert "endpoint" not in params(found)
    own = graph("package: plain, publish: {hub: me/m, license: mit}", "hub:o/n", locked(license="apache-2.0"))
    assert params(own)["license"] == "mit"
    of_model = graph("package: plain, license: bsd-3-clause, publish: me/m", "hub:o/n", locked())
    assert params(of_model)["license"] == "bsd-3-clause"
    with pytest.raises(DiagnosticError, match="the license of the source is unknown"):
        graph("package: plain, publish: me/m", "hub:o/n", locked())


@pytest.mark.parametrize("more", ["publish: {hub: me/m, license: MIT}", "license: MIT, publish: me/m"])
def test_a_license_gets_the_spelling_of_the_hub(graph, more):
    assert params(graph(f"package: plain, {more}"))["license"] == "mit"


def test_only_the_hub_asks_for_a_license(graph, tmp_path):
    found = graph("package: plain, publish: {folder: site}")
    assert params(found)["folder"] == str(tmp_path / "site")
    assert params(found)["license"] == ""


def test_a_folder_outside_of_the_manifest_needs_a_permission(graph):
    with pytest.raises(DiagnosticError, match="outside the folder of the manifest"):
        graph("package: plain, publish: {folder: ../site}")


def test_another_hub_is_another_destination(graph, monkeypatch):
    here = graph("package: plain, publish: {hub: me/m, license: mit}")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example/")
    there = graph("package: plain, publish: {hub: me/m, license: mit}")
    assert params(there) == {**params(here), "endpoint": "https://hub.example"}


def test_an_address_of_the_hub_with_a_password_is_refused_and_not_shown(graph, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://me:s3cret@hub.example")
    with pytest.raises(DiagnosticError, match="the address in HF_ENDPOINT has a user or a password") as caught:
        graph("package: plain, publish: {hub: me/m, license: mit}")
    assert "s3cret" not in str(caught.value)
    graph("package: plain, publish: {folder: site}")  # it asks no Hub


def test_the_named_package_is_its_input_and_no_param(graph):
    more = "package: [plain], publish: {hub: me/m, license: mit, package: plain}"
    found = graph(more)
    assert found.actions["m:publish"].inputs["package"].action == "m:package-plain"
    assert "package" not in params(found)


def test_an_upload_waits_for_the_measurements_that_its_card_shows(graph):
    """Those of other targets do not concern it."""
    more = "benchmark: {}, package: {plain: {targets: [int8], client: false}}, publish: {hub: me/m, license: mit}"
    needs = graph(more).actions["m:publish"].needs
    assert "m/int8:benchmark" in needs
    assert "m/fp32:benchmark" not in needs


def test_several_destinations_are_several_actions(graph):
    more = "publish: [{hub: me/m, license: mit}, {folder: a}, {folder: b}]"
    found = graph(f"package: plain, {more}")
    ids = {"m:publish-hub", "m:publish-folder", "m:publish-folder-2"}
    assert {one.action for one in found.uploads} == ids
    for selector, wanted in (("m:publish", ids), (":publish-hub", {"m:publish-hub"})):
        selected = without_unasked(select(found, [selector]), [selector], publish=False)
        assert ids & selected.actions.keys() == wanted
