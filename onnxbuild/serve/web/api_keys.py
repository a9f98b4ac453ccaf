"""API keys: which requests carry one that is allowed."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence

# Probes of an orchestrator have no keys; the page of the API says nothing about the models.
OPEN = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})


def keys_in(text: str) -> tuple[str, ...]:
    """The keys in a file or in a variable, one a line; empty lines and lines with # are none."""
    lines = (line.strip() for line in text.splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def is_allowed(headers: Iterable[tuple[bytes, bytes]], keys: Sequence[str]) -> bool:
    """Whether the request has `Authorization: Bearer KEY`. Each key is compared, in constant time."""
    given = next((value for name, value in headers if name == b"authorization"), b"")
    scheme, _, key = given.partition(b" ")
    same = [hmac.compare_digest(key.strip(), allowed.encode()) for allowed in keys]
    return scheme.lower() == b"bearer" and any(same)
