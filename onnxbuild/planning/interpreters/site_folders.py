"""Where a Python interpreter looks for packages, read from the files around it. Nothing is started.

This repeats what `getpath` and `site` of Python do under `-I`, which is how workers run: the environment's
`site-packages`, then what its `.pth` files add, then the same of the base interpreter if the environment includes it.
The user's own site-packages and PYTHONPATH play no part. Lines of `.pth` files that begin with `import` are code; they
are not run, and `unseen` names them. A run compares what was read with what the interpreter itself reports.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping

from msgspec import Struct

from onnxbuild.planning.interpreters import MayRead
from onnxbuild.regular_files import read_regular

_MOST_BYTES = 1 << 20
_VERSIONED = re.compile(r"(?P<name>python|pypy|graalpy)(?P<version>\d\.\d+)t?", re.IGNORECASE)
OUTSIDE = "which is outside the folders that may be read"
_IMPLEMENTATIONS = {"python": "cpython"}  # of a folder's or an executable's name; others are named as they are
_DLL = re.compile(r"python(\d)(\d{2,})\.dll", re.IGNORECASE)


class NotUnderstood(Exception):  # noqa: N818 - a finding about a file that somebody named
    """What an interpreter is cannot be determined from its folders."""


class SiteFolders(Struct, frozen=True):
    """The folders with an interpreter's packages, in the order in which Python searches them."""

    python: str  # implementation and minor version: cpython-3.11
    folders: tuple[str, ...]
    read: tuple[str, ...]  # the files that this was read from
    unseen: tuple[str, ...]  # what adds packages in a way that only a running interpreter shows


def site_folders(
    python: str, *, may_read: MayRead = lambda _folder: True, windows: bool = sys.platform == "win32"
) -> SiteFolders:
    """The site folders of an interpreter. Errors: NotUnderstood; FileNotFoundError if there is no such file."""
    if not os.path.isfile(python):
        raise FileNotFoundError(python)
    prefix = os.path.dirname(os.path.dirname(os.path.abspath(python)))
    # The folder of the executable comes second, as in Python: there it is a relict of old Windows layouts.
    candidates = [os.path.join(folder, "pyvenv.cfg") for folder in (prefix, os.path.dirname(os.path.abspath(python)))]
    config = next((path for path in candidates if os.path.isfile(path)), None)
    if config is None:
        return _of_base(python, may_read, windows=windows)
    settings = _settings(config)
    name = _implementation(prefix, python, settings, windows=windows)
    folders = list(_packages_in(prefix, name, windows=windows))
    if settings.get("include-system-site-packages", "").lower() == "true":
        base = os.path.join(settings.get("home", ""), os.path.basename(python))
        folders += _base_folders(os.path.realpath(base), name, windows=windows)
    return _with_additions(_identity(name), folders, (os.path.abspath(python), config), may_read)


def _of_base(python: str, may_read: MayRead, *, windows: bool) -> SiteFolders:
    """An interpreter that is no virtual environment: its packages are around the file that links lead to."""
    real = os.path.realpath(python)
    name = _implementation(os.path.dirname(os.path.dirname(real)), real, {}, windows=windows)
    folders = _base_folders(real, name, windows=windows)
    return _with_additions(_identity(name), folders, (os.path.abspath(python), real), may_read)


# -- the version ------------------------------------------------------------------------------------------------------


def _implementation(prefix: str, python: str, settings: Mapping[str, str], *, windows: bool) -> str:
    """The name of the implementation with its minor version, as folders have it: `python3.11`.

    The executable that links lead to is the surest sign: `pyvenv.cfg` keeps the version of the day it was written.
    Errors: NotUnderstood.
    """
    named = _VERSIONED.fullmatch(os.path.basename(os.path.realpath(python)).removesuffix(".exe"))
    if named is not None:
        return f"{named['name'].lower()}{named['version']}"
    kind = settings.get("implementation", "python").lower().replace("cpython", "python")
    version = settings.get("version_info") or settings.get("version") or ""
    told = _VERSIONED.match(f"{kind}{version}")  # the file may say anything
    if told is not None:
        return f"{told['name'].lower()}{told['version']}"
    found = _dlls(os.path.dirname(os.path.realpath(python))) if windows else _libraries(prefix)
    if len(found) != 1:
        raise NotUnderstood("neither its name nor the files around it tell which version of Python it is")
    return found[0]


