"""What a step needs besides its inputs: distributions, programs on the PATH, and files of drivers.

Programs and files are those of the machine. Distributions are those of one environment, which the caller chooses: a
worker asks about its own, lint about the toolchain of the action, and `doctor` about that of the command.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable

# What `packages` may name besides distributions: the code of a package, by content.
CODE_OF = "code of "
# A program on the PATH, such as `program node`: its version is that of the first one that is found.
PROGRAM = "program "
# A file of the system, such as `file /dev/kfd`, that a driver makes: whether it is there.
FILE = "file "

# The version of a distribution in the environment that is asked about; None if it is absent there.
Version = Callable[[str], str | None]


def is_of_machine(need: str) -> bool:
    """Whether a need is a program or a file of the machine, whatever environment the action runs in."""
    return need.startswith((PROGRAM, FILE))


def need_name(need: str) -> str:
    """A need as a person calls it."""
    return need.removeprefix(PROGRAM).removeprefix(FILE)


def first_absent(needs: Iterable[str], version: Version) -> str | None:
    """The first need that is absent, None if all are there."""
    return next((one for one in needs if not _is_there(one, version)), None)


def _is_there(need: str, version: Version) -> bool:
    if need.startswith(CODE_OF):  # a plugin that declares its own code is installed
        return True
    if need.startswith(PROGRAM):
        return shutil.which(need.removeprefix(PROGRAM)) is not None
    if need.startswith(FILE):
        return os.path.exists(need.removeprefix(FILE))
    return version(need) is not None
