"""The origin of a URL: the parts that must stay the same for a request to reach the same server in the same way."""

from __future__ import annotations

from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of a URL. Errors: ValueError for a port that is not one."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)


def is_downgrade(before: str, after: str) -> bool:
    """Whether a redirect leaves https: anybody on the network path could read and change what follows."""
    return urlsplit(before).scheme == "https" and urlsplit(after).scheme != "https"