def _libraries(prefix: str) -> list[str]:
    """The implementations whose standard library is below a prefix."""
    folder = os.path.join(prefix, "lib")
    names = [name for name in _listed(folder) if os.path.isfile(os.path.join(folder, name, "os.py"))]
    found = (_VERSIONED.fullmatch(name) for name in names)
    return sorted({f"{one['name'].lower()}{one['version']}" for one in found if one})


def _dlls(folder: str) -> list[str]:
    found = (_DLL.fullmatch(name) for name in _listed(folder))
    return sorted({f"python{one[1]}.{one[2]}" for one in found if one})


def _identity(name: str) -> str:
    found = _VERSIONED.fullmatch(name)
    assert found is not None, "BUG: an implementation has a name and a version"
    return f"{_IMPLEMENTATIONS.get(found['name'], found['name'])}-{found['version']}"


def _settings(config: str) -> Mapping[str, str]:
    """The settings of a `pyvenv.cfg`. Errors: NotUnderstood."""
    try:
        text = read_regular(config, _MOST_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise NotUnderstood(f"`{config}` cannot be read: {error.strerror or error}") from None
    pairs = (line.partition("=") for line in text.splitlines() if "\0" not in line)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


# -- the folders ------------------------------------------------------------------------------------------------------


def _packages_in(prefix: str, name: str, *, windows: bool) -> Iterator[str]:
    """The `site-packages` below a prefix. Fedora has two; a free-threaded Python has a `t` in the folder's name."""
    if windows:
        yield from (prefix, os.path.join(prefix, "Lib", "site-packages"))
        return
    for library in ("lib64", "lib"):
        for versioned in (name, f"{name}t"):
            folder = os.path.join(prefix, library, versioned, "site-packages")
            if os.path.isdir(folder) and not (library == "lib64" and os.path.islink(os.path.join(prefix, library))):
                yield folder


def _base_folders(real: str, name: str, *, windows: bool) -> list[str]:
    """The site-packages of a base interpreter, and the `dist-packages` that Debian has in their place."""
    prefix = os.path.dirname(real) if windows else os.path.dirname(os.path.dirname(real))
    debian = [
        os.path.join(os.sep, "usr", "local", "lib", name, "dist-packages"),
        os.path.join(prefix, "lib", "python3", "dist-packages"),
        os.path.join(prefix, "lib", name, "dist-packages"),
    ]
    found = [] if windows or not os.path.isdir(debian[1]) else [one for one in debian if os.path.isdir(one)]
    return found or list(_packages_in(prefix, name, windows=windows))


def _with_additions(python: str, folders: list[str], read: tuple[str, ...], may_read: MayRead) -> SiteFolders:
    """The folders, each followed by what its `.pth` files add."""
    path: dict[str, bool] = {}  # whether a folder may be read
    files = list(read)
    unseen: list[str] = []
    for folder in dict.fromkeys(folders):
        for place in (folder, *_added(folder, files, unseen)):
            if place not in path:
                path[place] = may_read(os.path.realpath(place))
    unseen += [f"{place}, {OUTSIDE}" for place, may in path.items() if not may]
    seen = tuple(place for place, may in path.items() if may)
    return SiteFolders(python, seen, tuple(dict.fromkeys(files)), tuple(unseen))


def _added(folder: str, files: list[str], unseen: list[str]) -> Iterator[str]:
    """The folders that the `.pth` files of a site folder add."""
    for name in sorted(_listed(folder)):
        path = os.path.join(folder, name)
        if name in {"sitecustomize.py", "usercustomize.py"}:
            unseen.append(path)
        if not name.endswith(".pth") or name.startswith("."):
            continue
        files.append(path)
        try:
            lines = read_regular(path, _MOST_BYTES).decode("utf-8", "replace").splitlines()
        except OSError as error:
            unseen.append(f"{path} ({error.strerror or error})")
            continue
        if any(line.startswith(("import ", "import\t")) for line in lines):
            unseen.append(path)
        for place in (os.path.abspath(os.path.join(folder, line.rstrip())) for line in lines if _is_path(line)):
            if os.path.isdir(place):
                yield place
            else:  # until it exists, watch the folder in which it would appear
                files.append(_nearest(place))


def _is_path(line: str) -> bool:
    """Whether a line of a `.pth` file is neither code nor a comment."""
    return bool(line.strip()) and not line.startswith(("#", "import ", "import\t")) and "\0" not in line


def _nearest(place: str) -> str:
    """The nearest folder above a place that exists."""
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    return place


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
