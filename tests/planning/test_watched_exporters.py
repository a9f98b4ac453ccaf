"""What a plan with a custom exporter was made from: a receipt ends when one of these files changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from onnxbuild.commands import workspace
from onnxbuild.commands.parsing.options import Asked


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "code")
    for name in ("code/exporting/__init__.py", "code/exporting/deep/notes.txt", "code/one_file.py", "mine.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")

    def run(exporter: str) -> set[str]:
        model = f"source: random:bert, task: feature-extraction, export: {{exporter: '{exporter}:f'}}, targets: [fp32]"
        (tmp_path / "m.yaml").write_text(f"onnxbuild: 1\ntargets: {{fp32: {{}}}}\nmodels: {{m: {{{model}}}}}\n")
        made, _ = workspace.plan(Asked("m.yaml"), write_lock=False)
        return {os.path.relpath(path, tmp_path) for path in made.watched}

    return run


def test_a_package_is_watched_with_all_folders_that_may_get_a_module(watched) -> None:
    wanted = {"code/exporting", "code/exporting/deep", "code/exporting/__init__.py"}
    assert wanted <= watched("exporting")


@pytest.mark.parametrize(("exporter", "file"), [("one_file", "code/one_file.py"), ("mine.py", "mine.py")])
def test_of_a_single_file_the_folder_is_not_watched(watched, exporter: str, file: str) -> None:
    """It changes with every run."""
    found = watched(exporter)
    assert file in found
    assert (os.path.dirname(file) or ".") not in found
