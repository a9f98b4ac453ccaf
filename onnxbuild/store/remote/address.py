"""The address of a remote store: what a person wrote, the parts that may be shown, and what fsspec needs of it."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from onnxbuild.secrets import register_url
from onnxbuild.store.remote.bounded_webdav import hooks

if TYPE_CHECKING:
    from urllib.parse import SplitResult

S3 = frozenset({"s3", "s3a"})
WEBDAV = {"webdav": "http", "dav": "http", "webdavs": "https", "davs": "https"}


_SHORTEST_SECRET = 4  # replacing `1` in a message hides nothing, and makes it unreadable
_PLAINTEXT = frozenset({"webdav", "dav"})
# A manifest may come from somebody else. It names servers, and neither folders of this machine nor any other scheme:
# fsspec has schemes that run commands, and that read through each other.
IN_MANIFESTS = S3 | WEBDAV.keys()


class InvalidAddress(ValueError):  # noqa: N818 - the text is the message of a diagnostic
    """A text is not the address of a remote store; the message shows no part of it that may be secret."""


class Address(Struct, frozen=True):
    """Where a remote store is. `shown` has neither user nor password nor query: only it appears in messages.

    `by_user`: from the command line or the environment, not from a manifest.
    """

    url: str
    scheme: str
    shown: str
    secrets: tuple[str, ...] = ()
    by_user: bool = True

    @property
    def identity(self) -> str:
        """Distinguishes stores in records on this machine: also two that look the same without their secrets."""
        is_whole = self.url in {self.shown, f"file://{self.shown}"}
        return self.shown if is_whole else f"{self.shown}#{zlib.crc32(self.url.encode()):08x}"


def address_of(text: str, base: Path, *, by_user: bool = True) -> Address:
    """The address that a person wrote; a plain path is a folder, relative to `base`. Errors: InvalidAddress."""
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise InvalidAddress("it contains a control character")
    if "://" not in text:
        if slip := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/*", text):
            raise InvalidAddress(f"an address begins with `{slip[1]}://`; write `./` before the name of a folder")
        if not text.strip():
            raise InvalidAddress("it is empty")
        path = (base / os.path.expanduser(text)).absolute()
        return Address(f"file://{path}", "file", str(path), by_user=by_user)
    from urllib.parse import urlsplit, urlunsplit

    register_url(text)
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise InvalidAddress("its host or port is not valid; write special characters of a password as %XX") from None
    _, _, host = parts.netloc.rpartition("@")
    if set(":@") & set(parts.netloc) and "@" in parts.path + parts.query + parts.fragment:
        # `dav://me:1/2@host/` is a password with a slash in it. Read as a URL, its host is `me`.
        raise InvalidAddress("`@` stands after the host; write special characters of a password or a path as %XX")
    shown = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
    url = parts.scheme + text[len(parts.scheme) :].rstrip("/")
    return Address(url, parts.scheme, shown, _secrets(parts), by_user)


def why_not_in_manifest(text: str) -> str | None:
    """Why a manifest may not name this remote store; None if it may."""
    scheme = text.partition("://")[0].lower() if "://" in text else "file"
    if scheme in IN_MANIFESTS:
        return None
    what = "a folder" if scheme == "file" else f"a store with the scheme `{scheme}`"
    return f"a manifest cannot name {what} as its remote store"


def _secrets(parts: SplitResult) -> tuple[str, ...]:
    """Every part of an address that may be secret, as it is written and decoded; the longest first."""
    from urllib.parse import parse_qsl, unquote

    user, _, _ = parts.netloc.rpartition("@")
    # A user without a password is often a token.
    found = {user, parts.password or parts.username or "", parts.query, parts.fragment}
    found |= {value for _, value in parse_qsl(parts.query)}
    return tuple(
        sorted(
            {form for one in found for form in (one, unquote(one)) if len(form) >= _SHORTEST_SECRET},
            key=lambda form: (-len(form), form),
        )
    )


def fsspec_options(address: Address, patience_seconds: float) -> tuple[str, Mapping[str, Any]]:
    """The protocol under its name in fsspec, and the options of its backend."""
    if address.scheme in S3:
        return "s3", _s3_options(patience_seconds)
    if address.scheme in WEBDAV:
        return "webdav", _webdav_options(address, patience_seconds)
    return address.scheme, {}


def root_on(filesystem: Any, address: Address) -> str:
    """The path of the remote store on its fsspec file system."""
    if address.scheme in WEBDAV:
        from urllib.parse import unquote, urlsplit

        return unquote(urlsplit(address.url).path).rstrip("/")
    root: str = filesystem._strip_protocol(address.url)  # noqa: SLF001 - what fsspec's own modules call from outside
    return root.rstrip("/")


def _s3_options(patience_seconds: float) -> Mapping[str, Any]:
    waits = {"connect_timeout": patience_seconds / 2, "read_timeout": patience_seconds}
    config = {**waits, "retries": {"max_attempts": 2, "mode": "standard"}, "max_pool_connections": 32}
    return {"config_kwargs": config, "use_listings_cache": False}


def _webdav_options(address: Address, patience_seconds: float) -> Mapping[str, Any]:
    from urllib.parse import unquote, urlsplit, urlunsplit

    parts = urlsplit(address.url)
    _, _, host = parts.netloc.rpartition("@")
    user = (unquote(parts.username or ""), unquote(parts.password or "")) if parts.username else _netrc(address, host)
    # The path is not part of the base: webdav4 cannot create a folder below a base that does not exist yet.
    base = urlunsplit((WEBDAV[address.scheme], host, "", "", ""))
    return {"base_url": base, "auth": user, "timeout": patience_seconds, "event_hooks": hooks(base)}


def _netrc(address: Address, host: str) -> tuple[str, str] | None:
    """The user and the password of a host, never those of `default`, which are for any host.

    A server that a manifest names gets them over https only: anybody on the way could read them otherwise.
    """
    import netrc

    if address.scheme in _PLAINTEXT and not address.by_user:
        return None
    try:
        entry = netrc.netrc().hosts.get(host.partition(":")[0])
    except (OSError, netrc.NetrcParseError, UnicodeError):
        return None
    return (entry[0], entry[2] or "") if entry else None
