"""What one manifest may use: each way to make it large is refused, or read, within 5 s of CPU and 300 MB."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("resource")
import budget
from hostile_manifests import CASES

from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.manifest.load import load_manifest
from onnxbuild.manifest.reading.budget import MOST_STEPS
from onnxbuild.report.render_diagnostics import render
from onnxbuild.steps import KINDS

# One of each kind; the heavy test tries all.
EVERY_TIME = {
    "laughs-9x10": "OB021", "merge-keys": "OB020", "matrices-500": "OB021", "matrix-exclusions": "OB007",
    "matrix-blocks": "OB021", "includes-deep": "OB021", "includes-tree": "OB021", "includes-large": "OB021",
    "list-of-a-million": "OB021", "variables-doubled": "OB021", "variables-nested": "OB021", "references": "OB021",
    "unknown-keys": "OB021", "targets-times-models": "OB021", "digits": "OB011", "nested-lists": "OB021",
}  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in the units of Linux")
@pytest.mark.parametrize("name", EVERY_TIME)
def test_a_hostile_manifest_is_refused_within_the_budget(name: str, tmp_path: Path) -> None:
    found = budget.spent(tmp_path, CASES[name]())
    assert found.code == 2, found.output[-2000:]
    assert EVERY_TIME[name] in found.output
    assert found.within, (found.seconds, found.megabytes)
    assert found.output.count("\nOB") <= 101


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured in the units of Linux")
@pytest.mark.parametrize("name", sorted(CASES.keys() - EVERY_TIME.keys()))
def test_every_hostile_manifest_is_within_the_budget(name: str, tmp_path: Path) -> None:
    found = budget.spent(tmp_path, CASES[name]())
    assert found.within, (found.code, found.seconds, found.megabytes, found.output[-2000:])


def faults_of(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(DiagnosticError) as raised:
        load_manifest(tmp_path / "m.yaml", kinds=KINDS)
    return [f"{one.code} {one.message}" for one in raised.value.diagnostics]


def test_a_report_shows_a_hundred_faults_and_counts_the_rest() -> None:
    faults = [fault("OB001", f"fault {number}") for number in range(1234)]
    lines = render(faults, "text").splitlines()
    assert [line for line in lines if line][-2:] == ["OB001 fault 99", "and 1,134 more"]
    assert "more" not in render(faults[:100], "text")


def test_reading_ends_after_a_thousand_faults(tmp_path: Path) -> None:
    text = "onnxbuild: 1\nmodels: {}\nvars:\n" + "".join(f"  a{n}: *b\n" for n in range(3000))
    assert "OB021 more than 1,000 faults: the rest was not read" in faults_of(tmp_path, text)


def test_references_that_double_are_counted_as_what_they_make(tmp_path: Path) -> None:
    lines = ["onnxbuild: 1", "models: {}", "vars:", "  v0: xxxxxxxxxx"]
    lines += [f"  v{n}: '${{vars.v{n - 1}}}${{vars.v{n - 1}}}'" for n in range(1, 40)]
    assert faults_of(tmp_path, "\n".join(lines)) == [
        "OB021 references, defaults and matrices make more than 500,000 values"
    ]


def test_a_target_has_a_bounded_number_of_steps(tmp_path: Path) -> None:
    from onnxbuild.machine import Machine
    from onnxbuild.planning.expand import survey
    from onnxbuild.planning.locked import Lock

    steps = "".join("      - optimize: O1\n" for _ in range(MOST_STEPS + 1))
    model = "{source: 'random:bert', task: fill-mask, targets: [t]}"
    text = f"onnxbuild: 1\ntargets:\n  t:\n    steps:\n{steps}models: {{m: {model}}}\n"
    (tmp_path / "m.yaml").write_text(text)
    manifest = load_manifest(tmp_path / "m.yaml", kinds=KINDS)
    machine = Machine(cpu="a cpu", architecture="x86_64", flags=(), cores=2)
    found = [one.message for one in survey(manifest, KINDS, Lock(), machine).diagnostics if one.code == "OB021"]
    assert found == ["the target has 2,001 steps: at most 2,000"]
