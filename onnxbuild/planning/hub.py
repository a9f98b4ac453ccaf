"""Asks the Hub about a repository, over its HTTP API.

huggingface_hub is not a dependency of the core, and importing it takes longer than these requests.
"""

from __future__ import annotations

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from typing import Any
from urllib.parse import quote

from msgspec import UNSET

from onnxbuild.diagnostics import DiagnosticError, fault
from onnxbuild.planning.locked import LockedSource
from onnxbuild.planning.origins.source_license import license_of_card, other_license_of_card
from onnxbuild.regular_files import is_safe_name
from onnxbuild.steps.dataset_rows import ENDINGS
from onnxbuild.steps.fetch import DATASETS
from onnxbuild.tables.checkpoint_files import CONFIGS
from onnxbuild.tables.checkpoints.adapters import CONFIG as ADAPTER
from onnxbuild.url_origin import is_downgrade, origin_of

_TRIES = 4
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST_WAIT_SECONDS = 30.0
_TIMEOUT_SECONDS = 20.0
_LONGEST_ANSWER_SECONDS = 60.0
_LARGEST_ANSWER = 32 << 20
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LONGEST_TABLE = 32  # a plan has no use for the names of a thousand classes, and they would fill a diff


class _NoSuchFileError(DiagnosticError):
    """The answer for a file that a repository does not have."""


