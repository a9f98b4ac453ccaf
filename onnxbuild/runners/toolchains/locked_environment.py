"""An environment created from locked packages, stored under the digest of the lock and shared by all runs.

A virtual environment cannot be moved, so it is created in its final place, under a lock. A marker, written last, lists
the files that are there then; an environment that a killed run left without the marker, or that has lost a file since,
is created again. A run shares the lock `<digest>.use` for as long as it uses the environment, and whoever removes or
creates an environment holds that lock alone.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from onnxbuild.needs.step_needs import CODE_OF
from onnxbuild.planning.toolchains import LockedToolchain, python_of
from onnxbuild.protocol import Failure
from onnxbuild.runners import pip_output
from onnxbuild.runners.environments import Current, Run, Say, Unusable
from onnxbuild.runners.toolchains.whole import mark_whole, what_is_wrong
from onnxbuild.steps.kind import EVERYTHING
from onnxbuild.store import locks
from onnxbuild.store.files import remove_tree
from onnxbuild.store.group_access import grant_below, make_folder
from onnxbuild.store.locking.shared_lock import SharedLock, hold_alone


class Locked:
    """The environment of a toolchain that the lock file holds."""

    def __init__(self, name: str, locked: LockedToolchain, store: Path) -> None:
        self._name, self._locked = name, locked
        self._place = store / "toolchains" / locked.digest
        self._creation = store / "locks" / f"toolchain-{locked.digest}"
        self._use = SharedLock(use_lock(self._place))
        self._mutex = threading.Lock()
        self._in_use = False

    def interpreter(self, say: Say, run: Run) -> str:
        """Its Python; the first use installs the packages, which can take minutes. Errors: Unusable, OSError."""
        with self._mutex:
            while not self._in_use:
                self._take(say, run)
        return str(python_of(self._place))

    def version(self, name: str) -> str:
        """The version in the lock; nothing has to be installed for it. All code is determined by its hashes."""
        whole = name == EVERYTHING or name.startswith(CODE_OF)
        return self._locked.digest if whole else self._locked.version(name)

    def identity(self) -> Mapping[str, str]:
        """The implementation that creates the environment."""
        return Current().identity()

    def watched(self) -> tuple[str, ...]:
        """None: the lock file determines what is installed."""
        return ()

    def close(self) -> None:
        """Let others remove the environment."""
        with self._mutex:
            self._use.close()
            self._in_use = False

    def _take(self, say: Say, run: Run) -> None:
        """Share the environment if it is complete; otherwise create it, and let the caller look again."""
        make_folder(self._place.parent)
        self._use.acquire()
        if what_is_wrong(self._place, self._locked) is None:
            self._in_use = True
            return
        # Released before the other lock is taken: two runs that both wait to be alone would wait forever.
        self._use.release()
        make_folder(self._creation.parent)
        waiting = f"waiting for another process, which is creating toolchain `{self._name}`"
        with locks.hold(self._creation, on_wait=lambda _holder: say(waiting)):
            in_use = f"waiting for another process, which uses the damaged toolchain `{self._name}`"
            with hold_alone(use_lock(self._place), lambda: say(in_use)):
                self._create_unless_whole(say, run)

    def _create_unless_whole(self, say: Say, run: Run) -> None:
        wrong = what_is_wrong(self._place, self._locked)
        if wrong is None:
            return
        if self._place.is_dir():
            say(f"creating toolchain `{self._name}` again: {wrong}")
        self._create(say, run)

    def _create(self, say: Say, run: Run) -> None:
        if self._place.is_symlink() or self._place.is_file():
            self._place.unlink()
        remove_tree(self._place)
        make_folder(self._place)
        say(f"creating toolchain `{self._name}`: {len(self._locked.packages)} packages")
        self._checked(run([sys.executable, "-I", "-m", "venv", str(self._place)], lambda _line: None))
        requirements = self._place / "requirements.txt"
        requirements.write_text(
            "".join(f"{p.name}=={p.version} --hash=sha256:{p.sha256}\n" for p in self._locked.packages),
            encoding="utf-8",
        )
        self._checked(run(self._installation(requirements), pip_output.Counter(len(self._locked.packages), say)))
        grant_below(self._place)
        mark_whole(self._place)
        wrong = what_is_wrong(self._place, self._locked)
        if wrong is not None:
            message = f"toolchain `{self._name}` is incomplete after its installation: {wrong}"
            hint = "look for settings of pip that install elsewhere: `pip config list`, and PIP_ variables"
            raise Unusable(Failure(code="OBE71", message=message, notes=(("hint", hint),)))

    def _installation(self, requirements: Path) -> list[str]:
        """The command that installs exactly the locked packages and prints a line for each."""
        from onnxbuild.planning.pinned.resolution import formats

        return [
            str(python_of(self._place)), "-I", "-m", "pip", "install", "--progress-bar", "off", "--no-color",
            "--no-deps", "--no-input", "--disable-pip-version-check", "--require-hashes",
            *formats([one.name for one in self._locked.packages if one.sdist is True]),
            "--requirement", str(requirements),
        ]  # fmt: skip

    def _checked(self, ended: tuple[int, str]) -> None:
        status, output = ended
        if status != 0:
            code, hint = pip_output.code_and_hint(output)
            message = f"toolchain `{self._name}` cannot be installed: {pip_output.reason(output)}"
            raise Unusable(Failure(code=code, message=message, notes=(("hint", hint),)))


def use_lock(place: Path) -> Path:
    """The lock that a run shares while it uses the environment in a place. It is never removed."""
    return place.with_name(f"{place.name}.use")
