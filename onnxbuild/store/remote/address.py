"""The address of a remote store: what a person wrote, the parts that may be shown, and what fsspec needs of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from onnxbuild.secrets import register_url

S3 = frozenset({"s3", "s3a"})
WEBDAV = {"webdav": "http", "dav": "http", "webdavs": "https", "davs": "https"}


class Address(Struct, frozen=True):
    """Where a remote store is. `shown` has neither user nor password: only it appears in messages and records."""

    url: str
    scheme: str
    shown: str
    secrets: tuple[str, ...] = ()


def address_of(text: str, base: Path) -> Address:
    """The address that a person wrote; a plain path is a folder, relative to `base`."""
    if "://" not in text:
        path = (base / os.path.expanduser(text)).absolute()
        return Address(f"file://{path}", "file", str(path))
    from urllib.parse import unquote, urlsplit, urlunsplit

    register_url(text)
    parts = urlsplit(text)
    _, _, host = parts.netloc.rpartition("@")
    secrets = tuple({one for one in (parts.password, unquote(parts.password or "")) if one})
    return Address(text.rstrip("/"), parts.scheme, urlunsplit((parts.scheme, host, parts.path, "", "")), secrets)


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
    user = (unquote(parts.username or ""), unquote(parts.password or "")) if parts.username else _netrc(host)
    # The path is not part of the base: webdav4 cannot create a folder below a base that does not exist yet.
    base = urlunsplit((WEBDAV[address.scheme], host, "", "", ""))
    return {"base_url": base, "auth": user, "timeout": patience_seconds}


def _netrc(host: str) -> tuple[str, str] | None:
    import netrc

    try:
        entry = netrc.netrc().authenticators(host.partition(":")[0])
    except (OSError, netrc.NetrcParseError):
        return None
    return (entry[0], entry[2] or "") if entry else None
