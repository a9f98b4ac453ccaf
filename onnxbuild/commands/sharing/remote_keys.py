"""Whose results are taken from a remote store, and the key that signs what is written there.

The user decides: keys from the command line and the user's configuration replace those of a manifest, which only say
whom the manifest's author trusts. A machine that signs also trusts its own key, so it takes no unsigned results.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.diagnostics import Diagnostic, DiagnosticError, Span, fault
from onnxbuild.manifest.spec import Manifest
from onnxbuild.permissions import config_path, is_below, user_config
from onnxbuild.regular_files import read_regular
from onnxbuild.store.remote.signing import PublicKey, SigningKey, public_key, signing_key

SIGN_VARIABLE = "ONNXBUILD_SIGN_KEY"
_OF_MANIFEST = "`store.sign`"
_LARGEST_KEY_FILE = 4096
_OTHERS = 0o077  # permissions of everybody but the owner


class Keys(Struct, frozen=True):
    """Keys for one remote store. Without `trust`, every result is taken."""

    trust: tuple[PublicKey, ...] = ()
    signing: SigningKey | None = None

    @property
    def identities(self) -> frozenset[str]:
        """The trusted keys as the store knows them."""
        return frozenset(key.identity for key in self.trust)


def keys_for(asked: Asked, manifest: Manifest, *, has_remote: bool) -> Keys:
    """The keys that apply to a manifest. Errors: DiagnosticError OB077 for what is not a key or cannot be read."""
    trust = _trusted(asked, manifest)
    signing = _signing(asked, manifest) if has_remote else None
    if signing is None:
        return Keys(trust)
    return Keys(tuple(dict.fromkeys((*trust, signing.public))), signing)


def _trusted(asked: Asked, manifest: Manifest) -> tuple[PublicKey, ...]:
    by_user: list[tuple[str, Span | None, str]] = [("`--trust`", None, text) for text in asked.trust]
    by_user += [(f"`trust` in {config_path()}", None, text) for text in user_config().trust]
    store = manifest.store
    places = store.trust_spans or (None,) * len(store.trust)  # a remembered plan has none
    written = by_user or [("`store.trust`", at, text) for text, at in zip(store.trust, places, strict=True)]
    faults: list[Diagnostic] = []
    keys = dict.fromkeys(key for where, span, text in written if (key := _public(text, where, span, faults)))
    if faults:
        raise DiagnosticError(faults)
    return tuple(keys)


def _public(text: str, where: str, span: Span | None, faults: list[Diagnostic]) -> PublicKey | None:
    try:
        return public_key(text)
    except ValueError as error:
        faults.append(fault("OB077", f"{where} has no public key: {error}", span=span, hint=_MAKE))
    return None


_MAKE = "`onnxbuild cache keygen` makes a pair of keys, and prints the public one"


def _signing(asked: Asked, manifest: Manifest) -> SigningKey | None:
    for where, span, text in _places(manifest):
        try:
            if where == _OF_MANIFEST:
                _check_reach(text, asked)
            return signing_key(text if text.startswith("secret:") else _key_in(Path(text)))
        except ImportError as error:
            hint = "`pip install onnxbuild[remote]` installs it"
            raise DiagnosticError(fault("OB077", f"a signature needs `cryptography` ({error})", hint=hint)) from None
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise DiagnosticError(fault("OB077", f"{where} has no key: {reason}", span=span, hint=_MAKE)) from None
    return None


def _places(manifest: Manifest) -> Iterator[tuple[str, Span | None, str]]:
    """Where the private key may be, the user's own first: what names it, its place, and the key or its path."""
    if variable := os.environ.get(SIGN_VARIABLE):
        yield SIGN_VARIABLE, None, variable.strip()
    if path := user_config().sign:
        yield f"`sign` in {config_path()}", None, os.path.expanduser(path)
    if manifest.store.sign:
        yield _OF_MANIFEST, manifest.store.spans.get("sign"), manifest.store.sign


def _check_reach(path: str, asked: Asked) -> None:
    """Check that a manifest names a file below its folder, or one that the user permits. Errors: ValueError."""
    real, folder = os.path.realpath(path), os.path.realpath(os.path.dirname(os.path.abspath(asked.manifest)))
    if not (path.startswith("secret:") or is_below(real, folder) or asked.permissions().permits_path(real)):
        raise ValueError(f"`{path}` is outside the folder of the manifest; `--allow-path {path}` permits it")


def _key_in(path: Path) -> str:
    """The content of a file of which only its owner can read the key. Errors: ValueError, OSError."""
    data = read_regular(path, _LARGEST_KEY_FILE)
    if hasattr(os, "getuid") and path.stat().st_mode & _OTHERS:
        raise ValueError(f"others may read `{path}`; `chmod 600` it")
    return data.decode("utf-8", "replace")
