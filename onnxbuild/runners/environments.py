"""The environments of workers: what each must offer, the current interpreter, and a toolchain that is not locked yet.

`toolchains/` has an interpreter that the manifest names, and one that is created from locked packages. Everything but
`interpreter` is asked while planning, and starts no process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from onnxbuild.needs.step_needs import CODE_OF, is_of_machine
from onnxbuild.planning.interpreters.distributions import own_distributions
from onnxbuild.protocol import Failure
from onnxbuild.runners.programs import version_on_machine
from onnxbuild.steps.exporters import EXPORTERS
from onnxbuild.steps.python_code import digest_of_code, own_module_place

_US = "onnxbuild"

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
        """The version of a distribution, "absent" if it is not installed; `EVERYTHING` and `CODE_OF` as in `kind`."""

    def identity(self) -> Mapping[str, str]:
        """The other parts of a key: the implementation and its minor version (patch releases change no result)."""

    def watched(self) -> tuple[str, ...]:
        """Files and folders whose time stamps change when the installed packages change."""

    def close(self) -> None:
        """The run no longer uses the environment."""


class Current:
    """The interpreter that runs this command."""

    def __init__(self) -> None:
        self._installed = own_distributions()

    def interpreter(self, say: Say, run: Run) -> str:
        """This interpreter."""
        del say, run
        return sys.executable

    def version(self, name: str) -> str:
        """The version of the distribution that this interpreter would import."""
        if is_of_machine(name):
            return version_on_machine(name)
        if name.startswith(CODE_OF):
            place = own_module_place(name.removeprefix(CODE_OF))
            return digest_of_code([place])[:32] if place is not None else "absent"
        return self._installed.version(name)

    def identity(self) -> Mapping[str, str]:
        """This implementation."""
        return {"python": f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}"}

    def watched(self) -> tuple[str, ...]:
        """The code of editable installations, and of source trees on PYTHONPATH that hide a distribution.

        A receipt watches this interpreter, the metadata of what is installed and our own code in any case.
        """
        others = (name for name in self._installed.editable() if name != _US)
        editable = (path for name in others for path in self._installed.watched(name))
        names = {*self._installed.names(), *(name for one in EXPORTERS.values() for name in one.packages)} - {_US}
        return tuple(dict.fromkeys((*editable, *self._installed.watched_shadows(sorted(names)))))

    def close(self) -> None:
        """Nothing to give up."""


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

    def close(self) -> None:
        """Nothing to give up."""
