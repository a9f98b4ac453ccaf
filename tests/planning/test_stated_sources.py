"""What the sources of a model state, as a plan carries it to `onnxbuild.json`: it is in no key."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hub_server import HubServer

from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.permissions import Permissions
from onnxbuild.planning.action_graph import Stated
from onnxbuild.planning.expand import survey
from onnxbuild.planning.hub import Hub
from onnxbuild.planning.locked import Lock, LockedSource
from onnxbuild.steps import KINDS

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=("avx2",), cores=2)
README = "---\nlicense: mit\n---\n"
CONFIG = {"model_type": "bert"}


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Plans one model with this source; the folder `mine` is a checkpoint with these files beside its weights."""
    monkeypatch.chdir(tmp_path)

    def run(source, more="", lock=None, config=CONFIG, **files):
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        for name, text in {"model.safetensors": "weights", **files}.items():
            (folder / name).write_text(text)
        model = f"source: '{source}', task: feature-extraction, targets: [fp32]{more}"
        (tmp_path / "m.yaml").write_text(f"onnxbuild: 1\ntargets: {{fp32: {{}}}}\nmodels: {{m: {{{model}}}}}\n")
        found = survey(load_manifest("m.yaml", kinds=KINDS, permissions=Permissions()), KINDS, lock or Lock(), MACHINE)
        assert [one.message for one in found.diagnostics if one.severity == "error"] == []
        return found

    return run


def stated(expansion):
    (variant,) = expansion.graph.variants
    return dict(variant.stated)


def done_by(expansion):
    """What the keys of the actions are made of."""
    return {name: (one.kind, one.params, one.inputs) for name, one in expansion.graph.actions.items()}


def test_a_folder_states_its_license_in_a_readme_first(planned):
    found = planned("local:mine", config={**CONFIG, "license": "gpl-3.0"}, **{"README.md": README})
    assert stated(found) == {"m:fetch": Stated(scheme="local", license="mit", license_from="README.md")}


def test_then_in_a_license_file_and_then_in_its_config(planned):
    text = "SPDX-License-Identifier: BSD-3-Clause\n"
    found = planned("local:mine", config={**CONFIG, "license": "gpl-3.0"}, **{"README.md": "# x", "LICENSE": text})
    assert stated(found)["m:fetch"] == Stated(scheme="local", license="BSD-3-Clause", license_from="LICENSE")
    (Path("mine") / "LICENSE").unlink()
    found = planned("local:mine", config={**CONFIG, "license": "gpl-3.0"})
    assert stated(found)["m:fetch"] == Stated(scheme="local", license="gpl-3.0", license_from="config.json")


def test_nothing_is_known_of_a_folder_that_states_nothing(planned):
    assert stated(planned("local:mine")) == {"m:fetch": Stated(scheme="local")}


def test_a_readme_that_is_read_is_watched_and_changes_no_action(planned):
    before = planned("local:mine")
    after = planned("local:mine", **{"README.md": README})
    assert set(after.files) - set(before.files) == {os.path.abspath("mine/README.md")}
    assert done_by(after) == done_by(before)


def test_a_link_that_leaves_the_folder_is_not_followed(planned, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "secret").write_text(README)
    (tmp_path / "mine" / "README.md").symlink_to(tmp_path / "secret")
    assert stated(planned("local:mine")) == {"m:fetch": Stated(scheme="local")}


def test_a_link_within_the_folder_is_followed(planned, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "card").write_text(README)
    (tmp_path / "mine" / "README.md").symlink_to("card")
    assert stated(planned("local:mine"))["m:fetch"].license == "mit"


@pytest.mark.heavy
def test_the_folder_of_a_single_graph_says_nothing_about_it(planned, tmp_path):
    from onnx import TensorProto, helper, save

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    (tmp_path / "mine").mkdir()
    save(helper.make_model(graph), tmp_path / "mine" / "model.onnx")
    (tmp_path / "mine" / "README.md").write_text(README)
    assert stated(planned("onnx:mine/model.onnx"))["m:fetch"] == Stated(scheme="onnx")
    assert stated(planned("onnx:mine"))["m:fetch"] == Stated(scheme="onnx", license="mit", license_from="README.md")


def test_the_manifest_has_the_last_word(planned):
    found = planned("local:mine", ", license: apache-2.0", **{"README.md": README})
    assert stated(found)["m:fetch"] == Stated(scheme="local", license="apache-2.0", license_from="manifest")
    assert done_by(found) == done_by(planned("local:mine"))


OTHER = {"license": "other", "license_name": "mine", "license_link": "https://example.org/mine"}


def test_a_license_without_a_word_of_the_hub_comes_with_its_name(planned):
    readme = "\n".join(["---", *(f"{key}: {text}" for key, text in OTHER.items()), "---", ""])
    found = planned("local:mine", **{"README.md": readme})
    assert stated(found)["m:fetch"] == Stated(scheme="local", license_from="README.md", **OTHER)
    found = planned("local:mine", ", license: apache-2.0", **{"README.md": readme})
    assert stated(found)["m:fetch"] == Stated(scheme="local", license="apache-2.0", license_from="manifest")
    found = planned("hub:org/tiny", lock=locked(OTHER))
    assert stated(found)["m:fetch"] == Stated(scheme="hub", license_from="the card on the Hub", **OTHER)
    found = planned("hub:org/tiny", lock=locked({**OTHER, "license_link": "javascript:alert(1)"}))
    assert stated(found)["m:fetch"].license_link is None


def test_random_weights_have_no_license(planned):
    assert stated(planned("random:bert")) == {"m:fetch": Stated(scheme="random")}


def locked(license_):
    entry = LockedSource("0" * 40, ("config.json", "model.safetensors"), CONFIG, **license_)
    return Lock(sources={"hub:org/tiny@main": entry})


@pytest.mark.parametrize("license_", ["mit", None, "<b>", "a" * 99])
def test_the_lock_has_the_license_of_a_repository(planned, license_):
    found = planned("hub:org/tiny", lock=locked({"license": license_} if license_ else {}))
    known = license_ if license_ == "mit" else None
    where = "the card on the Hub" if known else None
    assert stated(found) == {"m:fetch": Stated(scheme="hub", license=known, license_from=where)}


def test_lock_asks_the_hub_for_it_in_the_request_that_it_makes_anyway():
    files = {"config.json": b"{}", "model.safetensors": b"weights"}
    with HubServer() as hub:
        hub.add("org/plain", files)
        plain = Hub(hub.endpoint).resolve("org/plain", "main")
        requests = len(hub.requests)
        hub.add("org/tiny", {**files, "README.md": README.encode()})
        entry = Hub(hub.endpoint).resolve("org/tiny", "main")
        assert len(hub.requests) == 2 * requests
    assert (entry.license, bool(plain.license)) == ("mit", False)


def test_a_manifest_is_named_by_its_path_in_its_repository(planned, tmp_path):
    names = [one.manifest for one in (planned("local:mine").graph.variants)]
    (tmp_path.parent / ".git").write_text("gitdir: elsewhere")
    try:
        names += [one.manifest for one in planned("local:mine", ", package: plain").graph.delivered]
    finally:
        (tmp_path.parent / ".git").unlink()
    below = f"./{tmp_path.name}/m.yaml"
    assert names == ["m.yaml", below, below]
