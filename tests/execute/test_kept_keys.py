"""The keys of every kind of action, as they were recorded before the code moved: no store may rebuild.

A changed key rebuilds every store in the field. Where that is meant, because results change, raise the version of the
kind, rewrite the keys with `pytest --update`, and say so in the changelog.
"""

import json
from pathlib import Path

from onnxbuild.digest import digest_value
from onnxbuild.execute import assess as assess_module
from onnxbuild.execute.assess import Assessor
from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.action_graph import OutputRef
from onnxbuild.planning.expand import expand
from onnxbuild.planning.lock_file import read_lock
from onnxbuild.steps import KINDS
from onnxbuild.store.store import Store

HERE = Path(__file__).parent / "kept_keys"
MACHINE = Machine(cpu="Toy CPU", architecture="x86_64", flags=("avx2",), cores=4)


class Installed:
    """A runner in whose environment every distribution has one version."""

    def packages(self, toolchain, names):
        return dict.fromkeys(names, "1.0")

    def identity(self, toolchain):
        return {"python": "cpython-3.11"}


def keys(store_folder):
    graph = expand(load_manifest(str(HERE / "manifest.yaml"), kinds=KINDS), KINDS, read_lock(HERE / "none"), MACHINE)
    found = {}
    with Store(store_folder) as store:
        assessor = Assessor(KINDS, store, Installed())
        for action in graph.actions.values():
            inputs = {
                # What an action makes does not matter here: its name represents it.
                port: digest_value([ref.action, ref.port]) if isinstance(ref, OutputRef) else assessor.digest(ref, {})
                for port, ref in action.inputs.items()
            }
            found[action.id] = assessor.parts_with(action, inputs).key
    return found


def test_keys_are_what_they_were(tmp_path, monkeypatch, agrees):
    monkeypatch.setattr(assess_module, "this_machine", lambda: MACHINE)
    found = keys(tmp_path / "store")
    assert {name.partition(":")[2] for name in found} >= set(KINDS)
    agrees(HERE / "keys.json", json.dumps(found, indent=1) + "\n")
