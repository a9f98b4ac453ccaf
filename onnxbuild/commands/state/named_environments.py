"""The environments in which the actions of a manifest may run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.manifest.spec import Manifest, Toolchain
from onnxbuild.planning.action_graph import CURRENT
from onnxbuild.runners.environments import Current, Environment, Unlocked, Unusable

if TYPE_CHECKING:
    from onnxbuild.planning.locked import Lock
    from onnxbuild.planning.toolchains import LockedToolchain


def environments_of(manifest: Manifest, lock: Lock, store: Path) -> Mapping[str, Environment]:
    """The environments in which actions of a manifest may run: the command's own, and those that models name.

    Errors: DiagnosticError OB048 for an interpreter that is missing, OB080 for one that cannot be understood.
    """
    from onnxbuild.planning.lock_file import lock_key

    environments: dict[str, Environment] = {CURRENT: Current()}
    created: dict[str, Environment] = {}  # by digest: toolchains with equal packages share one environment
    for toolchain in toolchains_of(manifest):
        if toolchain.python:
            environments[toolchain.name] = existing(toolchain, manifest)
        elif locked := lock.toolchains.get(lock_key(toolchain)):
            created.setdefault(locked.digest, _created(toolchain.name, locked, store))
            environments[toolchain.name] = created[locked.digest]
        else:
            environments[toolchain.name] = Unlocked(toolchain.name)
    return environments


def toolchains_of(manifest: Manifest) -> list[Toolchain]:
    """The toolchains that models name, each once."""
    names = dict.fromkeys(model.toolchain for model in manifest.models if model.toolchain)
    return [manifest.toolchains[name] for name in names]


def _created(name: str, locked: LockedToolchain, store: Path) -> Environment:
    from onnxbuild.runners.toolchains.locked_environment import Locked

    return Locked(name, locked, store)


def existing(toolchain: Toolchain, manifest: Manifest) -> Environment:
    """The interpreter that a toolchain names. Errors: DiagnosticError OB048, OB080."""
    from onnxbuild.planning.interpreters.site_folders import NotUnderstood
    from onnxbuild.planning.interpreters.within_reach import readable_for
    from onnxbuild.runners.toolchains.existing_interpreter import Interpreter

    assert toolchain.python is not None, "BUG: the toolchain names an interpreter"
    interpreter = Interpreter(toolchain.name, toolchain.python, readable_for(toolchain.python, manifest))
    try:
        interpreter.identity()
    except Unusable as error:
        hint = error.failure.notes[0][1]
        raise DiagnosticError(fault("OB048", str(error), span=toolchain.span, hint=hint)) from error
    except NotUnderstood as error:
        message = f"the interpreter of toolchain `{toolchain.name}` cannot be understood: {error}"
        hint = "name the `python` of a virtual environment, which has a `pyvenv.cfg` beside it"
        raise DiagnosticError(fault("OB080", message, span=toolchain.span, hint=hint)) from error
    return interpreter
