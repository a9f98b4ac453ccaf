"""`onnxbuild cache keygen`: a pair of keys, the private one in a file that only its owner may read."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from onnxbuild.commands.sharing.remote_keys import key_in, lacks_cryptography
from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.store.remote.signing import SigningKey, new_key, signing_key

DEFAULT_FILE = "onnxbuild-sign.key"
_OWNER_ONLY = 0o600


def keygen(output: str | None) -> int:
    """Write a new private key, and print its public key. Errors: DiagnosticError OB016, OB077."""
    path = Path(output or DEFAULT_FILE)
    if path.is_dir() or (output or "").endswith(("/", os.sep)):
        raise DiagnosticError(fault("OB016", f"`{output}` is a folder", hint="name the file of the private key"))
    try:
        key = new_key(_name_from(path))
    except ImportError as error:
        raise lacks_cryptography("a key", error) from None
    _write(path, key)
    print(f"the private key is in {path}, for ONNXBUILD_SIGN_KEY; its public key, for `trust`:", file=sys.stderr)
    print(key.public.text)
    return 0


def public_of(path: str) -> int:
    """Print the public key of the private key in a file. Errors: DiagnosticError OB077."""
    try:
        print(signing_key(key_in(Path(path))).public.text)
    except ImportError as error:
        raise lacks_cryptography("a key", error) from None
    except (ValueError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DiagnosticError(fault("OB077", f"`{path}` has no private key: {reason}")) from None
    return 0


def _name_from(path: Path) -> str:
    """The name of a key: that of its file, with what cannot stand in a key left out."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:64] or "onnxbuild"


def _write(path: Path, key: SigningKey) -> None:
    try:
        # A file that exists is never replaced, and one that a link leads to is never written.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{key.secret_text}\n")
    except FileExistsError:
        hint = f"`onnxbuild cache public-key {path}` prints its public key, and `--output FILE` names another file"
        raise DiagnosticError(fault("OB016", f"`{path}` exists", hint=hint)) from None
    except OSError as error:
        advice = None if path.parent.exists() else f"create the folder `{path.parent}` first"
        raise DiagnosticError(fault("OB016", f"`{path}` cannot be written: {error.strerror}", hint=advice)) from None
