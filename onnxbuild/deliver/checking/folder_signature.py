"""Signatures of folders, by the library `model-signing`: a Sigstore bundle in `model.sig`, made with a key of a file.

A signature covers every file that `onnxbuild.json` lists, and `onnxbuild.json` itself. What may be added to a folder
(a README, say) is not covered.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import ModuleType

from msgspec import Struct

from onnxbuild.deliver.checking.account import Account
from onnxbuild.deliver.checking.signed_content import covered, signing_algorithm
from onnxbuild.deliver.provenance import PROVENANCE
from onnxbuild.diagnostics import DiagnosticError, fault, nearest
from onnxbuild.publishing.added_files import NAMES_THAT_MAY_BE_ADDED, UNREAD
from onnxbuild.publishing.sha256_sums import sha256_of
from onnxbuild.publishing.uploaded_files import SIGNATURE
from onnxbuild.regular_files import read_regular
from onnxbuild.store.files import write_atomically

_MOST_BYTES = 64 << 20
_KEY_BYTES = 1 << 20
_MOST_NAMED = 3  # files in a message
_OTHER_KEY = "another key has signed it, or the signature was changed"
_PAIR = (
    "`sign --key` takes the private key of a pair, and `verify --trust` the public one; `openssl ecparam -name"
    " prime256v1 -genkey -noout -out signer.key` makes one, and `openssl ec -in signer.key -pubout -out signer.pub`"
    " the other"
)


class Signed(Struct, frozen=True):
    """The state of a signature: `none`, `unchecked` (no key was named), `verified` or `refused`; and why.

    `is_of_other_key`: whether it is refused because none of the named keys has made it.
    """

    state: str
    key: str | None = None  # the file of the key that verified it
    reason: str | None = None
    is_of_other_key: bool = False


def check_signature(folder: Path, account: Account, keys: Sequence[str]) -> Signed:
    """Check the signature of a folder whose files are right. Errors: DiagnosticError OB754 for a key, or the library.

    One of the keys has to verify it.
    """
    path = folder / SIGNATURE
    try:
        text = read_regular(path, _MOST_BYTES)
    except FileNotFoundError:
        return Signed("none")
    except OSError as error:
        return Signed("refused", reason=f"`{path}` cannot be read: {error.strerror}")
    if not keys:
        return Signed("unchecked")
    reasons: dict[str, str] = {}
    for key in keys:
        reason = _refusal(folder, text, key, account) or _uncovered(text, account)
        if reason is None:
            return Signed("verified", key=key)
        reasons[key] = reason
    reason = "; ".join(f"`{key}`: {why}" for key, why in reasons.items())
    return Signed("refused", reason=reason, is_of_other_key=set(reasons.values()) == {_OTHER_KEY})


def _refusal(folder: Path, text: bytes, key: str, account: Account) -> str | None:
    """Why a key does not verify a signature; None if it does."""
    library, public = _library(), _key_bytes(key)
    with tempfile.TemporaryDirectory() as place:
        copy, public_copy = Path(place, SIGNATURE), Path(place, "key.pem")
        copy.write_bytes(text)  # what is checked here is also what is read below
        public_copy.write_bytes(public)
        try:
            verifying = library.verifying.Config().use_elliptic_key_verifier(public_key=public_copy)
        except Exception as error:  # noqa: BLE001 - the library and cryptography have many for a key that is none
            raise _bad_key(key, "is not a public key of an elliptic curve in PEM", error) from None
        try:
            verifying.set_ignore_unsigned_files(True).verify(folder, copy)
        except Exception as error:  # noqa: BLE001 - the library lets through whatever a damaged bundle causes
            return _in_words(error, folder, text, account)
    return None


def _in_words(error: Exception, folder: Path, text: bytes, account: Account) -> str:
    """Why the library refuses a signature. Its own texts about keys and contents quote digests as Python's bytes."""
    name, said = type(error).__name__, " ".join(str(error).split())
    if name == "InvalidSignature" or said.startswith("Key mismatch"):
        return _OTHER_KEY
    if said.startswith(("Signature mismatch", "Cannot use")):  # the second is of a signed file that is missing
        return f"it was made for another content of the folder{_listed(list(_changed(folder, text, account)))}"
    return said or name


