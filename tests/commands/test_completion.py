"""The generated scripts complete in real shells: commands, options, manifests, and the names inside a manifest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MANIFEST = {
    "onnxbuild": 1,
    "targets": {"fp32": {}, "small": {"optimize": "O2"}},
    "models": {
        "otter": {"source": "onnx:otter", "targets": ["fp32", "small"]},
        "owl": {"source": "onnx:owl", "targets": ["fp32"]},
    },
}


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with two manifests and another file, and `onnxbuild` on the path."""
    (tmp_path / "birds.yaml").write_text(json.dumps(MANIFEST))
    (tmp_path / "bees.yml").write_text(json.dumps(MANIFEST))
    (tmp_path / "bread.txt").write_text("no manifest")
    program = tmp_path / "bin" / "onnxbuild"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m onnxbuild "$@"\n')
    program.chmod(0o755)
    return tmp_path


def script(world: Path, shell: str) -> str:
    done = subprocess.run(
        [world / "bin" / "onnxbuild", "completion", shell], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


def completed(world: Path, *words: str) -> set[str]:
    """What bash offers for the last of the words."""
    (world / "complete.bash").write_text(script(world, "bash"))
    listed = " ".join(f"'{word}'" for word in ("onnxbuild", *words))
    program = f"""
        source complete.bash
        COMP_WORDS=({listed}); COMP_CWORD={len(words)}
        "$(complete -p onnxbuild | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    environment = {**os.environ, "PATH": f"{world / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", program], cwd=world, env=environment, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_bash_completes_commands(world: Path) -> None:
    assert completed(world, "l") == {"lint", "lock", "logs"}


def test_bash_completes_options(world: Path) -> None:
    assert completed(world, "run", "--re") == {"--remote", "--remote-readonly", "--revalidate"}


def test_bash_completes_manifests(world: Path) -> None:
    assert completed(world, "run", "b") == {"birds.yaml", "bees.yml", "bin"}


def test_bash_completes_the_models_and_targets_of_the_manifest(world: Path) -> None:
    assert completed(world, "run", "birds.yaml", "o") == {"otter", "otter/fp32", "otter/small", "owl", "owl/fp32"}
    assert completed(world, "plan", "bees.yml", "otter", "owl/") == {"owl/fp32"}


def test_bash_completes_the_names_of_the_manifest_that_was_run_last(world: Path) -> None:
    assert completed(world, "explain", "owl") == set()
    (world / ".onnxbuild").mkdir()
    (world / ".onnxbuild" / "last").write_text("bees.yml\n")
    assert completed(world, "explain", "owl") == {"owl", "owl/fp32"}


def test_bash_completes_the_actions_of_a_variant(world: Path) -> None:
    (world / "otter").mkdir()
    (world / "otter" / "model.onnx").write_bytes(b"x")
    models = {"otter": {**MANIFEST["models"]["otter"], "validate": False, "load": False, "benchmark": False}}
    (world / "birds.yaml").write_text(json.dumps({**MANIFEST, "models": models}))
    (world / ".onnxbuild").mkdir()
    (world / ".onnxbuild" / "last").write_text("birds.yaml\nstore: /somewhere\n")
    for words in (("run", "birds.yaml"), ("explain",), ("logs",)):
        assert completed(world, *words, "otter/small:") == {"otter/small:optimize"}
        assert completed(world, *words, "otter/s") == {"otter/small"}


def test_bash_completes_codes_for_explain(world: Path) -> None:
    codes = completed(world, "explain", "OBE0")
    assert {"OBE04", "OBE06"} < codes
    assert all(code.startswith("OBE0") for code in codes)
    assert completed(world, "run", "birds.yaml", "OBE0") == set()


def test_a_manifest_that_cannot_be_read_offers_nothing(world: Path) -> None:
    (world / "birds.yaml").write_text("{")
    assert completed(world, "run", "birds.yaml", "o") == set()


def test_names_are_listed_although_a_model_has_a_fault(world: Path) -> None:
    done = subprocess.run(
        [world / "bin" / "onnxbuild", "completion", "--list", "birds.yaml"], cwd=world, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.split(), done.stderr) == (
        0, ["otter", "otter/fp32", "otter/small", "owl", "owl/fp32"], ""
    )  # fmt: skip


@pytest.mark.parametrize(("shell", "check"), [("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["--no-execute"])])
def test_each_script_has_the_syntax_of_its_shell(world: Path, shell: str, check: list[str]) -> None:
    text = script(world, shell)
    assert "completion --list" in text
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (world / "script").write_text(text)
    done = subprocess.run([shell, *check, "script"], cwd=world, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_bash_runs_no_command_in_the_name_of_a_model(world: Path) -> None:
    models = dict.fromkeys(("$(touch ran)", "`touch ran`", "osprey"), MANIFEST["models"]["owl"])  # type: ignore[index]
    (world / "birds.yaml").write_text(json.dumps({**MANIFEST, "models": models}))
    assert completed(world, "run", "birds.yaml", "o") == {"osprey", "osprey/fp32"}
    assert "$(touch" in completed(world, "run", "birds.yaml", "")
    assert not (world / "ran").exists()


def test_bash_completes_names_of_a_manifest_with_a_blank_in_its_name(world: Path) -> None:
    (world / "birds.yaml").rename(world / "all birds.yaml")
    assert completed(world, "run", r"all\ birds.yaml", "ow") == {"owl", "owl/fp32"}
