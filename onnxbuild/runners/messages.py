"""What a worker writes, read with bounds: a worker is another program, and may run somebody else's code."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

import msgspec

from onnxbuild.protocol import Failure, Message, Progress, Response

# The largest trace that a store takes; decoded, a line takes at most 20 times its size.
LINE_BYTES = 8 << 20
_TEXT = 1000  # characters of a progress message
_DEPTH = 64  # of facts: what reads them is recursive
_LARGEST = 1 << 62
_CODE = re.compile(r"OBE\d{2,3}")
_RESPONSE = b'{"type":"response"'
# Progress messages that pass at once, and per second afterwards; the rest is dropped.
_BURST, _PER_SECOND = 500, 100


class Unreadable(Exception):  # noqa: N818 - carries the failure of the action
    """The output of a worker is not a valid answer."""

    def __init__(self, message: str) -> None:
        self.failure = Failure(code="OBE72", message=message, notes=(("hint", "its log may say why"),))
        super().__init__(message)


def messages(output: IO[bytes]) -> Iterator[Message]:
    """The messages of a worker. Other lines are ignored: a library may print to the pipe. Errors: Unreadable."""
    decoder = msgspec.json.Decoder(Message)
    while line := output.readline(LINE_BYTES):
        if len(line) == LINE_BYTES and not line.endswith(b"\n"):
            raise Unreadable(f"the worker wrote a line of more than {LINE_BYTES >> 20} MB")
        message = _decoded(decoder, line)
        if message is not None:
            yield message


def _decoded(decoder: msgspec.json.Decoder[Message], line: bytes) -> Message | None:
    try:
        message = decoder.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        # A line that was cut off by the worker's death is not a wrong answer; the death is reported.
        if line.startswith(_RESPONSE) and line.endswith(b"\n"):
            raise Unreadable(f"the worker's answer cannot be read: {str(error)[:200]}") from error
        return None
    return _shortened(message) if isinstance(message, Progress) else _sound(message)


def _shortened(progress: Progress) -> Progress:
    return msgspec.structs.replace(progress, text=progress.text[:_TEXT])


def _sound(response: Response) -> Response:
    """The response, if its numbers are plausible and its values not nested too deeply. Errors: Unreadable."""
    failure = response.failure
    if not (math.isfinite(response.seconds) and response.seconds >= 0 and 0 <= response.peak_bytes < _LARGEST):
        raise Unreadable("the worker's answer has impossible numbers")
    if failure is not None and not _CODE.fullmatch(failure.code):
        raise Unreadable(f"the worker's answer names an unknown code: {failure.code[:40]}")
    if _is_deep(response.facts) or (failure is not None and _is_deep(failure.facts)):
        raise Unreadable(f"the worker's answer is nested deeper than {_DEPTH} levels")
    return response


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(_DEPTH):
        containers = [one for one in level if isinstance(one, dict | list)]
        if not containers:
            return False
        level = [inner for one in containers for inner in (one.values() if isinstance(one, dict) else one)]
    return True


class Pace:
    """Lets through as much progress as a person can read: a worker may send it without end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._last, self._left = clock, clock(), float(_BURST)

    def allows(self) -> bool:
        """Whether one more message may pass now."""
        now = self._clock()
        self._left = min(float(_BURST), self._left + (now - self._last) * _PER_SECOND)
        self._last = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
