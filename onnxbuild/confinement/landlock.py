"""Landlock: a process gives up access to all files except those that it names. This needs no privileges.

A rule covers a file, or a folder with everything below it. The restriction covers the calling thread and what it
starts from then on, so it is applied before there is a second thread, and cannot be lifted.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # on every architecture
_VERSION = 1
_PATH_BENEATH = 1
_NO_NEW_PRIVILEGES = 38

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_SOCKET, _MAKE_SYMLINK = 1 << 9, 1 << 12
_MAKE_DEVICES = 1 << 6 | 1 << 11
_TRUNCATE, _DEVICE_CONTROL = 1 << 14, 1 << 15
_FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | _TRUNCATE | _DEVICE_CONTROL

READ = EXECUTE | READ_FILE | READ_DIR
USE_DEVICE = READ | WRITE_FILE | _DEVICE_CONTROL
# Everything but devices and sockets.
WRITE = (1 << 16) - 1 & ~(_MAKE_DEVICES | _MAKE_SOCKET)
# The store is not confined: through a link in an output, it would read a file that the code may not read.
WRITE_WITHOUT_LINKS = WRITE & ~_MAKE_SYMLINK

# The rights to files, by the first ABI that knows them: 13, then moving between folders, truncating, device control.
_FILE_BITS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_NETWORK_ABI, _SCOPE_ABI = 4, 6
_TCP = 1 << 0 | 1 << 1  # bind, connect
_SCOPES = 1 << 0 | 1 << 1  # abstract Unix sockets, signals


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


class _Rule(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def abi() -> int:
    """The version of Landlock that the kernel offers; 0 where it has none or does not allow it."""
    if sys.platform != "linux":
        return 0
    return max(0, _system_call(_CREATE_RULESET, None, 0, _VERSION))


def restrict(rules: Iterable[tuple[str, int]], *, network: bool = False) -> bool:
    """Give up access to all other files, TCP and signals, as far as the kernel can; False where it cannot restrict.

    `network`: keep TCP.

    Errors: OSError if the kernel has Landlock and refuses a rule.
    """
    version = abi()
    if version == 0:
        return False
    known = (1 << _FILE_BITS[min(version, max(_FILE_BITS))]) - 1
    ruleset = _made(known, version, network=network)
    try:
        for path, allowed in rules:
            _allow(ruleset, path, allowed & known)
        _checked(_c_library().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        _checked(_system_call(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return True


def _made(known: int, version: int, *, network: bool) -> int:
    connections = _TCP if version >= _NETWORK_ABI and not network else 0
    attributes = _Ruleset(known, connections, _SCOPES if version >= _SCOPE_ABI else 0)
    size = 24 if version >= _SCOPE_ABI else 16 if version >= _NETWORK_ABI else 8
    return _checked(_system_call(_CREATE_RULESET, ctypes.byref(attributes), size, 0))


def _allow(ruleset: int, path: str, allowed: int) -> None:
    """Allow access to a path; a missing one needs no rule."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            allowed &= _FILE_RIGHTS
        rule = _Rule(allowed, place)
        _checked(_system_call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(place)


def _system_call(number: int, *arguments: object) -> int:
    return int(_c_library().syscall(ctypes.c_long(number), *arguments))


def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "landlock")
    return result
