"""Progress of long work on the store, as a line on stderr now and then: enough to see that it lives."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_EVERY_SECONDS = 5.0


class Uploads:
    """Says from time to time how far a write-back is."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._told = time.monotonic()

    def __call__(self, done: int, total: int, sent_bytes: float) -> None:
        """Called after each result."""
        if time.monotonic() - self._told >= _EVERY_SECONDS and done < total:
            self._told = time.monotonic()
            print(f"sharing: {done} of {total} results, {sent_bytes / 1e6:.1f} MB", file=self._stream, flush=True)
