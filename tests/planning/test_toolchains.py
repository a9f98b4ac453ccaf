"""Toolchains: what they resolve to, how they are locked, and the environments made from them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from onnxbuild.diagnostics import DiagnosticError
from onnxbuild.manifest.load import load_manifest
from onnxbuild.planning.lock_file import lock_for, read_lock
from onnxbuild.planning.toolchains import LockedPackage, LockedToolchain, resolve_toolchain, toolchain_key
from onnxbuild.runners.environments import Interpreter, Locked, Unlocked, Unusable
from onnxbuild.steps import KINDS

MANIFEST = """\
onnxbuild: 1
toolchains:
  old: {requirements: ["iniconfig==2.0.0"]}
  never-used: {requirements: ["no-such-distribution-at-all"]}
targets: {fp32: {}}
models:
  bert: {source: random:bert, task: fill-mask, toolchain: old, targets: [fp32]}
"""


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def locked() -> LockedToolchain:
    return resolve_toolchain("old", ["iniconfig==2.0.0"])


@pytest.mark.heavy
def test_requirements_become_packages_with_hashes(locked: LockedToolchain) -> None:
    assert [package.name for package in locked.packages] == ["iniconfig", "msgspec"]
    assert locked.version("Iniconfig") == "2.0.0"
    assert locked.version("torch") == "absent"
    assert all(len(package.sha256) == 64 for package in locked.packages)


@pytest.mark.heavy
def test_an_environment_is_made_once_and_again_when_it_was_left_half(locked: LockedToolchain, tmp_path: Path) -> None:
    said: list[str] = []
    python = Locked("old", locked, tmp_path).interpreter(said.append, run)
    assert said == ["creating toolchain `old`: 2 packages"]
    version = subprocess.run([python, "-c", "import iniconfig, msgspec"], check=False)
    assert version.returncode == 0
    assert Locked("other-name", locked, tmp_path).interpreter(said.append, run) == python
    assert len(said) == 1
    (tmp_path / "toolchains" / locked.digest / ".whole").unlink()
    assert Locked("old", locked, tmp_path).interpreter(said.append, run) == python
    assert len(said) == 2


@pytest.mark.heavy
def test_a_file_that_is_not_the_locked_one_is_refused(locked: LockedToolchain, tmp_path: Path) -> None:
    changed = LockedToolchain(tuple(LockedPackage(p.name, p.version, "0" * 64) for p in locked.packages))
    with pytest.raises(Unusable) as error:
        Locked("old", changed, tmp_path).interpreter(lambda _text: None, run)
    assert error.value.failure.code == "OBE66"
    assert "`onnxbuild lock --upgrade`" in error.value.failure.notes[0][1]
    assert not (tmp_path / "toolchains" / changed.digest / ".whole").exists()


@pytest.mark.heavy
def test_the_lock_holds_what_models_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.yaml").write_text(MANIFEST)
    manifest = load_manifest("m.yaml", kinds=KINDS)
    lock = lock_for(manifest)
    assert list(lock.toolchains) == [toolchain_key(["iniconfig==2.0.0"])]
    assert read_lock(Path("onnxbuild.lock")) == lock
    assert lock_for(manifest, offline=True) == lock
    assert "://" not in Path("onnxbuild.lock").read_text()


def test_offline_says_what_is_not_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("m.yaml").write_text(MANIFEST)
    with pytest.raises(DiagnosticError) as error:
        lock_for(load_manifest("m.yaml", kinds=KINDS), offline=True)
    assert [(one.code, one.message, str(one.span)) for one in error.value.diagnostics] == [
        ("OB049", "the toolchain `old` is not in `onnxbuild.lock`, and --offline allows no network", "m.yaml:3:8")
    ]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("requirements", "message"),
    [
        (["iniconfig==99"], "Could not find a version that satisfies the requirement iniconfig==99"),
        (
            ["pluggy==1.0.0", "pytest==9.0.0"],
            (
                "Cannot install pluggy==1.0.0 and pytest==9.0.0 because these package versions have conflicting "
                "dependencies"
            ),
        ),
    ],
)
def test_what_pip_cannot_resolve(requirements: list[str], message: str) -> None:
    with pytest.raises(DiagnosticError) as error:
        resolve_toolchain("old", requirements)
    assert [one.message for one in error.value.diagnostics] == [f"toolchain `old` cannot be resolved: {message}"]


def test_another_interpreter_tells_what_it_has() -> None:
    there = Interpreter("here", sys.executable)
    assert there.version("PyYAML") == there.version("pyyaml") != "absent"
    assert there.version("no-such-distribution") == "absent"
    assert there.interpreter(lambda _text: None, run) == sys.executable
    assert sys.executable in there.watched()


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("ERROR: Cannot install a==1 and a==2 because these package versions have conflicting dependencies.", "OBE12"),
        ("ERROR: No matching distribution found for a==1", "OBE66"),
    ],
)
def test_what_cannot_be_installed(tmp_path: Path, said: str, code: str) -> None:
    packages = LockedToolchain((LockedPackage("a", "1", "0" * 64),))
    with pytest.raises(Unusable) as error:
        Locked("old", packages, tmp_path).interpreter(lambda _text: None, lambda _command: (1, f"Looking\n{said}\n"))
    assert (error.value.failure.code, error.value.failure.message) == (
        code,
        f"toolchain `old` cannot be installed: {said.removeprefix('ERROR: ')}",
    )


def test_an_interpreter_that_is_not_there() -> None:
    with pytest.raises(Unusable) as error:
        Interpreter("gone", "/nowhere/python").identity()
    assert str(error.value) == "the interpreter of toolchain `gone` cannot be started: /nowhere/python"


def test_a_toolchain_that_nobody_has_resolved() -> None:
    assert Unlocked("new").version("torch") == "not locked"
    with pytest.raises(Unusable):
        Unlocked("new").interpreter(lambda _text: None, run)
