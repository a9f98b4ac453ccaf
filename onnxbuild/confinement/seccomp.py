"""seccomp: system calls that a process gives up. Landlock covers neither UDP nor named sockets of other programs."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import sys

_SET_SECCOMP, _FILTER, _NO_NEW_PRIVILEGES = 22, 2, 38
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.EACCES
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_X32 = 0x40000000  # the numbers of another table of x86-64 begin here

# Sockets; io_uring, which opens sockets too; the memory of other processes; the keys that the kernel keeps.
_NAMES = (
    "socket", "io_uring_setup", "ptrace", "process_vm_readv", "process_vm_writev", "add_key", "request_key", "keyctl",
)  # fmt: skip
# The kernel's number of each architecture, and of these calls on it.
_NUMBERS = {
    "x86_64": (0xC000003E, (41, 425, 101, 310, 311, 248, 249, 250)),
    "aarch64": (0xC00000B7, (198, 425, 117, 270, 271, 217, 218, 219)),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def is_available() -> bool:
    """Whether this system has filters, and the numbers of its calls are known here."""
    return sys.platform == "linux" and platform.machine() in _NUMBERS and _library().prctl(21, 0, 0, 0, 0) == 0


def restrict() -> bool:
    """Give up the calls for this process and all that it starts; False where the system cannot."""
    if sys.platform != "linux" or platform.machine() not in _NUMBERS:
        return False
    instructions = _instructions(*_NUMBERS[platform.machine()])
    program = _Program(len(instructions) // 8, instructions)
    library = _library()
    refused = library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or library.prctl(
        _SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0
    )
    return not refused


def _instructions(architecture: int, numbers: tuple[int, ...]) -> bytes:
    """The filter: refuse another architecture's calls, the calls of the other table, and the numbers given."""
    checks = [(_EQUAL, number) for number in numbers] + [(_AT_LEAST, _X32)]
    to_refuse = len(checks) + 1
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 0, to_refuse + 1, architecture),
        (_LOAD, 0, 0, _NUMBER_AT),
        *((code, len(checks) - place, 0, number) for place, (code, number) in enumerate(checks)),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
