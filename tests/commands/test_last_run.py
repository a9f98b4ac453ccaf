"""Commands that follow the last run, or that people take for commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxbuild.cli import run_command


def test_a_last_run_whose_manifest_is_gone_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".onnxbuild").mkdir()
    (tmp_path / ".onnxbuild" / "last").write_text("gone.yaml\n")
    assert run_command(["explain", "m/fp32"]) == 2
    assert capsys.readouterr().err == (
        "OB042 the last run here was of `gone.yaml`, which no longer exists\n"
        "  = hint: name another: `onnxbuild explain m/fp32 -m MANIFEST`\n"
    )


@pytest.mark.parametrize(
    ("word", "hint"),
    [("publish", "run MANIFEST --publish`"), ("package", "run MANIFEST ':package-*'`"), ("export", "run MANIFEST :")],
)
def test_a_step_is_no_command(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        run_command([word, "m.yaml"])
    assert stopped.value.code == 2
    assert f"unknown command `{word}`\n  = hint: `onnxbuild {hint}" in capsys.readouterr().err
