"""Which requests to the Hub are made again, and after how long.

huggingface_hub raises exceptions of requests (0.36) or of httpx (from 1.0 on), so both are recognized by name. It
hides the answer to a first request about a file behind another exception, so the causes count too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
LIMITED = 429
_TRIES = 5
_LONGEST_WAIT_SECONDS = 300.0
_TRANSIENT = frozenset({408, LIMITED, 500, 502, 503, 504})
_CUTS = frozenset({"ConnectionError", "ChunkedEncodingError", "TransportError", "Timeout", "TimeoutException"})
_PARTS = frozenset({"ChunkedEncodingError", "RemoteProtocolError", "ReadError", "IncompleteRead"})
_DEEPEST = 5  # causes; an exception may be its own


def again(
    call: Callable[[], T],
    may_help: Callable[[BaseException], bool] | None = None,
    tell: Callable[[str], object] = lambda _text: None,
) -> T:
    """The result of a call; it is repeated where that may help: by default, if the Hub is busy or the network was cut.

    `tell` gets a text about each wait.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            return call()
        except Exception as error:
            if attempt == _TRIES or not (may_help or is_transient)(error):
                raise
            wait = _wait(error, attempt)
            why = "the Hub limits the rate of requests" if status_of(error) == LIMITED else "the transfer was cut"
        tell(f"{why}; trying again in {wait:g} s")
        time.sleep(wait)
    raise AssertionError("BUG: the last try neither returned nor failed")


def status_of(error: BaseException) -> int:
    """The status of the answer that an exception or one of its causes holds, 0 without an answer."""
    return getattr(_answer(error), "status_code", 0) or 0


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help."""
    return status_of(error) in _TRANSIENT or (not status_of(error) and _is_cut(error))


def is_limited_or_cut(error: BaseException) -> bool:
    """Whether a download should continue where it is: huggingface_hub makes other requests again by itself."""
    named = any(kind.__name__ in _PARTS for one in _chain(error) for kind in type(one).__mro__)
    return status_of(error) == LIMITED or (not status_of(error) and named)


def _is_cut(error: BaseException) -> bool:
    return any(kind.__name__ in _CUTS for kind in type(error).__mro__)


def _answer(error: BaseException) -> Any:
    return next((one.response for one in _chain(error) if getattr(one, "response", None) is not None), None)


def _chain(error: BaseException) -> Iterator[Any]:
    current: BaseException | None = error
    for _ in range(_DEEPEST):
        if current is not None:
            yield current
            current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _wait(error: BaseException, attempt: int) -> float:
    asked = str((getattr(_answer(error), "headers", None) or {}).get("Retry-After", ""))
    return min(float(asked) if asked.isdecimal() else 2.0 ** (attempt - 1), _LONGEST_WAIT_SECONDS)
