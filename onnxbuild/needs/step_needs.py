"""What a step needs besides its inputs: distributions, programs on the PATH, files of drivers, and shared libraries.

Programs, files and libraries are those of the machine. Where one of them stands for a device, the device is looked for.
Distributions are those of one environment, which the caller chooses: a worker asks about its own, lint about the
toolchain of the action, and `doctor` about that of the command.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Mapping

from onnxbuild.needs.devices import device_problem

# What `packages` may name besides distributions: the code of a package, by content.
CODE_OF = "code of "
# A program on the PATH, such as `program node`: its version is that of the first one that is found.
PROGRAM = "program "
# A file of the system, such as `file /dev/kfd`, that a driver makes: whether it is there.
FILE = "file "
# A shared library, such as `library libnvinfer.so`, of any version: whether the loader of Linux finds it.
LIBRARY = "library "
# A device, such as `device HTP`, that no single program or file stands for (`onnxbuild.needs.devices`).
DEVICE = "device "

# What the loader knows without LD_LIBRARY_PATH: its cache, and the folders that it looks in last.
_LOADER_CACHE = "/etc/ld.so.cache"
_LOADER_FOLDERS = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")

_LATE = (LIBRARY, DEVICE)  # became needs after there were keys

ABSENT = "absent"  # the version, in a key, of what is missing

# The version of a distribution in the environment that is asked about; None if it is absent there.
Version = Callable[[str], str | None]


def is_of_machine(need: str) -> bool:
    """Whether a need is of the machine, such as a program or a file, whatever environment the action runs in."""
    return need.startswith((PROGRAM, FILE, *_LATE))


def of_key(versions: Mapping[str, str], together: Iterable[Collection[str]]) -> dict[str, str]:
    """The versions that a key has: a library or a device counts only where it is all that is missing.

    One that is there tells no version, and beside another missing need it changes nothing. Its absence was a failure
    before it became a need, so that no result has another key because of it.

    `together`: what is needed at once, such as all that a compiler needs.
    """
    gone = {name for name, version in versions.items() if version == ABSENT}
    lacks = (gone.intersection(needs) for needs in together)
    alone = {name for lack in lacks if all(one.startswith(_LATE) for one in lack) for name in lack}
    return {name: version for name, version in versions.items() if not name.startswith(_LATE) or name in alone}


def need_name(need: str) -> str:
    """A need as a person calls it."""
    return need.removeprefix(PROGRAM).removeprefix(FILE).removeprefix(LIBRARY).removeprefix(DEVICE)


def first_absent(needs: Iterable[str], version: Version) -> str | None:
    """The first need that is absent, None if all are there."""
    return next((one for one in needs if not _is_there(one, version)), None)


def is_on_machine(need: str) -> bool:
    """Whether this machine has a program, a file, a library or a device; the device behind a program or a file, too."""
    return _exists(need) and device_problem(need_name(need)) is None


def why_without_device(need: str) -> str | None:
    """Why an absent need is absent although its program or file is here, in words; None if that is what is missing."""
    return device_problem(need_name(need)) if is_of_machine(need) and _exists(need) else None


def absence(need: str) -> str:
    """Why an absent need is absent, in words."""
    return why_without_device(need) or f"`{need_name(need)}` is not here"


def _is_there(need: str, version: Version) -> bool:
    if need.startswith(CODE_OF):  # a plugin that declares its own code is installed
        return True
    return is_on_machine(need) if is_of_machine(need) else version(need) is not None


def _exists(need: str) -> bool:
    if need.startswith(PROGRAM):
        return shutil.which(need.removeprefix(PROGRAM)) is not None
    if need.startswith(LIBRARY):
        return has_library(need.removeprefix(LIBRARY))
    return need.startswith(DEVICE) or os.path.exists(need.removeprefix(FILE))


def has_library(name: str) -> bool:
    """Whether the loader finds a library, such as `libnvinfer.so`, or a version of it, such as `libnvinfer.so.10`.

    The places are read instead of asked for: `ctypes.util.find_library` starts compilers.
    """
    return any(_has_library(folder, name) for folder in library_folders()) or _in_loader_cache(name)


def library_folders() -> tuple[str, ...]:
    """The folders in which the loader looks: those of LD_LIBRARY_PATH, of this interpreter, and of the system."""
    named = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep))
    return (*named, os.path.join(sys.prefix, "lib"), *_LOADER_FOLDERS)


def library_places() -> tuple[str, ...]:
    """The files and folders that change where a library is installed or removed."""
    return (*library_folders(), _LOADER_CACHE)


def _has_library(folder: str, name: str) -> bool:
    try:
        return any(one == name or one.startswith(f"{name}.") for one in os.listdir(folder))
    except OSError:
        return False


def _in_loader_cache(name: str) -> bool:
    try:
        with open(_LOADER_CACHE, "rb") as file:
            paths = file.read()  # it ends each path with a zero byte
    except OSError:
        return False
    return any(f"/{name}{end}".encode() in paths for end in ("\0", "."))
