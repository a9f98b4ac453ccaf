"""What the user permits: folders that a manifest may name outside its own, and variables that it may read.

Permissions come from the user alone: from the command line, from `ONNXBUILD_ALLOW_PATH`, and from the user's own
configuration file. A manifest, which somebody else may have written, cannot grant itself any.

Light: a run with nothing to do imports this module for the stamp of the configuration file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from onnxbuild.regular_files import NotRegular, read_regular

if TYPE_CHECKING:
    from onnxbuild.diagnostics import Source

PATHS_VARIABLE = "ONNXBUILD_ALLOW_PATH"
_LARGEST_CONFIG = 1 << 20
_PATHS = ("allow_paths", "sign")  # keys whose values are paths


class UserConfig(NamedTuple):
    """The user's configuration file. A field is a key of the file, and its default the type that the key takes."""

    allow_paths: tuple[str, ...] = ()  # as in the file: absolute, or from the home folder with `~`
    allow_env: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()  # public keys whose signature makes a result from a remote store acceptable
    sign: str = ""  # the file of the private key that signs results for a remote store, as `allow_paths`


class Permissions(NamedTuple):
    """What the user permits a manifest."""

    paths: tuple[str, ...] = ()  # folders and files, with links resolved
    environment: tuple[str, ...] = ()  # names of variables; `*` at the end stands for any rest

    def permits_path(self, real: str) -> bool:
        """Whether a path, with links resolved, is a permitted one or below one."""
        return any(is_below(real, path) for path in self.paths)

    def permits_variable(self, name: str) -> bool:
        """Whether a variable of the environment may be read."""
        return any(name == one or (one.endswith("*") and name.startswith(one[:-1])) for one in self.environment)


def is_below(path: str, folder: str) -> bool:
    """Whether a path is a folder or below it; both are absolute, with links resolved."""
    path, folder = os.path.normcase(path), os.path.normcase(folder)
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def permissions(paths: Iterable[str] = (), environment: Iterable[str] = ()) -> Permissions:
    """The given permissions with those of the environment and of the user's configuration file.

    Errors: DiagnosticError OB063 for a configuration file that cannot be read.
    """
    config = user_config()
    from_variable = [one for one in os.environ.get(PATHS_VARIABLE, "").split(os.pathsep) if one]
    from_config = [os.path.expanduser(one) for one in config.allow_paths]
    real = (os.path.realpath(one) for one in (*paths, *from_variable, *from_config))
    return Permissions(tuple(dict.fromkeys(real)), tuple(dict.fromkeys((*environment, *config.allow_env))))


# -- the configuration file -------------------------------------------------------------------------------------------


def config_path() -> str:
    """The path of the user's configuration file, whether or not it exists."""
    home = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(home):  # the specification ignores a relative one, which any checkout could contain
        home = os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(home, "onnxbuild", "config.toml")


def config_stamp() -> tuple[int, ...] | None:
    """Size, times and inode of the configuration file, which change with its content; None if there is none."""
    try:
        status = os.stat(config_path())
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def user_config() -> UserConfig:
    """The user's configuration; every default if there is no file. Errors: DiagnosticError OB063."""
    path = config_path()
    try:
        # People link their configuration from elsewhere, so links are followed. Nobody else can place one here.
        data = read_regular(os.path.realpath(path), _LARGEST_CONFIG)
    except (FileNotFoundError, NotADirectoryError):
        return UserConfig()
    except NotRegular as error:
        _refuse(f"`{path}` {error.strerror}")
    except OSError as error:
        _refuse(f"`{path}` cannot be read: {(error.strerror or str(error)).lower()}")
    return _parsed(data, path)


def _parsed(data: bytes, path: str) -> UserConfig:
    import tomllib

    from onnxbuild.diagnostics import Source

    source = Source(path, data.decode("utf-8", "replace"))
    try:
        written = tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        _refuse(f"`{path}` is not UTF-8", source)
    except tomllib.TOMLDecodeError as error:
        _refuse(_reason(error), source, *_position(str(error)))
    fields: dict[str, Any] = {key: _value(key, value, source) for key, value in written.items()}
    return UserConfig(**fields)


def _value(key: str, value: Any, source: Source) -> str | tuple[str, ...]:
    defaults: Mapping[str, Any] = UserConfig._field_defaults
    if key not in defaults:
        from onnxbuild.diagnostics import did_you_mean

        hint = did_you_mean(key, defaults) or f"the keys are {', '.join(f'`{one}`' for one in defaults)}"
        _refuse(f"unknown key `{key}`", source, *_line_of(key, source), hint=hint)
    if isinstance(defaults[key], str) and isinstance(value, str):
        _check_absolute(key, [value] if value else [], source)
        return value
    if key == "trust" and value == []:
        hint = "name a key, or remove the line to take every result"
        _refuse("`trust` names no key, so everything would be taken", source, *_line_of(key, source), hint=hint)
    if isinstance(defaults[key], tuple) and isinstance(value, list) and all(isinstance(one, str) for one in value):
        _check_absolute(key, value, source)
        return tuple(value)
    wanted = "a string" if isinstance(defaults[key], str) else "a list of strings"
    return _refuse(f"`{key}`: expected {wanted}", source, *_line_of(key, source))


def _check_absolute(key: str, values: Iterable[str], source: Source) -> None:
    """Refuse a relative path: it would name a file of the folder in which the command runs, so of any checkout."""
    relative = [one for one in values if key in _PATHS and not os.path.isabs(os.path.expanduser(one))]
    if relative:
        hint = "write it from the root, or from the home folder with `~/`"
        _refuse(f"`{relative[0]}` is not an absolute path", source, *_line_of(key, source), hint=hint)


def _line_of(key: str, source: Source) -> tuple[int, int]:
    """The line and the column of a key, which stands first in its line."""
    for number, line in enumerate(source.text.splitlines(), start=1):
        if line.lstrip(" \t[\"'").startswith(key):
            return number, line.index(key) + 1
    return 1, 1


def _position(message: str) -> tuple[int, int]:
    """The line and the column that tomllib names at the end of its message."""
    import re

    named = re.search(r"\(at line (\d+), column (\d+)\)$", message)
    return (int(named[1]), int(named[2])) if named else (1, 1)


def _reason(error: Exception) -> str:
    reason = str(error).partition(" (at ")[0]
    return f"not valid TOML: {reason[:1].lower()}{reason[1:]}"


def _refuse(
    message: str, source: Source | None = None, line: int = 1, column: int = 1, hint: str | None = None
) -> NoReturn:
    from onnxbuild.diagnostics import DiagnosticError, Span, fault

    span = Span(source, line, column) if source is not None else None
    raise DiagnosticError(fault("OB063", message, span=span, hint=hint))
