"""Which server gets the token of the Hub: the one that HF_ENDPOINT names, and none that it redirects to.

huggingface_hub removes the token where a redirect leads to another host and port, and keeps it where only the scheme
changes (0.36 compares `netloc`). So every request is checked when it is sent, whoever made it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onnxbuild.url_origin import is_downgrade, origin_of

DEFAULT_ENDPOINT = "https://huggingface.co"


def keep_token_at(endpoint: str) -> None:
    """From now on, requests of huggingface_hub in this process carry a token only to this server."""
    import huggingface_hub

    origin = origin_of(endpoint)

    def guard(request: Any) -> None:
        url = str(request.url)
        if is_downgrade(endpoint, url):
            raise OSError(f"{endpoint} redirects from https to http")
        if origin_of(url) != origin:
            request.headers.pop("Authorization", None)

    if hasattr(huggingface_hub, "set_client_factory"):  # from 1.0, on httpx
        _guard_clients(huggingface_hub, guard)
    else:
        _guard_sessions(huggingface_hub, guard)


def _guard_sessions(hub: Any, guard: Callable[[Any], None]) -> None:
    """A session of requests follows each redirect through its `send`."""
    from huggingface_hub.utils import _http

    def session() -> Any:
        made: Any = _http._default_backend_factory()  # noqa: SLF001 - keeps its adapters for request ids and offline mode
        send = made.send

        def guarded(request: Any, **options: Any) -> Any:
            guard(request)
            return send(request, **options)

        made.send = guarded
        return made

    hub.configure_http_backend(session)


def _guard_clients(hub: Any, guard: Callable[[Any], None]) -> None:
    """A client of httpx calls these hooks for each redirect, after it has added what authenticates."""
    from huggingface_hub.utils import _http

    def client() -> Any:
        made = _http.default_client_factory()
        hooks = made.event_hooks
        made.event_hooks = {**hooks, "request": [*hooks.get("request", ()), guard]}
        return made

    hub.set_client_factory(client)
