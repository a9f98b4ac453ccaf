"""The marker of a store: only a folder that has it, or that is empty, is written to and cleaned up.

A manifest can name any folder below its own as its store, and a mistyped option can name any folder. So the first run
writes `CACHEDIR.TAG` (https://bford.info/cachedir) with one more line, which says that this is a store and in which
format; programs that back up files skip it. A store of an earlier version is recognized by its database.
"""

from __future__ import annotations

import errno
import re
import stat
from pathlib import Path

from onnxbuild.diagnostics import Diagnostic, DiagnosticError, fault
from onnxbuild.regular_files import NotRegular, check_folder, read_regular
from onnxbuild.store.database import DATABASE, GENERATION, database_error_in_words, has_our_tables, is_damaged
from onnxbuild.store.files import write_atomically
from onnxbuild.store.group_access import grant_as_folder, is_shared, make_folder

MARKER = "CACHEDIR.TAG"

_FORMAT = 1
_TEXT = f"""\
Signature: 8a477f597d28d172789f06886806bc55
# This folder is a store of onnxbuild, format {_FORMAT}. `onnxbuild gc` frees what no manifest needs.
# Programs that back up files skip folders with this file: https://bford.info/cachedir
"""
_OURS = re.compile(
    r"Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a store of onnxbuild, format (\d{1,9})\."
)
_MOST_BYTES = 4096

# What a store consists of. A link in place of any of these would lead out of the store.
FOLDERS = ("blobs", "work", "journals", "locks", "toolchains", "gc.lock.readers")
_LOGS = tuple(f"{DATABASE}-{suffix}" for suffix in ("wal", "shm", "journal"))
_FILES = (DATABASE, *_LOGS, GENERATION, "gc.lock", "sweeping", MARKER)

_ANOTHER = "name another folder with `--store DIR` or ONNXBUILD_STORE: a new one, an empty one, or a store"


def check_store(root: Path, *, readonly: bool) -> None:
    """Check that a folder is a store or can become one, and mark it unless `readonly`.

    Errors: DiagnosticError OB070 (not a store), OB071 (a newer format), OB072 (a link in it); OSError.
    """
    _check_places(root)
    _check_marker(root, readonly=readonly)
    if not readonly and is_shared(root):
        _share(root)


def check_place(root: Path) -> None:
    """Check, as a reading command does, that a folder is a store, or that a run could create one there.

    Errors: DiagnosticError as of `check_store`, and OB040.
    """
    try:
        check_folder(root)
        if root.exists():
            check_store(root, readonly=True)
    except OSError as error:
        raise DiagnosticError(unusable(root, error)) from error


def _share(root: Path) -> None:
    """Open what is in the store's folder itself to its group, also in a store that is shared only now."""
    for name in ("toolchains", "locks"):  # also whoever creates an environment puts something there
        make_folder(root / name)
    for name in (MARKER, "gc.lock"):
        grant_as_folder(root / name)


def _check_marker(root: Path, *, readonly: bool) -> None:
    text = _marker_of(root)
    if text is None:
        names = {path.name for path in root.iterdir()}
        # Another process may have made the store between the two looks at it.
        text = _marker_of(root) if MARKER in names else None
        if text is None:
            return _mark(root, names, readonly=readonly)
    if (ours := _OURS.match(text)) is None:
        raise DiagnosticError(_foreign(root, f"its {MARKER} is of another program"))
    if int(ours[1]) > _FORMAT:
        raise DiagnosticError(newer(root, f"its format is {ours[1]}, and this version knows {_FORMAT}"))
    return None


def _mark(root: Path, names: set[str], *, readonly: bool) -> None:
    # A process that was killed while it wrote the marker leaves a temporary file, and no more.
    is_empty = all(name.startswith(f".{MARKER}.") for name in names)
    if not is_empty and not has_our_tables(root / DATABASE):
        raise DiagnosticError(_foreign(root, "it is not empty and has no store's marker"))
    if not readonly:
        write_atomically(root / MARKER, _TEXT.encode(), prepare=grant_as_folder)


def _marker_of(root: Path) -> str | None:
    try:
        return read_regular(root / MARKER, _MOST_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return None
    except NotRegular as error:
        if error.errno != errno.EFBIG:
            raise
        return ""


def _check_places(root: Path) -> None:
    places = [(name, stat.S_ISDIR) for name in FOLDERS] + [(name, stat.S_ISREG) for name in _FILES]
    for name, is_right in places:
        try:
            mode = (root / name).lstat().st_mode
        except FileNotFoundError:
            continue
        if not is_right(mode):
            what = "a link" if stat.S_ISLNK(mode) else "neither a file nor a folder of a store"
            message = f"the store {root} is refused: `{name}` in it is {what}"
            hint = f"nothing was changed; a store makes no links. Remove `{root / name}`, or {_ANOTHER}"
            raise DiagnosticError(fault("OB072", message, hint=hint))


def _foreign(root: Path, why: str) -> Diagnostic:
    message = f"the folder {root} is not a store of onnxbuild: {why}"
    inside = root / "store"
    if (inside / MARKER).is_file():  # the folder that a manifest has beside it
        hint = f"it is the folder in which onnxbuild keeps a store and its logs; the store is `--store {inside}`"
        return fault("OB070", message, hint=hint)
    return fault("OB070", message, hint=f"nothing was changed; {_ANOTHER}")


def unusable(root: Path, error: Exception) -> Diagnostic:
    """The fault of a store that the system or its database does not let be opened or created."""
    hint = "name another with `--store DIR` or ONNXBUILD_STORE"
    if is_damaged(error):
        hint += f", or remove {root / DATABASE}: everything is then built again"
    return fault("OB040", f"the store {root} cannot be used: {database_error_in_words(root, error)}", hint=hint)


def newer(root: Path, why: str) -> Diagnostic:
    """The fault of a store that a newer version has made."""
    hint = "nothing was changed; upgrade onnxbuild, or name another store with `--store DIR` or ONNXBUILD_STORE"
    return fault("OB071", f"the store {root} was made by a newer onnxbuild: {why}", hint=hint)
