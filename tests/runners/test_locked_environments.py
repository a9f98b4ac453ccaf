"""Environments created from a lock: whole or created again, removed when nobody needs them, and never while in use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from forked import User, as_root, open_folder
from plugin.world import World

from onnxbuild.planning.pinned.resolution import formats
from onnxbuild.planning.toolchains import LockedPackage, LockedToolchain, python_of, toolchain_key
from onnxbuild.protocol import Failure
from onnxbuild.runners.environments import Unusable
from onnxbuild.runners.toolchains.locked_environment import Locked
from onnxbuild.runners.toolchains.unused_toolchains import FreedToolchains, free_toolchains, needed_toolchains

posix = pytest.mark.skipif(sys.platform == "win32", reason="the layout of POSIX, with real links")
GROUP = 4200
LOCKED = LockedToolchain((LockedPackage("frob", "1.0", "0" * 64), LockedPackage("tool_box", "2.0", "1" * 64)))


class Installs:
    """Stands for the commands that create an environment: `python -m venv`, and pip with an index."""

    def __init__(self, *lost: str) -> None:
        self.lost, self.created, self.said = lost, 0, []

    def __call__(self, command, on_line):
        if "venv" in command:
            done = subprocess.run([*command, "--without-pip"], capture_output=True, text=True, check=False)
            return done.returncode, done.stderr
        self.created += 1
        place = Path(command[0]).parents[1]
        packages = next(place.glob("lib/python3*/site-packages"))
        for package in LOCKED.packages:
            if package.name not in self.lost:
                info = packages / f"{package.name}-{package.version}.dist-info"
                info.mkdir()
                (info / "METADATA").write_text(f"Name: {package.name}\nVersion: {package.version}\n")
                (packages / f"{package.name}.py").write_text("x = 1\n")
        return 0, ""

    def use(self, store: Path) -> Locked:
        environment = Locked("t", LOCKED, store)
        assert environment.interpreter(self.said.append, self) == str(place_in(store) / "bin" / "python")
        return environment


def place_in(store: Path) -> Path:
    return store / "toolchains" / LOCKED.digest


def site(store: Path) -> Path:
    return next(place_in(store).glob("lib/python3*/site-packages"))


@pytest.fixture
def made(tmp_path: Path) -> Installs:
    """The commands, after they have created the environment once."""
    installs = Installs()
    installs.use(tmp_path).close()
    assert (installs.created, installs.said) == (1, ["creating toolchain `t`: 2 packages"])
    return installs


def rewritten(path: Path) -> None:
    """Another content of the same size, a moment later."""
    path.write_text("x = 2\n")
    os.utime(path, (1, 1))


DAMAGES = {
    "`lib/{python}/site-packages/frob.py` is missing": lambda store: (site(store) / "frob.py").unlink(),
    "`lib/{python}/site-packages/frob.py` has changed": lambda store: rewritten(site(store) / "frob.py"),
    "`bin/python` is missing": lambda store: (place_in(store) / "bin" / "python").unlink(),
    "its creation was interrupted": lambda store: (place_in(store) / ".whole").unlink(),
}


@posix
def test_what_is_whole_is_used_again_whatever_python_writes_beside_it(tmp_path, made) -> None:
    (site(tmp_path) / "__pycache__").mkdir()
    (site(tmp_path) / "__pycache__" / "frob.cpython-311.pyc").write_text("")
    (site(tmp_path) / "new.txt").write_text("")
    made.use(tmp_path)
    assert made.created == 1


@posix
@pytest.mark.parametrize("wrong", list(DAMAGES))
def test_an_environment_that_lost_a_file_is_created_again(tmp_path, made, wrong) -> None:
    DAMAGES[wrong](tmp_path)
    made.use(tmp_path).close()
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    assert made.created == 2
    assert made.said[1] == f"creating toolchain `t` again: {wrong.format(python=python)}"
    made.use(tmp_path)
    assert made.created == 2


@posix
def test_a_marker_of_an_older_version_is_believed_once_if_all_packages_are_there(tmp_path, made) -> None:
    marker = place_in(tmp_path) / ".whole"
    marker.write_text("")
    made.use(tmp_path).close()
    assert made.created == 1
    assert len(json.loads(marker.read_text())) > 4
    marker.write_text("")
    for path in (site(tmp_path) / "frob-1.0.dist-info").iterdir():
        path.unlink()
    made.use(tmp_path)
    assert (made.created, made.said[1]) == (2, "creating toolchain `t` again: frob is missing")


@posix
def test_a_link_in_the_place_of_an_environment_is_replaced_and_not_followed(tmp_path, made) -> None:
    elsewhere = tmp_path / "elsewhere"
    place_in(tmp_path).rename(elsewhere)
    place_in(tmp_path).symlink_to(elsewhere)
    made.use(tmp_path)
    assert made.created == 2
    assert not place_in(tmp_path).is_symlink()
    assert (elsewhere / ".whole").exists()


@posix
def test_an_environment_that_everybody_may_write_to_is_created_again(tmp_path, made) -> None:
    place_in(tmp_path).chmod(0o777)
    made.use(tmp_path)
    assert (made.created, made.said[1]) == (2, "creating toolchain `t` again: everybody may write to it")


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a folder away")
def test_an_environment_of_another_user_is_created_again_unless_a_group_shares_the_store(tmp_path, made) -> None:
    os.chown(place_in(tmp_path), 12345, os.stat(tmp_path / "toolchains").st_gid)
    (tmp_path / "toolchains").chmod(0o2775)
    made.use(tmp_path).close()
    assert made.created == 1
    (tmp_path / "toolchains").chmod(0o755)
    made.use(tmp_path)
    assert (made.created, made.said[1]) == (2, "creating toolchain `t` again: it belongs to another user")


@posix
def test_packages_that_pip_installed_elsewhere_are_a_failure(tmp_path) -> None:
    with pytest.raises(Unusable) as error:
        Installs("tool_box").use(tmp_path)
    assert error.value.failure.code == "OBE71"
    assert str(error.value) == "toolchain `t` is incomplete after its installation: tool_box is missing"


@posix
def test_what_a_run_uses_is_neither_removed_nor_created_again_under_it(tmp_path, made) -> None:
    used = made.use(tmp_path)
    assert free_toolchains(tmp_path, frozenset(), dry_run=False) == FreedToolchains(0, 0, 1)
    assert (place_in(tmp_path) / ".whole").exists()
    (site(tmp_path) / "frob.py").unlink()
    waits = threading.Event()
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        waits.set()

    other = threading.Thread(target=lambda: Locked("t", LOCKED, tmp_path).interpreter(say, made))
    other.start()
    assert waits.wait(60)
    assert said == ["waiting for another process, which uses the damaged toolchain `t`"]
    assert made.created == 1
    used.close()
    other.join(60)
    assert made.created == 2


@posix
def test_what_no_lock_names_is_removed_and_created_when_it_is_needed_again(tmp_path, made) -> None:
    (tmp_path / "toolchains" / "not-ours").mkdir()
    (tmp_path / "toolchains" / ("a" * 64)).symlink_to(tmp_path)
    assert free_toolchains(tmp_path, frozenset({LOCKED.digest}), dry_run=False) == FreedToolchains()
    planned = free_toolchains(tmp_path, frozenset(), dry_run=True)
    assert planned.count == 1
    assert planned.bytes > 0
    assert (place_in(tmp_path) / ".whole").exists()
    assert free_toolchains(tmp_path, frozenset(), dry_run=False) == planned
    assert not place_in(tmp_path).exists()
    assert sorted(path.name for path in (tmp_path / "toolchains").iterdir()) == [
        *sorted(["a" * 64, f"{LOCKED.digest}.use"]), "not-ours",
    ]  # fmt: skip
    assert list((tmp_path / "locks").iterdir()) == []
    made.use(tmp_path)
    assert made.created == 2


def lock_of(world: World, locked: LockedToolchain) -> None:
    packages = [{"name": one.name, "version": one.version, "sha256": one.sha256} for one in locked.packages]
    (world.root / "onnxbuild.lock").write_text(
        json.dumps({"version": 1, "toolchains": {toolchain_key(["frob"]): {"packages": packages}}})
    )


def test_the_locks_beside_manifests_say_what_is_needed(tmp_path) -> None:
    world = World(tmp_path)
    manifest = str(world.manifest({"one": [{"text": "x"}]}))
    assert needed_toolchains([manifest]) == frozenset()
    lock_of(world, LOCKED)
    assert needed_toolchains([manifest, manifest]) == {LOCKED.digest}
    text = (tmp_path / "onnxbuild.lock").read_text().replace(toolchain_key(["frob"]), "pypy-3.10 win-amd64: frob")
    (tmp_path / "onnxbuild.lock").write_text(text)
    assert needed_toolchains([manifest]) == {LOCKED.digest_for("pypy-3.10 win-amd64")}


@posix
def test_gc_removes_toolchains_that_no_living_manifest_locks(tmp_path) -> None:
    store = tmp_path / "store"
    one, other = World(tmp_path / "one", store=store), World(tmp_path / "other", store=store)
    for world in (one, other):
        world.manifest({"one": [{"text": "x"}]})
        assert world.run().code == 0
    Installs().use(store).close()
    lock_of(other, LOCKED)
    assert "toolchain" not in one.run(verb="gc").out
    (other.root / "onnxbuild.lock").write_text("<<<<<<<")
    kept = one.run(verb="gc")
    assert "no toolchain is removed: OB031" in kept.err
    assert place_in(store).exists()
    (other.root / "onnxbuild.lock").unlink()
    assert "\nwould remove 1 toolchain that no lock file names, " in one.run("-n", verb="gc").out
    assert "\nremoved 1 toolchain that no lock file names, " in one.run(verb="gc").out
    assert not place_in(store).exists()


@as_root
def test_a_toolchain_in_a_shared_store_is_the_group_s_whatever_the_umask() -> None:
    """Whoever creates it under umask 077 would lock out all others of the group."""
    with open_folder() as store:
        os.chown(store, 0, GROUP)
        store.chmod(0o2775)
        before = os.umask(0o077)
        try:
            Installs().use(store).close()
        finally:
            os.umask(before)

        def readable() -> dict[str, int]:
            """The files that another user of the group can open, and all files."""
            files = [Path(folder) / name for folder, _, names in os.walk(place_in(store)) for name in names]
            files = [path for path in files if not path.is_symlink()]
            return {"all": len(files), "opened": sum(os.access(path, os.R_OK) for path in files)}

        seen = User(4102, 0o077, group=GROUP)(readable)
        everything = [path for path in place_in(store).rglob("*") if path.is_file() and not path.is_symlink()]
        assert seen == {"all": len(everything), "opened": len(everything)}
        assert (site(store).stat().st_mode & 0o7770, site(store).stat().st_gid) == (0o2770, GROUP)


# -- the commands that create an environment ---------------------------------------------------------------------------


class Commands:
    """Notes the commands, each of which ends as a test says and creates nothing."""

    def __init__(self, *ends: tuple[int, str]) -> None:
        self.ends, self.noted = list(ends), []

    def __call__(self, command, _on_line):
        self.noted.append(command)
        return self.ends.pop(0)


def failure_of(store: Path, commands: Commands, locked: LockedToolchain = LOCKED) -> Failure:
    with pytest.raises(Unusable) as caught:
        Locked("t", locked, store).interpreter(lambda _text: None, commands)
    return caught.value.failure


@pytest.mark.parametrize("before", [(), ((0, ""),)], ids=["venv", "pip"])
def test_a_command_that_fails_is_named_with_its_reason_and_advice(tmp_path: Path, before) -> None:
    commands = Commands(*before, (1, "Collecting frob\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES. x\n"))
    assert failure_of(tmp_path, commands) == Failure(
        code="OBE66",
        message="toolchain `t` cannot be installed: THESE PACKAGES DO NOT MATCH THE HASHES. x",
        notes=(("hint", "the index of this machine has other files for these versions: `onnxbuild lock --upgrade`"),),
    )
    assert commands.ends == []


def test_what_is_incomplete_after_its_installation_is_not_used(tmp_path: Path) -> None:
    assert failure_of(tmp_path, Commands((0, ""), (0, ""))) == Failure(
        code="OBE71",
        message="toolchain `t` is incomplete after its installation: it has no interpreter",
        notes=(("hint", "look for settings of pip that install elsewhere: `pip config list`, and PIP_ variables"),),
    )


def test_exactly_the_locked_packages_are_installed(tmp_path: Path) -> None:
    packages = (LockedPackage("frob", "1.0", "0" * 64), LockedPackage("old", "2", "1" * 64, sdist=True))
    locked, commands = LockedToolchain(packages), Commands((0, ""), (0, ""))
    failure_of(tmp_path, commands, locked)
    place = tmp_path / "toolchains" / locked.digest
    created, installed = commands.noted
    assert created == [sys.executable, "-I", "-m", "venv", str(place)]
    assert installed == [
        str(python_of(place)), "-I", "-m", "pip", "install", "--progress-bar", "off", "--no-color", "--no-deps",
        "--no-input", "--disable-pip-version-check", "--require-hashes", *formats(["old"]),
        "--requirement", str(place / "requirements.txt"),
    ]  # fmt: skip
    assert (place / "requirements.txt").read_text() == (
        f"frob==1.0 --hash=sha256:{'0' * 64}\nold==2 --hash=sha256:{'1' * 64}\n"
    )
