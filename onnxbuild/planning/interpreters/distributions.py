"""The distributions in the folders of an interpreter's path: the first of each name counts, as Python imports it.

An editable installation has its code elsewhere, where it changes without a new version. Its version here is therefore
followed by a digest of that code.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from msgspec import Struct

from onnxbuild.digest import digest_value
from onnxbuild.needs.step_needs import CODE_OF
from onnxbuild.planning.interpreters import MayRead
from onnxbuild.planning.toolchains import normalized
from onnxbuild.regular_files import open_regular, read_regular
from onnxbuild.steps.kind import EVERYTHING
from onnxbuild.steps.python_code import digest_of_code, module_place, watched_code

_DIGITS = 32  # of a digest beside a version
_HEAD_BYTES = 1 << 16  # name and version stand in the first lines of the metadata
_URL_BYTES = 1 << 16
_IN_EGG = "EGG-INFO"


class Distribution(Struct, frozen=True):
    """One installed distribution: its folder or file of metadata, and the folder in which that is."""

    metadata: str
    folder: str

    @property
    def name(self) -> str:
        """The normalized name, from the name of the folder of metadata, or of the .egg that contains it."""
        place = os.path.basename(self.metadata)
        return normalized(_split(os.path.basename(self.folder) if place == _IN_EGG else place)[0])

    @property
    def version(self) -> str:
        """The version in the metadata, or else in the name of the folder, which has it for wheels."""
        found = re.search(r"^Version:[ \t]*(\S+)", self._head(), re.MULTILINE)
        return found[1] if found else _split(os.path.basename(self.metadata))[1]

    @property
    def project(self) -> str | None:
        """The folder of the code of an editable installation; None for any other."""
        name = os.path.basename(self.metadata)
        if name.endswith(".egg-info"):  # what `setup.py develop` left beside the code
            return None if self.folder.endswith("-packages") else self.folder
        try:
            url = msgspec.json.decode(
                read_regular(os.path.join(self.metadata, "direct_url.json"), _URL_BYTES), type=_Url
            )
        except (OSError, msgspec.MsgspecError):
            return None
        return _path(url.url) if url.dir_info.editable else None

    def _head(self) -> str:
        for name in ("METADATA", "PKG-INFO", ""):
            try:
                with open_regular(os.path.join(self.metadata, name) if name else self.metadata) as file:
                    return file.read(_HEAD_BYTES).decode("utf-8", "replace").partition("\n\n")[0]
            except OSError:
                continue
        return ""


class _Kind(Struct):
    editable: bool = False


class _Url(Struct):
    """The part of `direct_url.json` (https://packaging.python.org/en/latest/specifications/direct-url/) we read."""

    url: str
    dir_info: _Kind = msgspec.field(default_factory=_Kind)


class Distributions:
    """What is installed in some folders, read once. `may_read`: whether the code of an editable project may be read."""

    def __init__(self, folders: Sequence[str], may_read: MayRead = lambda _folder: True) -> None:
        self._folders, self._may_read = folders, may_read
        self._versions: dict[str, str] = {}

    def version(self, name: str) -> str:
        """The version of a distribution, with a digest of its code if it is editable; `absent` if it is missing.

        `EVERYTHING`: a digest of all names and versions, without our own. `CODE_OF` a module: a digest of its files.
        """
        if name not in self._versions:
            self._versions[name] = self._asked(name)
        return self._versions[name]

    def released(self, name: str) -> str:
        """The version of a distribution as the metadata has it: what an interpreter reports that runs."""
        found = self._first.get(normalized(name), ())
        # Two versions in one folder are left by an interrupted installation: which one is imported is not known.
        return " or ".join(sorted({one.version for one in found})) or "absent"

    def names(self) -> tuple[str, ...]:
        """The normalized names of all distributions."""
        return tuple(sorted(self._first))

    def watched(self, name: str) -> Iterator[str]:
        """The files whose change changes the version of a distribution, besides the folders themselves."""
        names = self.names() if name == EVERYTHING else (normalized(name),)
        for one in (one for known in names for one in self._first.get(known, ())):
            yield one.metadata
            yield from watched_code(self._projects(one))
        yield from self.watched_shadows(names)

    def watched_shadows(self, names: Iterable[str]) -> Iterator[str]:
        """The code that is imported in place of distributions with these names."""
        yield from watched_code(place for name in names if (place := self._shadow(name)) is not None)

    def doubled(self) -> Mapping[str, tuple[str, ...]]:
        """The distributions of which one folder has several versions."""
        versions = {name: tuple(sorted({one.version for one in found})) for name, found in self._first.items()}
        return {name: found for name, found in versions.items() if len(found) > 1}

    def editable(self) -> tuple[str, ...]:
        """The names of editable installations."""
        return tuple(name for name, found in self._first.items() if any(map(self._projects, found)))

    def _asked(self, name: str) -> str:
        if name == EVERYTHING:
            return self._everything()
        if name.startswith(CODE_OF):
            return self._code(name.removeprefix(CODE_OF))
        return self._version(normalized(name))

    def _code(self, module: str) -> str:
        """A digest of a module; an editable project may have it at its root or in `src`."""
        projects = [root for found in self._first.values() for one in found for root in self._projects(one)]
        folders = (*self._folders, *(os.path.join(root, below) for root in projects for below in ("src", "")))
        place = module_place(module, folders)
        return digest_of_code([place], self._may_read)[:_DIGITS] if place is not None else "absent"

    def _version(self, name: str) -> str:
        projects = [project for one in self._first.get(name, ()) for project in self._projects(one)]
        released, shadow = self.released(name), self._shadow(name)
        if shadow is not None:
            return f"{released} (hidden by {digest_of_code([shadow], self._may_read)[:_DIGITS]})"
        if projects:
            return f"{released} (editable {digest_of_code(projects, self._may_read)[:_DIGITS]})"
        return released

    def _shadow(self, name: str) -> str | None:
        """A module that Python imports in place of a distribution: one in an earlier folder, without any metadata.

        A source tree on PYTHONPATH is such a module. Its name is taken to be that of the distribution.
        """
        own = {one.folder for one in self._first.get(name, ())}
        for folder in self._folders:
            if folder in own:
                return None
            place = module_place(name.replace("-", "_"), [folder])
            if place is not None and (place.endswith(".py") or os.path.isfile(os.path.join(place, "__init__.py"))):
                return place
        return None

    def _projects(self, one: Distribution) -> list[str]:
        project = one.project
        return [project] if project is not None and self._may_read(os.path.realpath(project)) else []

    def _everything(self) -> str:
        return digest_value({name: self.version(name) for name in self._first if name != "onnxbuild"})[:_DIGITS]

    @functools.cached_property
    def _first(self) -> Mapping[str, tuple[Distribution, ...]]:
        """By normalized name, the distributions in the first folder that has one of that name."""
        found: dict[str, tuple[Distribution, ...]] = {}
        for folder in self._folders:
            here: dict[str, tuple[Distribution, ...]] = {}
            for one in _in_folder(folder, self._may_read):
                here[one.name] = (*here.get(one.name, ()), one)
            found = here | found
        return found


def own_distributions() -> Distributions:
    """What this interpreter imports packages from."""
    return Distributions([folder for folder in sys.path if folder and os.path.isdir(folder)])


def _in_folder(folder: str, may_read: MayRead) -> Iterator[Distribution]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return
    # An .egg that easy-install.pth names is a folder of the path itself, with its metadata inside.
    if folder.endswith(".egg") and _IN_EGG in names:
        yield Distribution(os.path.join(folder, _IN_EGG), folder)
    for name in names:
        path = os.path.join(folder, name)
        # Names with `~` are what an interrupted pip has renamed. An empty folder is what is left of a removed package.
        # A name of a distribution is ASCII (PEP 508).
        is_metadata = name.endswith((".dist-info", ".egg-info")) and name.isascii() and not name.startswith("~")
        if is_metadata and _has_metadata(path) and (not os.path.islink(path) or may_read(os.path.realpath(path))):
            yield Distribution(path, folder)


def _has_metadata(path: str) -> bool:
    return os.path.isfile(path) or any(os.path.lexists(os.path.join(path, one)) for one in ("METADATA", "PKG-INFO"))


def _split(name: str) -> tuple[str, str]:
    """Name and version in the name of a folder of metadata: `onnx_ir-1.1.0.dist-info`."""
    stem = re.sub(r"(-py\d[\d.]*)?\.(dist-info|egg-info|egg)$", "", name)
    distribution, _, version = stem.partition("-")
    return distribution, version.partition("-py")[0] or "unknown"


def _path(url: str) -> str | None:
    """The path of a `file:` URL; None for any other."""
    from urllib.parse import unquote, urlsplit

    try:
        split = urlsplit(url)
    except ValueError:
        return None
    path = unquote(split.path)
    if split.scheme != "file" or "\0" in path:
        return None
    return path.lstrip("/") if re.match(r"/[A-Za-z]:", path) else path
