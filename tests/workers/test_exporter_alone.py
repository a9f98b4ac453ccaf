"""What a custom exporter can import: its own file or package, and nothing that lies beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from onnxbuild.protocol import CheckFailed
from onnxbuild.steps.export import ExportParams
from onnxbuild.workers.export.own_exporter import export

WRITES = "def export(checkpoint, output, opset, task):\n    (output / 'model.onnx').write_text(str(value))\n"
ALONE = (
    "a module beside an exporter cannot be imported: install both as one package, and write `package.module:function`"
)


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """The user's folder with an exporter and a helper, and the input of an action that has a link to the exporter."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "helper.py").write_text("value = 1\n")
    (tmp_path / "input").mkdir()
    (tmp_path / "output").mkdir()
    return tmp_path


def run(place: Path, code: str, exporter: str = "mine.py:export", *names: str) -> str:
    """What the exporter writes; `names`: the files of its package."""
    for name in names or ("mine.py",):
        target, link = place / "project" / name, place / "input" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(code if name.endswith("mine.py") else "value = 2\n")
        link.symlink_to(target)
    params = ExportParams(task="fill-mask", exporter=exporter)
    export(place, place / "output", params, place / "input")
    return (place / "output" / "model.onnx").read_text()


@pytest.mark.parametrize(
    "found",
    [
        "from helper import value",
        "import os, sys\nsys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))\nfrom helper import value",
    ],
    ids=["import", "through the link"],
)
def test_a_helper_beside_the_file_cannot_be_imported(beside, monkeypatch, found) -> None:
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])
    with pytest.raises(CheckFailed) as error:
        run(beside, f"{found}\n{WRITES}")
    failure = error.value.failure
    assert (failure.code, failure.message) == (
        "OBE67",
        "`mine.py` cannot be imported: ModuleNotFoundError: No module named 'helper'",
    )
    assert failure.notes[0][1].endswith(ALONE)


def test_an_import_while_the_function_runs_gets_the_same_advice(beside) -> None:
    late = "def export(checkpoint, output, opset, task):\n    import helper\n"
    with pytest.raises(ModuleNotFoundError) as error:
        run(beside, late)
    assert error.value.__notes__ == ["raised at mine.py:2", ALONE]


def test_a_package_imports_its_own_modules_and_is_forgotten_afterwards(beside) -> None:
    names = ("pack/__init__.py", "pack/mine.py", "pack/value.py")
    assert run(beside, f"from pack.value import value\n{WRITES}", "pack.mine:export", *names) == "2"
    assert not [name for name in sys.modules if name.partition(".")[0] == "pack"]
    assert not (beside / "project" / "pack" / "__pycache__").exists()


def test_two_files_of_one_name_are_two_exporters(beside, tmp_path_factory) -> None:
    assert run(beside, f"value = 1\n{WRITES}") == "1"
    other = tmp_path_factory.mktemp("other")
    for name in ("project", "input", "output"):
        (other / name).mkdir()
    assert run(other, f"value = 2\n{WRITES}") == "2"
