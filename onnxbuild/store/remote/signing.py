"""The keys that sign results: ed25519, through `cryptography`, which is imported when something is signed or checked.

A public key is one line, `NAME:BASE64`; a private one is `secret:NAME:BASE64`, so that nobody takes one for the other.
The name is for people. A key is known by its bytes, which also name its objects in a remote store.
"""

from __future__ import annotations

import base64
import binascii
import re

from msgspec import Struct

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY_BYTES = 32
_SECRET = "secret:"  # noqa: S105 - the prefix of a key, not a key


class PublicKey(Struct, frozen=True):
    """A key that checks signatures."""

    name: str
    raw: bytes

    @property
    def identity(self) -> str:
        """Its bytes in hexadecimal."""
        return self.raw.hex()

    @property
    def text(self) -> str:
        """Its line."""
        return f"{self.name}:{base64.b64encode(self.raw).decode()}"

    def verifies(self, signature: bytes, data: bytes) -> bool:
        """Whether the owner of this key has signed the data."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except InvalidSignature:
            return False
        return True


class SigningKey(Struct, frozen=True):
    """A key that signs. Its bytes are in no representation of it."""

    public: PublicKey
    _seed: bytes

    def __repr__(self) -> str:
        return f"SigningKey({self.public.text})"

    def sign(self, data: bytes) -> bytes:
        """The signature of the data."""
        signature: bytes = _private(self._seed).sign(data)
        return signature

    @property
    def secret_text(self) -> str:
        """Its line, for the file that only its owner may read."""
        return f"{_SECRET}{self.public.name}:{base64.b64encode(self._seed).decode()}"


def short_identity(identity: str) -> str:
    """Enough of a key's identity to find its line in a list of keys: the beginning of its base64."""
    return base64.b64encode(bytes.fromhex(identity)).decode()[:12] + "…"


def new_key(name: str) -> SigningKey:
    """A new random key. Errors: ValueError for a name that cannot stand in a key."""
    import secrets

    _check_name(name)
    return _with_seed(name, secrets.token_bytes(_KEY_BYTES))


def public_key(text: str) -> PublicKey:
    """The public key that a line holds. Errors: ValueError, whose text shows no part of a private key."""
    if text.strip().startswith(_SECRET):
        raise ValueError("this is a private key: keep it secret, and name its public key here")
    return PublicKey(*_parts(text.strip()))


def signing_key(text: str) -> SigningKey:
    """The private key that a line holds. Errors: ValueError, whose text shows no part of it."""
    if not text.strip().startswith(_SECRET):
        raise ValueError(f"a private key begins with `{_SECRET}`")
    return _with_seed(*_parts(text.strip().removeprefix(_SECRET)))


def _with_seed(name: str, seed: bytes) -> SigningKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    raw = _private(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return SigningKey(PublicKey(name, raw), seed)


def _private(seed: bytes):  # type: ignore[no-untyped-def]  # noqa: ANN202 - its type is imported only inside
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(seed)


def _parts(line: str) -> tuple[str, bytes]:
    name, _, encoded = line.partition(":")
    _check_name(name)
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != _KEY_BYTES:
        raise ValueError(f"a key is `NAME:` and {_KEY_BYTES} bytes in base64")
    return name, raw


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise ValueError("a key begins with its name: letters, digits, `.`, `_` and `-`, at most 64")
