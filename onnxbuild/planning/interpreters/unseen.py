"""What can change the result of a step in this interpreter and is in no key, for `onnxbuild doctor`."""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Iterator, Mapping

from onnxbuild.planning.interpreters.distributions import Distributions
from onnxbuild.planning.interpreters.site_folders import NotUnderstood, site_folders

# Not PYTHONPATH, which has a separate line in doctor.
_IGNORED = frozenset({"PYTHONHOME", "PYTHONUSERBASE", "PYTHONPLATLIBDIR"})


def unseen(python: str = sys.executable, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """One line per finding, in words."""
    return (*_in_folders(python), *_in_environment(environ))


def _in_folders(python: str) -> Iterator[str]:
    try:
        found = site_folders(python)
    except (NotUnderstood, FileNotFoundError) as error:
        yield f"the packages of {python}: {error}"
        return
    for place in found.unseen:
        yield f"{place} runs code whenever Python starts, and may add packages"
    installed = Distributions(found.folders)
    for name, versions in installed.doubled().items():
        yield f"{name} is installed as {' and as '.join(versions)} in one folder: reinstall it"
    if site.ENABLE_USER_SITE and os.path.isdir(site.getusersitepackages()):
        yield f"{site.getusersitepackages()}: toolchains do not import from the user's own packages"


def _in_environment(environ: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(environ):
        if (
            name in {"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONPLATLIBDIR"}
            and environ[name]
        ):
            yield f"{name} is set: the interpreters of toolchains do not see it"