def _listed(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f", in {', '.join(f'`{name}`' for name in names[:_MOST_NAMED])}{more}"


def _changed(folder: Path, text: bytes, account: Account) -> Iterator[str]:
    """The signed files that are different now, or no longer listed. Other algorithms than that of `sign` give none."""
    if signing_algorithm(text) != "sha256":
        return
    for name, digest in covered(text).items():
        is_listed = name in account.files or name == PROVENANCE
        if not is_listed or digest != sha256_of(folder / name):
            yield name


def _uncovered(text: bytes, account: Account) -> str | None:
    """Which files a signature that is right leaves out; None if it covers all of them."""
    try:
        signed = covered(text)
    except (ValueError, KeyError, TypeError) as error:
        return f"its list of files cannot be read ({type(error).__name__})"
    missing = sorted({*account.files, PROVENANCE} - signed.keys())
    return f"it does not cover `{missing[0]}`" if missing else None


def sign_folder(folder: Path, account: Account, added: Collection[str], key: str) -> None:
    """Sign a folder whose files are right with a private key. `added`: files that are left out.

    What may be added later is left out as well, so that the command of the library accepts the folder, too.

    Errors: DiagnosticError OB754; OSError if the signature cannot be written.
    """
    library, private = _library(), _key_bytes(key)
    with tempfile.TemporaryDirectory() as place:
        copy, made = Path(place, "key.pem"), Path(place, SIGNATURE)
        copy.touch(mode=0o600)
        copy.write_bytes(private)
        try:
            config = library.signing.Config().use_elliptic_key_signer(private_key=copy)
        except Exception as error:  # noqa: BLE001 - as for a public key
            raise _bad_key(key, "is not an unencrypted private key of an elliptic curve in PEM", error) from None
        left_out = sorted({*added, *NAMES_THAT_MAY_BE_ADDED, *UNREAD} - account.files.keys())
        hashing = library.hashing.Config().set_ignored_paths(paths=left_out, ignore_git_paths=False)
        config.set_hashing_config(hashing).sign(folder, made)
        text = made.read_bytes()
    assert _uncovered(text, account) is None, f"BUG: {_uncovered(text, account)}"
    write_atomically(folder / SIGNATURE, text)


def _library() -> ModuleType:
    try:
        import model_signing
        import model_signing.hashing
        import model_signing.signing
        import model_signing.verifying
    except ImportError as error:
        message = f"signatures need `model-signing`, which cannot be imported: {error}"
        hint = "`pip install 'onnxbuild[signing]'`"
        raise DiagnosticError(fault("OB754", message, hint=hint)) from None
    return model_signing


def _key_bytes(key: str) -> bytes:
    try:
        return read_regular(Path(key).resolve(), _KEY_BYTES)
    except OSError as error:
        message = f"the key `{key}` cannot be read: {error.strerror}"
        raise DiagnosticError(fault("OB754", message, hint=_similar(Path(key)) or _PAIR)) from None


def _bad_key(key: str, words: str, error: Exception) -> DiagnosticError:
    """What is wrong with a key. The text of the library may quote it, so only its type is named."""
    return DiagnosticError(fault("OB754", f"`{key}` {words} ({type(error).__name__})", hint=_PAIR))


def _similar(key: Path) -> str | None:
    """A question with a file of a similar name."""
    names = [path.name for path in key.parent.iterdir() if path.is_file()] if key.parent.is_dir() else []
    near = nearest(key.name, names)
    return f"did you mean `{key.with_name(near)}`?" if near else None
