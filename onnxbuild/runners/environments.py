"""The environments of workers: the current interpreter, another interpreter, or one created from locked packages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from onnxbuild.planning.toolchains import LockedToolchain, normalized, python_of
from onnxbuild.planning.pinned.resolution import formats
from onnxbuild.protocol import Failure
from onnxbuild.runners import pip_output
from onnxbuild.store import locks
from onnxbuild.store.files import flush, remove_tree

Say = Callable[[str], None]
# Runs a command to completion as a child that ends with the run, and passes on each line: (exit status, output).
Run = Callable[[Sequence[str], Callable[[str], None]], tuple[int, str]]


class Unusable(Exception):  # noqa: N818 - carries the failure that every action of the toolchain ends with
    """An environment cannot be used or created."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure.message)


class Environment(Protocol):
    """The environment of one toolchain."""

    def interpreter(self, say: Say, run: Run) -> str:
        """The Python executable. Creates the environment first if necessary. Errors: Unusable."""

    def version(self, name: str) -> str:
        """The version of a distribution, or "absent" if it is not installed."""

    def identity(self) -> Mapping[str, str]:
        """The other parts of a key: the implementation and its minor version (patch releases change no result)."""

    def watched(self) -> tuple[str, ...]:
        """Files and folders whose time stamps change when the installed packages change."""


class Current:
    """The interpreter that runs this command."""

    def __init__(self) -> None:
        self._versions: dict[str, str] = {}

    def interpreter(self, say: Say, run: Run) -> str:
        """This interpreter."""
        del say, run
        return sys.executable

    def version(self, name: str) -> str:
        """The version that `importlib.metadata` reports."""
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
        """None: a receipt watches this interpreter in any case."""
        return ()


class _Probed(Struct):
    implementation: str
    versions: dict[str, str]
    folders: list[str]


# Run by another interpreter. It uses only the standard library and is fast.
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
        self._probed: _Probed | None = None

    def interpreter(self, say: Say, run: Run) -> str:
        """The path, if the interpreter starts."""
        del say, run
        self._probe()
        return self._path

    def version(self, name: str) -> str:
        """The version that the interpreter reports."""
        versions = {normalized(known): version for known, version in self._probe().versions.items()}
        return versions.get(normalized(name), "absent")

    def identity(self) -> Mapping[str, str]:
        """The implementation of that interpreter."""
        return {"python": self._probe().implementation}

    def watched(self) -> tuple[str, ...]:
        """The executable and its site-packages."""
        return (self._path, *(folder for folder in self._probe().folders if os.path.isdir(folder)))

    def _probe(self) -> _Probed:
        if self._probed is None:
            try:
                done = subprocess.run([self._path, "-c", _PROBE], capture_output=True, timeout=60, check=True)
                self._probed = msgspec.json.decode(done.stdout, type=_Probed)
            except (OSError, subprocess.SubprocessError, msgspec.DecodeError) as error:
                raise Unusable(
                    Failure(
                        code="OBE65",
                        message=f"the interpreter of toolchain `{self._name}` cannot be started: {self._path}",
                        notes=(("hint", f"{type(error).__name__}: {error}"),),
                    )
                ) from error
        return self._probed


class Unlocked:
    """A toolchain that is not resolved yet: a plan reports it, and a run resolves it before it starts."""

    def __init__(self, name: str) -> None:
        self._name = name

    def interpreter(self, say: Say, run: Run) -> str:
        """Always raises Unusable: there is no interpreter yet."""
        del say, run
        hint = ("hint", "`onnxbuild lock MANIFEST` resolves it")
        raise Unusable(Failure(code="OBE65", message=f"toolchain `{self._name}` is not locked", notes=(hint,)))

    def version(self, name: str) -> str:
        """The same text for every distribution, so that a plan can show it."""
        del name
        return "not locked"

    def identity(self) -> Mapping[str, str]:
        """The implementation that will create the environment."""
        return Current().identity()

    def watched(self) -> tuple[str, ...]:
        """None."""
        return ()


class Locked:
    """An environment created from locked packages, stored under the digest of the lock and shared by all runs.

    A virtual environment cannot be moved, so it is created in its final place, under a lock. A marker, written last,
    says that it is complete; an environment that a killed run left without the marker is created again.
    """

    def __init__(self, name: str, locked: LockedToolchain, store: Path) -> None:
        self._name, self._locked = name, locked
        self._place = store / "toolchains" / locked.digest
        self._lock = store / "locks" / f"toolchain-{locked.digest}"

    def interpreter(self, say: Say, run: Run) -> str:
        """Its Python; the first use installs the packages, which can take minutes."""
        if not self._is_complete():
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            waiting = f"waiting for another process, which is creating toolchain `{self._name}`"
            with locks.hold(self._lock, on_wait=lambda _holder: say(waiting)):
                if not self._is_complete():
                    self._create(say, run)
        return str(python_of(self._place))

    def version(self, name: str) -> str:
        """The version in the lock; nothing has to be installed for it."""
        return self._locked.version(name)

    def identity(self) -> Mapping[str, str]:
        """The implementation that creates the environment."""
        return Current().identity()

    def watched(self) -> tuple[str, ...]:
        """None: the lock file determines what is installed."""
        return ()

    def _is_complete(self) -> bool:
        return (self._place / ".whole").exists()

    def _create(self, say: Say, run: Run) -> None:
        remove_tree(self._place)
        self._place.mkdir(parents=True)
        say(f"creating toolchain `{self._name}`: {len(self._locked.packages)} packages")
        self._checked(run([sys.executable, "-I", "-m", "venv", str(self._place)], lambda _line: None))
        requirements = self._place / "requirements.txt"
        requirements.write_text(
            "".join(f"{p.name}=={p.version} --hash=sha256:{p.sha256}\n" for p in self._locked.packages),
            encoding="utf-8",
        )
        self._checked(run(self._installation(requirements), pip_output.Counter(len(self._locked.packages), say)))
        (self._place / ".whole").touch()
        flush(self._place)

    def _installation(self, requirements: Path) -> list[str]:
        """The command that installs exactly the locked packages and prints a line for each."""
        return [
            str(python_of(self._place)), "-I", "-m", "pip", "install", "--progress-bar", "off", "--no-color", "--no-deps",
            "--no-input", "--disable-pip-version-check", "--require-hashes",
            *formats([one.name for one in self._locked.packages if one.sdist is True]),
            "--requirement", str(requirements),
        ]  # fmt: skip

    def _checked(self, ended: tuple[int, str]) -> None:
        status, output = ended
        if status != 0:
            code, hint = pip_output.code_and_hint(output)
            message = f"toolchain `{self._name}` cannot be installed: {pip_output.reason(output)}"
            raise Unusable(Failure(code=code, message=message, notes=(("hint", hint),)))
