"""The last boundary: turns errors that the input or the system has caused into diagnostics. Any other is a bug of ours.

Most faults are found where the input is read, and reported there with their place. This module is for errors that can
happen anywhere: a folder that disappears, a disk that breaks, a name that cannot be encoded.
"""

from __future__ import annotations

import errno
import os
import sys

from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.machine import shortage
from onnxbuild.printable import printable

_FAILED, _WRONG = 1, 2
# Errors about a name or a value that somebody gave, rather than about the machine.
_OF_THE_INPUT = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP, errno.ENOTDIR, errno.EISDIR})
_HINTS = {
    errno.ENOSPC: "`onnxbuild gc` removes results that no manifest needs; `--store DIR` uses another disk",
    errno.EDQUOT: "`onnxbuild gc` removes results that no manifest needs; `--store DIR` uses another disk",
    errno.EROFS: "`--store DIR` and `--out DIR` name folders that can be written",
    errno.EMFILE: "raise the limit on open files (`ulimit -n`), or run fewer actions at once (`-j 1`)",
}


def as_diagnostics(error: Exception) -> DiagnosticError | None:
    """What is wrong, where the input or the system is the cause; None for a bug of ours."""
    if isinstance(error, DiagnosticError):
        return error
    if isinstance(error, OSError):
        return _of_the_system(error)
    if isinstance(error, UnicodeError):
        return _not_text(error)
    if isinstance(error, RecursionError):
        return _one("OB087", "something in the input is nested too deeply", _WRONG)
    if lacking := shortage(error):
        return _one("OB088", lacking, _FAILED, "run fewer actions at once (`-j 1`)")
    return _embedded_null(error) or _of_the_database(error)


def _of_the_system(error: OSError) -> DiagnosticError:
    number = error.errno or 0
    where = f"`{os.fsdecode(error.filename)}`: " if isinstance(error.filename, str | bytes) else ""
    reason = error.strerror or str(error) or type(error).__name__
    return _one("OB085", f"{where}{reason}", _WRONG if number in _OF_THE_INPUT else _FAILED, _HINTS.get(number))


def _not_text(error: UnicodeError) -> DiagnosticError:
    shown = f"`{_around(error)}` " if isinstance(error, UnicodeEncodeError | UnicodeDecodeError) else "something "
    hint = "rename the file or the folder; ASCII characters work everywhere"
    return _one("OB086", f"{shown}is not UTF-8", _WRONG, hint)


def _around(error: UnicodeEncodeError | UnicodeDecodeError) -> str:
    """What cannot be encoded, with a little of what surrounds it."""
    part = error.object[max(error.start - 40, 0) : error.end + 20]
    return printable(part if isinstance(part, str) else os.fsdecode(part))


def _embedded_null(error: Exception) -> DiagnosticError | None:
    is_null = isinstance(error, ValueError) and "null" in str(error) and "embedded" in str(error)
    return _one("OB085", "a path contains the character NUL", _WRONG) if is_null else None


def _of_the_database(error: Exception) -> DiagnosticError | None:
    """The database is damaged, locked or out of room. Whoever raised it has loaded sqlite3."""
    sqlite3 = sys.modules.get("sqlite3")
    if sqlite3 is None or not isinstance(error, sqlite3.DatabaseError) or isinstance(error, sqlite3.ProgrammingError):
        return None
    hint = "`--store DIR` uses another store; `onnxbuild cache verify` repairs this one"
    return _one("OB085", f"the database of the store: {error}", _FAILED, hint)


def _one(code: str, message: str, exit_code: int, hint: str | None = None) -> DiagnosticError:
    return DiagnosticError(fault(code, message, hint=hint), exit_code=exit_code)
