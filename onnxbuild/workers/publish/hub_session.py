"""A connection to the Hub with the user's token, and what is known about its owner."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from onnxbuild import secrets
from onnxbuild.protocol import CheckFailed
from onnxbuild.workers.libraries.hub_access import DEFAULT_ENDPOINT, keep_token_at
from onnxbuild.workers.libraries.hub_tries import again


class Connected(NamedTuple):
    """The client, its token, and the names under which the token may write."""

    api: Any
    token: str
    names: frozenset[str]
    read_only: bool


def connected(endpoint: str | None) -> Connected:
    """Connect with the token of HF_TOKEN or of `hf auth login`. Errors: CheckFailed OBE200 without a token."""
    if endpoint and endpoint.rstrip("/") != DEFAULT_ENDPOINT:
        _without_xet()
    import huggingface_hub
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise CheckFailed("OBE207", "HF_HUB_OFFLINE is set, so nothing can be uploaded", notes=[("hint", "unset it")])
    token = huggingface_hub.get_token()
    if not token:
        hint = "log in with `hf auth login`, or set HF_TOKEN to a token with write access"
        raise CheckFailed("OBE200", "there is no token for the Hub", notes=[("hint", hint)])
    secrets.register(token)
    keep_token_at(endpoint or DEFAULT_ENDPOINT)
    api = huggingface_hub.HfApi(endpoint=endpoint, token=token, library_name="onnxbuild")
    return Connected(api, token, frozenset(), read_only=False)


def identified(hub: Connected) -> Connected:
    """The same connection, with what the Hub knows about the token."""
    answer = again(hub.api.whoami)
    names = {answer.get("name"), *(one.get("name") for one in answer.get("orgs", ()))}
    role = ((answer.get("auth") or {}).get("accessToken") or {}).get("role")
    return hub._replace(names=frozenset(name for name in names if name), read_only=role == "read")


def _without_xet() -> None:
    """Use the LFS protocol: only the Hub itself has Xet. huggingface_hub may be loaded already."""
    os.environ["HF_HUB_DISABLE_XET"] = "1"
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_XET = True
