"""Answers of a WebDAV server, within limits: from its own origin, uncompressed, not too long, and not too slow.

A manifest may name a server that somebody else runs. httpx reads an answer to its end, unpacks it, and follows a
redirect to any host; its time limit applies to each read, so an answer of one byte per second never ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

# For an answer that httpx reads by itself: a list of properties, or the page of an error.
_MOST_ANSWER_BYTES = 1 << 20
_LONGEST_ANSWER_SECONDS = 120.0
_PLAIN = {"", "identity"}
_NOT_FOUND, _BEYOND_THE_END, _WHOLE, _PART = 404, 416, 200, 206


def hooks(base: str) -> Mapping[str, list[Callable[[Any], None]]]:
    """What httpx calls with each request, redirected ones included, and with each answer before it is read."""

    def check_request(request: Any) -> None:
        if _origin(request.url) != origin:
            raise OSError("the server redirects to another one")
        request.headers["Accept-Encoding"] = "identity"

    def check_answer(answer: Any) -> None:
        if answer.headers.get("content-encoding", "").strip().lower() not in _PLAIN:
            answer.close()
            raise OSError("the server compresses its answers")
        # `get` below limits what it reads itself.
        if answer.request.method != "GET" or answer.status_code not in {_WHOLE, _PART}:
            answer.stream = _bounded(answer.stream)

    import httpx

    origin = _origin(httpx.URL(base))
    return {"request": [check_request], "response": [check_answer]}


def get(filesystem: Any, path: str, start: int, size: int, seconds: float) -> bytes:
    """At most `size` bytes of a file, from `start`, within a time. Errors: OSError, those of httpx."""
    client, headers = filesystem.client, {"Range": f"bytes={start}-{start + size - 1}"}
    with client.http.stream("GET", client.join_url(path), headers=headers, follow_redirects=True) as answer:
        if answer.status_code == _NOT_FOUND:
            raise FileNotFoundError(path)
        if answer.status_code == _BEYOND_THE_END:
            return b""
        if answer.status_code != _PART and (answer.status_code != _WHOLE or start):
            raise OSError(f"the server answered {answer.status_code} {answer.reason_phrase}")
        return _first_bytes(answer, size, time.monotonic() + seconds)


def _first_bytes(answer: Any, size: int, until: float) -> bytes:
    data = bytearray()
    for chunk in answer.iter_raw():
        data += chunk
        if len(data) >= size:
            break
        if time.monotonic() > until:  # the caller has stopped waiting
            raise OSError("the server's answer does not end")
    return bytes(data[:size])


def _bounded(stream: Any) -> Any:
    import httpx

    class Bounded(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            count, until = 0, time.monotonic() + _LONGEST_ANSWER_SECONDS
            for chunk in stream:
                count += len(chunk)
                if count > _MOST_ANSWER_BYTES or time.monotonic() > until:
                    raise OSError("the server's answer does not end")
                yield chunk

        def close(self) -> None:
            stream.close()

    return Bounded()


def _origin(url: Any) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