class Hub:
    """A Hub-compatible server. `sleep` gets the seconds to wait before the next try."""

    def __init__(self, endpoint: str, token: str | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self.endpoint = endpoint.rstrip("/")
        self._token, self._sleep = token, sleep
        self._opener = _opener()

    @classmethod
    def from_environment(cls) -> Hub:
        """The Hub that HF_ENDPOINT and HF_TOKEN name."""
        return cls(os.environ.get("HF_ENDPOINT") or "https://huggingface.co", os.environ.get("HF_TOKEN") or None)

    def resolve(self, repo: str, revision: str) -> LockedSource:
        """The current commit of a revision, with the names of its files and its config.

        Errors: DiagnosticError OB110, with a message for each answer of the Hub.
        """
        rows = repo.startswith(DATASETS)
        place = quote(repo) if rows else f"models/{quote(repo)}"
        answer = self._json(f"/api/{place}/revision/{quote(revision, safe='')}", repo, revision)
        commit = answer.get("sha") if isinstance(answer, dict) else None
        if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
            raise _failed(repo, revision, "the answer names no commit")
        files = sorted(_names(answer.get("siblings")))
        if odd := [name for name in files if not is_safe_name(name)]:
            raise _failed(repo, revision, f"it has a file with the name {odd[0]!r}, which leads out of its folder")
        if rows:  # a plan has no use for the names of a thousand images
            return LockedSource(commit, tuple(name for name in files if name.endswith(ENDINGS)))
        place = next((name for name in CONFIGS if name in files), "")
        config, adapter = (
            _short_tables(self._json(f"/{quote(repo)}/resolve/{commit}/{name}", repo, revision))
            if name in files else None
            for name in (place, ADAPTER)
        )  # fmt: skip
        other = other_license_of_card(answer)
        return LockedSource(
            commit,
            tuple(files),
            config,
            UNSET if adapter is None else adapter,
            license_of_card(answer) or UNSET,
            other.name or UNSET,
            other.link or UNSET,
        )

    def listing(self, path: str, repo: str, commit: str) -> list[Any]:
        """The list at an address of the API. Errors: DiagnosticError OB110."""
        answer = self._json(path, repo, commit)
        if not isinstance(answer, list):
            raise _failed(repo, commit, f"the answer of `{self.endpoint}{path}` is not a list")
        return answer

    def content(self, repo: str, commit: str, name: str) -> bytes | None:
        """A small file of a repository at a commit; None if it has no such file. Errors: DiagnosticError OB110."""
        try:
            return self._get(f"/{quote(repo)}/resolve/{commit}/{quote(name)}", repo, commit)
        except _NoSuchFileError:
            return None

    def _json(self, path: str, repo: str, revision: str) -> Any:
        data = self._get(path, repo, revision)
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise _failed(repo, revision, f"the answer of `{self.endpoint}{path}` is not JSON") from None

    def _get(self, path: str, repo: str, revision: str) -> bytes:
        if not _is_address(self.endpoint):
            raise _failed(repo, revision, f"`{self.endpoint}` is not the address of a server", "see HF_ENDPOINT")
        if "@" in self.endpoint:  # and not shown
            raise _failed(repo, revision, "the address in HF_ENDPOINT has a user or a password", "use HF_TOKEN")
        headers = {"User-Agent": "onnxbuild", **({"Authorization": f"Bearer {self._token}"} if self._token else {})}
        request = urllib.request.Request(self.endpoint + path, headers=headers)  # noqa: S310 - the endpoint is the user's
        for attempt in range(1, _TRIES + 1):
            try:
                with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as answer:
                    return _content(answer)
            except urllib.error.HTTPError as error:
                with error:
                    if error.code not in _TRANSIENT or attempt == _TRIES:
                        raise self._refused(error, repo, revision) from None
                    wait = _retry_after(error.headers.get("Retry-After"), attempt)
            except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
                if attempt == _TRIES or isinstance(error, ValueError):
                    reason = getattr(error, "reason", None) or error
                    message = f"{self.endpoint} cannot be reached: {reason}"
                    hint = "without a network, use `local:` or a lock file that holds this source"
                    raise _failed(repo, revision, message, hint) from None
                wait = 2.0 ** (attempt - 1)
            self._sleep(wait)
        raise AssertionError("BUG: the last try neither answered nor failed")

    def _refused(self, error: urllib.error.HTTPError, repo: str, revision: str) -> DiagnosticError:
        code = error.headers.get("X-Error-Code", "")
        if code == "EntryNotFound":
            return _NoSuchFileError(_failed(repo, revision, "the repository has no such file").diagnostics)
        if code == "RevisionNotFound":
            return _failed(repo, revision, f"the repository has no revision `{revision}`")
        if error.code == 404 or code == "RepoNotFound":  # noqa: PLR2004
            hint = "check the name; a private repository needs HF_TOKEN"
            return _failed(repo, revision, "the repository does not exist", hint)
        if error.code in {401, 403}:
            # The Hub answers 401 for missing repositories too, so that private names stay secret.
            hint = "it is private, gated or misspelt: set HF_TOKEN to a token with read access"
            if self._token:
                hint = "it is gated or misspelt, or the token in HF_TOKEN has no access: request access on its page"
            return _failed(repo, revision, f"access was refused ({error.code})", hint)
        return _failed(repo, revision, f"{self.endpoint} answered {error.code} {error.reason}", "try again later")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and sends the token only to the server that it was meant for."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The next request, without the token if the scheme, the host or the port differs."""
        if is_downgrade(req.full_url, newurl):
            raise ValueError("it redirects from https to http")
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None:
            new.remove_header("Proxy-authorization")  # added again where the next request goes through the proxy
            if origin_of(newurl) != origin_of(req.full_url):
                new.remove_header("Authorization")
        return new


def _opener() -> urllib.request.OpenerDirector:
    """An opener for http and https alone: the usual one follows redirects to ftp, and knows `file:` and `data:`."""
    request = urllib.request
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(), request.HTTPHandler(), request.HTTPSHandler(), _Redirects(),
        request.HTTPDefaultErrorHandler(), request.HTTPErrorProcessor(), request.UnknownHandler(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


def _is_address(endpoint: str) -> bool:
    try:
        scheme, host, _port = origin_of(endpoint)
    except ValueError:
        return False
    return scheme in {"http", "https"} and bool(host)


def _names(siblings: Any) -> Iterator[str]:
    for one in siblings if isinstance(siblings, list) else ():
        if isinstance(one, dict) and one.get("rfilename"):
            yield str(one["rfilename"])


def _content(answer: Any) -> bytes:
    """The whole answer. Errors: ValueError if it is too long, or takes too long: the time limit holds for each read."""
    data, until = bytearray(), time.monotonic() + _LONGEST_ANSWER_SECONDS
    while chunk := answer.read1(1 << 16):
        data += chunk
        if len(data) > _LARGEST_ANSWER or time.monotonic() > until:
            raise ValueError("its answer does not end")
    return bytes(data)


def _retry_after(header: str | None, attempt: int) -> float:
    wait = float(header) if header and header.isdecimal() else 2.0 ** (attempt - 1)
    return min(wait, _LONGEST_WAIT_SECONDS)


def _short_tables(config: Any) -> Mapping[str, Any] | None:
    """A config without its long tables; None if it is not a JSON object."""
    if not isinstance(config, dict):
        return None
    return {key: value for key, value in config.items() if not _is_long(value)}


def _is_long(value: Any) -> bool:
    return isinstance(value, (Mapping, list)) and len(value) > _LONGEST_TABLE


def _failed(repo: str, revision: str, reason: str, hint: str | None = None) -> DiagnosticError:
    name = repo.removeprefix(DATASETS)  # as in the manifest
    return DiagnosticError(fault("OB110", f"`hub:{name}@{revision}` cannot be resolved: {reason}", hint=hint))
