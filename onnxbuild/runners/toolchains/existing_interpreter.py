"""An interpreter that the manifest names. Planning reads its folders; a run starts it, and checks what was read."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from onnxbuild.needs.step_needs import CODE_OF
from onnxbuild.planning.interpreters import MayRead
from onnxbuild.planning.interpreters.distributions import Distributions
from onnxbuild.planning.interpreters.site_folders import OUTSIDE, SiteFolders, site_folders
from onnxbuild.planning.toolchains import normalized
from onnxbuild.protocol import Failure
from onnxbuild.runners.environments import Run, Say, Unusable
from onnxbuild.steps.kind import EVERYTHING

_PROBE_SECONDS = 60
_SHOWN = 3
# Run by the other interpreter, with `-I`. It uses only the standard library. The first distribution of a name counts.
_PROBE = """
import json, sys
from importlib import metadata
versions = {}
for one in metadata.distributions():
    if one.metadata["Name"]:
        versions.setdefault(one.metadata["Name"], one.version)
print(json.dumps({
    "implementation": f"{sys.implementation.name}-{sys.version_info.major}.{sys.version_info.minor}",
    "versions": versions,
}))
"""


class _Probed(Struct):
    implementation: str
    versions: dict[str, str]


class Interpreter:
    """Another interpreter, by path: `toolchains: {NAME: {python: PATH}}`."""

    def __init__(self, name: str, path: str, may_read: MayRead = lambda _folder: True) -> None:
        self._name, self._path, self._may_read = name, path, may_read
        self._asked: set[str] = set()
        self._checked = False

    def interpreter(self, say: Say, run: Run) -> str:
        """The path, if the interpreter starts and is what its folders say. Errors: Unusable; NotUnderstood."""
        del say, run
        if not self._checked:
            self._check(self._probe())
            self._checked = True
        return self._path

    def version(self, name: str) -> str:
        """The version that the interpreter would import, read from its folders. Errors: as `identity`."""
        self._asked.add(name)
        return self._installed.version(name)

    def identity(self) -> Mapping[str, str]:
        """The implementation of that interpreter. Errors: Unusable if it is missing; NotUnderstood."""
        return {"python": self._site.python}

    def watched(self) -> tuple[str, ...]:
        """The executable, its site folders, and what the versions were read from."""
        editable = (path for name in self._installed.editable() for path in self._installed.watched(name))
        hidden = self._installed.watched_shadows(self._installed.names())
        folders = (folder for folder in self._site.folders if os.path.isdir(folder))
        return tuple(dict.fromkeys((*self._site.read, *folders, *editable, *hidden)))

    def close(self) -> None:
        """Nothing to give up."""

    @functools.cached_property
    def _site(self) -> SiteFolders:
        try:
            return site_folders(self._path, may_read=self._may_read)
        except FileNotFoundError:
            raise Unusable(self._not_started("no such file")) from None

    @functools.cached_property
    def _installed(self) -> Distributions:
        return Distributions(self._site.folders, self._may_read)

    def _probe(self) -> _Probed:
        try:
            command = [self._path, "-I", "-c", _PROBE]
            done = subprocess.run(command, capture_output=True, timeout=_PROBE_SECONDS, check=True)
            return msgspec.json.decode(done.stdout, type=_Probed)
        except (OSError, subprocess.SubprocessError, msgspec.MsgspecError) as error:
            raise Unusable(self._not_started(f"{type(error).__name__}: {error}")) from error

    def _check(self, probed: _Probed) -> None:
        """Compare what keys contain with what the interpreter reports. Errors: Unusable."""
        reported = {normalized(name): version for name, version in probed.versions.items()}
        everything = {*reported, *self._installed.names()} if EVERYTHING in self._asked else set()
        names = (self._asked - {EVERYTHING}) | everything
        wanted = {normalized(name) for name in names if not name.startswith(CODE_OF)}
        pairs = [(name, self._installed.released(name), reported.get(name, "absent")) for name in sorted(wanted)]
        pairs.append(("python", self._site.python, probed.implementation))
        differing = [f"{name} is {now}, not {read}" for name, read, now in pairs if read != now]
        if differing:
            raise Unusable(self._read_differently(differing))

    def _read_differently(self, differing: list[str]) -> Failure:
        hint = "name the interpreter of an environment that has its packages in its own site-packages"
        if any(OUTSIDE in one for one in self._site.unseen):
            hint = f"permit the folder with `--allow-path`, or {hint}"
        sources = ", ".join(self._site.unseen[:_SHOWN]) or "`sitecustomize`, or a script that starts another Python"
        return Failure(
            code="OBE70",
            message=f"toolchain `{self._name}` has other packages than its folders: {', '.join(differing[:_SHOWN])}",
            notes=(
                ("found", f"what a plan cannot see: {sources}"),
                ("hint", hint),
            ),
        )

    def _not_started(self, reason: str) -> Failure:
        message = f"the interpreter of toolchain `{self._name}` cannot be started: {self._path}"
        return Failure(code="OBE65", message=message, notes=(("hint", reason),))
