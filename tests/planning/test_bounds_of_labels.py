"""Bounds on right answers need a dataset that says which column has them."""

import pytest

from onnxbuild.machine import Machine
from onnxbuild.manifest.load import load_manifest
from onnxbuild.permissions import Permissions
from onnxbuild.planning.expand import survey
from onnxbuild.planning.locked import Lock
from onnxbuild.steps import KINDS

MACHINE = Machine(cpu="a cpu", architecture="x86_64", flags=("avx2",), cores=2)
ROWS = "[{text: a ferry, kind: 1}, {text: a lake, kind: 0}, {text: a storm, kind: 1}]"


@pytest.fixture
def faults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(columns, bounds):
        (tmp_path / "m.yaml").write_text(
            f"onnxbuild: 1\ndatasets: {{d: {{source: {ROWS}, columns: {columns}}}}}\ntargets: {{fp32: {{}}}}\nmodels:\n"
            f"  m: {{source: random:bert, task: text-classification, targets: [fp32],"
            f" validate: {{dataset: d, thresholds: {bounds}}}}}\n"
        )
        manifest = load_manifest("m.yaml", kinds=KINDS, permissions=Permissions())
        found = survey(manifest, KINDS, Lock(), MACHINE).diagnostics
        return [(one.code, one.message, dict(one.notes).get("hint")) for one in found]

    return run


@pytest.mark.parametrize("bounds", ["{accuracy: 0.5}", "{accuracy_drop: 0.01}"])
def test_a_bound_on_accuracy_needs_a_column_of_labels(faults, bounds):
    name = bounds.strip("{}").partition(":")[0]
    ((code, message, hint),) = faults("{text: text}", bounds)
    assert code == "OB615"
    assert message == f"`{name}` is bounded and will not be measured: the dataset `d` names no column `label`"
    assert hint.startswith("name a dataset with `columns: {label: …}`")
    assert faults("{text: text, label: kind}", bounds) == []
