"""Where workers run: the interpreter of this command, another one, or an environment made from locked packages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from onnxbuild.planning.toolchains import LockedToolchain, normalized
from onnxbuild.protocol import Failure
from onnxbuild.store import locks
from onnxbuild.store.files import flush, remove_tree

Say = Callable[[str], None]
# Runs a command to its end as a child that dies with the run: (exit status, output).
Run = Callable[[Sequence[str]], tuple[int, str]]


class Unusable(Exception):  # noqa: N818 - carries the failure that every action of the toolchain ends with
    """An environment cannot be had."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


class Environment(Protocol):
    """One toolchain as workers see it."""

    def interpreter(self, say: Say, run: Run) -> str:
        """The Python executable; the environment is made first if need be. Errors: Unusable."""

    def version(self, name: str) -> str:
        """The version of a distribution, "absent" where it is not installed."""

    def identity(self) -> Mapping[str, str]:
        """What else belongs to a key: the implementation and its minor version (patch releases change no result)."""

    def watched(self) -> tuple[str, ...]:
        """Files and folders whose stamps change when what is installed changes."""


class Current:
    """The interpreter that runs this command."""

    def __init__(self) -> None:
        self._versions: dict[str, str] = {}

    def interpreter(self, say: Say, run: Run) -> str:
        """It is there."""
        del say, run
        return sys.executable

    def version(self, name: str) -> str:
        """As `importlib.metadata` finds it."""
        from importlib import metadata

        if name not in self._versions:
            try:
                self._versions[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                self._versions[name] = "absent"
        return self._versions[name]

    def identity(self) -> Mapping[str, str]:
        """This implementation."""
        return {"python": f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"}

    def watched(self) -> tuple[str, ...]:
        """None: a receipt watches this interpreter anyway."""
        return ()


class _Probed(Struct):
    implementation: str
    versions: dict[str, str]
    folders: list[str]


# Asked of another interpreter; standard library only, and quick.
_PROBE = """
import json, sys, sysconfig
from importlib import metadata
print(json.dumps({
    "implementation": f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}",
    "versions": {d.metadata["Name"]: d.version for d in metadata.distributions() if d.metadata["Name"]},
    "folders": sorted({sysconfig.get_paths()[n] for n in ("purelib", "platlib")}),
}))
"""


class Interpreter:
    """Another interpreter, by path: `toolchains: {NAME: {python: PATH}}`."""

    def __init__(self, name: str, path: str) -> None:
        self._name, self._path = name, path
        self._found: _Probed | None = None

    def interpreter(self, say: Say, run: Run) -> str:
        """The path, if it can be started."""
        del say, run
        self._probe()
        return self._path

    def version(self, name: str) -> str:
        """As that interpreter finds it."""
        versions = {normalized(known): version for known, version in self._probe().versions.items()}
        return versions.get(normalized(name), "absent")

    def identity(self) -> Mapping[str, str]:
        """That implementation."""
        return {"python": self._probe().implementation}

    def watched(self) -> tuple[str, ...]:
        """The executable and its site-packages."""
        return (self._path, *(folder for folder in self._probe().folders if os.path.isdir(folder)))

    def _probe(self) -> _Probed:
        if self._found is None:
            try:
                done = subprocess.run([self._path, "-c", _PROBE], capture_output=True, timeout=60, check=True)
                self._found = msgspec.json.decode(done.stdout, type=_Probed)
            except (OSError, subprocess.SubprocessError, msgspec.DecodeError) as error:
                raise Unusable(
                    Failure(
                        code="OBE65",
                        message=f"the interpreter of toolchain `{self._name}` cannot be started: {self._path}",
                        notes=(("hint", f"{type(error).__name__}: {error}"),),
                    )
                ) from error
        return self._found


class Unlocked:
    """A toolchain that nobody has resolved yet: a plan says so, and a run resolves it before it begins."""

    def __init__(self, name: str) -> None:
        self._name = name

    def interpreter(self, say: Say, run: Run) -> str:
        """There is none. Errors: Unusable."""
        del say, run
        hint = ("hint", "`onnxbuild lock MANIFEST` resolves it")
        raise Unusable(Failure(code="OBE65", message=f"toolchain `{self._name}` is not locked", notes=(hint,)))

    def version(self, name: str) -> str:
        """Nobody knows."""
        del name
        return "not locked"

    def identity(self) -> Mapping[str, str]:
        """It will be made with this implementation."""
        return Current().identity()

    def watched(self) -> tuple[str, ...]:
        """None."""
        return ()


class Locked:
    """An environment made from locked packages, kept below the store by the digest of the lock and used by all.

    A virtual environment cannot be moved, so it is made where it stays, under a lock; a marker, written last, says
    that it is whole, and what a killed run left without one is made again.
    """

    def __init__(self, name: str, locked: LockedToolchain, store: Path) -> None:
        self._name, self._locked = name, locked
        self._place = store / "toolchains" / locked.digest
        self._lock = store / "locks" / f"toolchain-{locked.digest}"

    def interpreter(self, say: Say, run: Run) -> str:
        """Its Python; installing takes as long as downloading does."""
        if not self._is_whole():
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            waiting = f"waiting for another process, which makes toolchain `{self._name}`"
            with locks.hold(self._lock, on_wait=lambda _holder: say(waiting)):
                if not self._is_whole():
                    self._make(say, run)
        return str(self._place / "bin" / "python")

    def version(self, name: str) -> str:
        """As the lock has it: nothing needs to be installed to know."""
        return self._locked.version(name)

    def identity(self) -> Mapping[str, str]:
        """Such an environment is made with this implementation."""
        return Current().identity()

    def watched(self) -> tuple[str, ...]:
        """None: what is installed follows from the lock file."""
        return ()

    def _is_whole(self) -> bool:
        return (self._place / ".whole").exists()

    def _make(self, say: Say, run: Run) -> None:
        remove_tree(self._place)
        self._place.mkdir(parents=True)
        say(f"making toolchain `{self._name}`: {len(self._locked.packages)} packages")
        self._checked(run([sys.executable, "-m", "venv", str(self._place)]))
        requirements = self._place / "requirements.txt"
        requirements.write_text(
            "".join(f"{p.name}=={p.version} --hash=sha256:{p.sha256}\n" for p in self._locked.packages),
            encoding="utf-8",
        )
        python = str(self._place / "bin" / "python")
        self._checked(
            run([
                python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-input", "--disable-pip-version-check",
                "--require-hashes", "--requirement", str(requirements),
            ])
        )  # fmt: skip
        (self._place / ".whole").touch()
        flush(self._place)

    def _checked(self, ended: tuple[int, str]) -> None:
        status, output = ended
        if status != 0:
            lines = [line for line in output.splitlines() if line.strip()]
            reason = next(
                (line for line in lines if line.startswith("ERROR:")), lines[-1] if lines else "no reason given"
            )
            code, hint = "OBE66", "`onnxbuild lock --upgrade` resolves it anew"
            if "DO NOT MATCH THE HASHES" in output or "Expected sha256" in output:
                hint = "this machine's index has other files under these versions: `onnxbuild lock --upgrade`"
            elif "ResolutionImpossible" in output or "conflicting dependencies" in output:
                code, hint = (
                    "OBE12",
                    "a toolchain of its own for each exporter: `onnxbuild lock --upgrade` says what fits",
                )
            raise Unusable(
                Failure(
                    code=code,
                    message=f"toolchain `{self._name}` cannot be installed: {reason.removeprefix('ERROR: ')}",
                    notes=(("hint", hint),),
                )
            )
