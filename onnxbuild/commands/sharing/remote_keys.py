"""Whose results are taken from a remote store, and the key that signs what is written there.

The user decides: keys from the command line and the user's configuration replace those of a manifest, which only say
whom the manifest's author trusts. A machine that signs also trusts its own key, so it takes no unsigned results.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct

from onnxbuild.commands.parsing.options import Asked
from onnxbuild.commands.sharing.open_remote import SIGN_VARIABLE
from onnxbuild.diagnostics import Diagnostic, DiagnosticError, Span, fault
from onnxbuild.manifest.spec import Manifest
from onnxbuild.permissions import config_path, is_below, user_config
from onnxbuild.regular_files import read_regular
from onnxbuild.store.remote.signing import PublicKey, SigningKey, public_key, signing_key

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
    """The keys that apply to a manifest.

    Errors: DiagnosticError OB077 for what is not a key or cannot be read, OB060 for a file out of a manifest's reach.
    """
    trust = _trusted(asked, manifest)
    signing = _signing(asked, manifest) if has_remote else None
    if signing is None:
        return Keys(trust)
    return Keys(tuple(dict.fromkeys((*trust, signing.public))), signing)


def files_of_keys(asked: Asked, manifest: Manifest) -> Iterator[str]:
    """The files that keys are read from, whether or not they exist: an answer depends on them."""
    for _, _, text in _places(manifest):
        if text and not text.startswith("secret:"):
            yield text
    yield from (text for text in asked.trust if not _is_key(text))


def _trusted(asked: Asked, manifest: Manifest) -> tuple[PublicKey, ...]:
    by_user: list[tuple[str, Span | None, str]] = [("`--trust`", None, text) for text in _lines(asked.trust)]
    by_user += [(f"`trust` in {config_path()}", None, text) for text in user_config().trust]
    store = manifest.store
    places = store.trust_spans or (None,) * len(store.trust)  # a remembered plan has none
    written = by_user or [("`store.trust`", at, text) for text, at in zip(store.trust, places, strict=True)]
    if not by_user and not store.trust and "trust" in store.spans:
        message = "`store.trust` names no key, so everything would be taken"
        raise DiagnosticError(fault("OB077", message, span=store.spans["trust"], hint=_MAKE))
    faults: list[Diagnostic] = []
    keys = dict.fromkeys(key for where, span, text in written if (key := _public(text, where, span, faults)))
    if faults:
        raise DiagnosticError(faults)
    return tuple(keys)


def _lines(written: Iterable[str]) -> Iterator[str]:
    """Public keys: each is written as a key, or as the path of a file with one key in each line."""
    for text in written:
        if _is_key(text) or not os.path.exists(text):
            yield text
            continue
        try:
            yield from read_regular(text, _LARGEST_KEY_FILE).decode("utf-8", "replace").split() or [text]
        except OSError as error:
            raise DiagnosticError(fault("OB077", f"`--trust {text}`: {error.strerror}", hint=_MAKE)) from None


def _is_key(text: str) -> bool:
    try:
        public_key(text)
    except ValueError:
        return False
    return True


def _public(text: str, where: str, span: Span | None, faults: list[Diagnostic]) -> PublicKey | None:
    try:
        return public_key(text)
    except ValueError as error:
        faults.append(fault("OB077", f"{where} has no public key: {error}", span=span, hint=_MAKE))
    return None


_MAKE = "`onnxbuild cache keygen` makes a pair of keys, and prints the public one"
_UNSET = f"unset {SIGN_VARIABLE} to write results without a signature, or use `--remote-readonly`"


def _signing(asked: Asked, manifest: Manifest) -> SigningKey | None:
    for where, span, text in _places(manifest):
        if not text:  # as CI sets a variable for a secret that is missing
            if asked.remote_readonly or manifest.store.readonly:
                continue
            raise DiagnosticError(fault("OB077", f"{where} is empty, so nothing would be signed", hint=_UNSET))
        if where == _OF_MANIFEST:
            _check_reach(text, span, asked)
        try:
            return signing_key(text if text.startswith("secret:") else key_in(Path(text)))
        except ImportError as error:
            raise lacks_cryptography("a signature", error) from None
        except (ValueError, OSError) as error:
            raise DiagnosticError(fault("OB077", _no_key(where, text, error), span=span, hint=_MAKE)) from None
    return None


def lacks_cryptography(what: str, error: ImportError) -> DiagnosticError:
    """The fault of a machine on which no key can be made or used."""
    hint = "`pip install onnxbuild[remote]` installs it"
    return DiagnosticError(fault("OB077", f"{what} needs `cryptography` ({error})", hint=hint))


def _no_key(where: str, text: str, error: ValueError | OSError) -> str:
    if isinstance(error, ValueError):
        return f"{where} has no key: {error}"
    if _is_key(text):
        return f"{where} has a public key: a private one is needed to sign"
    return f"{where} names the file `{text}`: {error.strerror}"


def _places(manifest: Manifest) -> Iterator[tuple[str, Span | None, str]]:
    """Where the private key may be, the user's own first: what names it, its place, and the key or its path."""
    if (variable := os.environ.get(SIGN_VARIABLE)) is not None:
        yield SIGN_VARIABLE, None, variable.strip()
    if path := user_config().sign:
        yield f"`sign` in {config_path()}", None, os.path.expanduser(path)
    if manifest.store.sign:
        yield _OF_MANIFEST, manifest.store.spans.get("sign"), manifest.store.sign


def _check_reach(path: str, span: Span | None, asked: Asked) -> None:
    """Check that a manifest names a file below its folder, or one that the user permits. Errors: DiagnosticError."""
    real, folder = os.path.realpath(path), os.path.realpath(os.path.dirname(os.path.abspath(asked.manifest)))
    if not (path.startswith("secret:") or is_below(real, folder) or asked.permissions().permits_path(real)):
        message = f"{_OF_MANIFEST}: `{path}` is outside the folder of the manifest"
        raise DiagnosticError(fault("OB060", message, span=span, hint=f"`--allow-path {path}` permits it"))


def key_in(path: Path) -> str:
    """The content of a file of which only its owner can read the key. Errors: ValueError, OSError."""
    data = read_regular(path, _LARGEST_KEY_FILE)
    if hasattr(os, "getuid") and path.stat().st_mode & _OTHERS:
        raise ValueError(f"others may read `{path}`; `chmod 600` it")
    return data.decode("utf-8", "replace")
