"""What an answer of the Hub means for a publish, and which requests are tried again.

huggingface_hub raises exceptions of requests (0.36) or of httpx (from 1.0 on), so both are recognized by name.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from onnxbuild.protocol import CheckFailed

T = TypeVar("T")
_TRIES = 5
_LONGEST_WAIT_SECONDS = 300.0
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_CUTS = frozenset({"ConnectionError", "ChunkedEncodingError", "TransportError", "Timeout", "TimeoutException"})
_STALE = 412

# The name of an exception or the status of an answer, and what it means; the first that fits counts.
_ANSWERS = (
    ("GatedRepoError", "OBE202", "{repo} is gated, and the token has no access", "request access on its page"),
    ("401", "OBE200", "the Hub does not accept the token", "log in again with `hf auth login`, or renew HF_TOKEN"),
    (
        "403", "OBE201", "the token may not write to {repo}",
        "use a token with write access to this repository: https://huggingface.co/settings/tokens",
    ),
    (
        "RepositoryNotFoundError", "OBE202", "{repo} does not exist, or the token may not see it",
        "check the name of the repository",
    ),
    (
        str(_STALE), "OBE205", "{repo} changes while it is compared",
        "run it again when no other upload is under way",
    ),
    ("429", "OBE206", "the Hub limits the rate of requests", "wait some minutes, and run it again"),
    (
        "cut", "OBE207", "the upload to {repo} was cut off",
        "run it again: large files that arrived are not sent again",
    ),
    ("", "OBE208", "the Hub refuses the upload to {repo}", "the cause has the answer of the Hub"),
)  # fmt: skip


def again(call: Callable[[], T]) -> T:
    """The result of a call; it is repeated where the Hub is busy or the network was cut."""
    for attempt in range(1, _TRIES + 1):
        try:
            return call()
        except Exception as error:
            if attempt == _TRIES or not is_transient(error):
                raise
            time.sleep(_wait(error, attempt))
    raise AssertionError("BUG: the last try neither returned nor failed")


def status_of(error: BaseException) -> int:
    """The status of the answer that an exception holds, 0 for one without an answer."""
    return getattr(getattr(error, "response", None), "status_code", 0) or 0


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help."""
    return status_of(error) in _TRANSIENT or (not status_of(error) and _is_cut(error))


def is_stale(error: BaseException) -> bool:
    """Whether another commit came between the comparison and ours."""
    return status_of(error) == _STALE


def explained(error: Exception, repo: str, token: str) -> CheckFailed:
    """The failure that an exception of huggingface_hub means. No text of it holds the token."""
    code, message, hint = _meaning(error, repo)
    cause = " ".join(str(error).replace(token, "***").split())[:400]
    return CheckFailed(code, message, notes=[("cause", cause), ("hint", hint)], transient=is_transient(error))


def _meaning(error: Exception, repo: str) -> tuple[str, str, str]:
    """Code, message and hint."""
    if isinstance(error, ValueError) and "metadata in README.md" in str(error):
        faults = "; ".join(line.removeprefix("- ") for line in str(error).splitlines()[1:])
        return "OBE204", f"the Hub refuses the model card: {faults}", "correct the metadata of README.md in the package"
    names = {type(error).__name__, str(status_of(error)), *(["cut"] if is_transient(error) else [])}
    found = next((row for row in _ANSWERS if row[0] in names), _ANSWERS[-1])
    return found[1], found[2].replace("{repo}", repo), found[3]


def _is_cut(error: BaseException) -> bool:
    return any(kind.__name__ in _CUTS for kind in type(error).__mro__)


def _wait(error: BaseException, attempt: int) -> float:
    headers: Any = getattr(getattr(error, "response", None), "headers", None) or {}
    asked = str(headers.get("Retry-After", ""))
    return min(float(asked) if asked.isdecimal() else 2.0 ** (attempt - 1), _LONGEST_WAIT_SECONDS)
