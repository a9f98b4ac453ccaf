"""`onnxbuild sign`: signs folders whose files are those that a build has written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnxbuild.commands.proving.verify import differences
from onnxbuild.deliver.checking.account import Account, account_of
from onnxbuild.deliver.checking.folder_check import Checked, check_folder
from onnxbuild.deliver.checking.folder_signature import sign_folder
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.publishing.uploaded_files import SIGNATURE


def sign(folders: Sequence[str], key: str, allow: Sequence[str] = ()) -> int:
    """Write `model.sig` into each folder; return the exit code. No folder is signed unless all of them are right.

    Errors: DiagnosticError OB750 and OB751 for a folder that is not as it was built, OB754 for the key.
    """
    found = [(folder, sound(folder, allow)) for folder in folders]
    for folder, (account, _, checked) in found:
        if SIGNATURE in account.files:
            message = f"`{folder}` has a file `{SIGNATURE}` that the build has written"
            raise DiagnosticError(fault("OB754", message))
        try:
            sign_folder(Path(folder), account, checked.added, key)
        except OSError as error:
            message = f"`{folder}` cannot be signed: {error.strerror or error}"
            raise DiagnosticError(fault("OB754", message), exit_code=1) from None
        print(f"{folder}: {account.name} is signed")
    return 0


def sound(folder: str, allow: Sequence[str] = ()) -> tuple[Account, bytes, Checked]:
    """What a folder says about itself, and the text of it, if its files agree. Errors: DiagnosticError OB750, OB751."""
    account, text = account_of(Path(folder))
    checked = check_folder(Path(folder), account, allow)
    if checked.problems:
        raise DiagnosticError(differences(folder, checked), exit_code=1)
    return account, text, checked
