"""Requests of huggingface_hub to the Hub itself, sent to the server of a test instead."""

from __future__ import annotations

from typing import Any

import requests
from hub_server import HubServer


class Redirected(requests.Session):
    """A session whose requests to the Hub reach the server of a test."""

    def __init__(self, hub: HubServer) -> None:
        super().__init__()
        self.hub = hub

    def request(self, method: str, url: str, *arguments: Any, **more: Any) -> requests.Response:  # type: ignore[override]
        assert url.startswith("https://huggingface.co/"), url
        return super().request(method, url.replace("https://huggingface.co", self.hub.endpoint), *arguments, **more)
