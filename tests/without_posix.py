"""A pytest plugin that hides from onnxbuild what only Linux or POSIX has, as on Windows: `pytest -p without_posix`.

Only modules of onnxbuild see the reduced `os`: the standard library and psutil know what their own system lacks.
"""

import builtins
import os
import sys
import types

import filelock
from file_lock_of_windows import FileLockOfWindows

MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "ctypes"}
FUNCTIONS = {
    "killpg", "getpgid", "setsid", "sched_getaffinity", "copy_file_range", "uname", "getuid", "geteuid", "statvfs",
    "ST_RDONLY", "pread", "pwrite", "posix_fadvise", "O_CLOEXEC", "O_DIRECTORY", "fork", "getpgrp", "fchmod",
}  # fmt: skip


def _asks_for_linux(path: object) -> bool:
    return isinstance(path, str) and path.startswith(("/proc", "/sys"))


def _missing(path):
    raise FileNotFoundError(2, "no such file or directory", path)


def _hiding(function, answer):
    return lambda path, *rest, **more: answer(path) if _asks_for_linux(path) else function(path, *rest, **more)


def _reduced_os() -> types.ModuleType:
    reduced = types.ModuleType("os")
    reduced.__dict__.update({name: value for name, value in vars(os).items() if name not in FUNCTIONS})
    reduced.listdir, reduced.scandir = _hiding(os.listdir, _missing), _hiding(os.scandir, _missing)
    reduced.path = types.ModuleType("os.path")
    reduced.path.__dict__.update(vars(os.path))
    for name in ("exists", "isdir", "isfile"):
        setattr(reduced.path, name, _hiding(getattr(os.path, name), lambda _path: False))
    return reduced


def _hide() -> None:
    reduced, original_import, original_open = _reduced_os(), builtins.__import__, builtins.open

    def import_less(name, globals_=None, locals_=None, fromlist=(), level=0):
        if _is_ours((globals_ or {}).get("__name__", "")):
            if name in MODULES:
                raise ImportError(f"hidden: {name}")
            if name == "os":
                return reduced
        return original_import(name, globals_, locals_, fromlist, level)

    def open_less(path, *rest, **more):
        if _asks_for_linux(path) and _is_ours(sys._getframe(1).f_globals.get("__name__", "")):
            _missing(path)
        return original_open(path, *rest, **more)

    builtins.__import__, builtins.open = import_less, open_less


def pytest_collection_modifyitems(config, items):
    """Leave out tests of the command in a process of its own: nothing is hidden from it, so they would be the same."""
    same = {item for item in items if "World" in item.function.__code__.co_names}
    items[:] = [item for item in items if item not in same]
    config.hook.pytest_deselected(items=list(same))


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == "onnxbuild"


assert not [name for name in sys.modules if _is_ours(name)], "onnxbuild was imported before the plugin"
filelock.FileLock = FileLockOfWindows
_hide()
