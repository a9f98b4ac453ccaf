"""Progress of an upload to the remote store: an occasional line on stderr."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from onnxbuild.report.wording import counted

_EVERY_SECONDS = 5.0


class Uploads:
    """Reports every few seconds how much of a write-back is done."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write to `stream`, by default stderr."""
        self._stream = stream or sys.stderr
        self._reported = time.monotonic()

    def __call__(self, done: int, total: int, sent_bytes: float) -> None:
        """Report after a result was sent, unless the last report is recent."""
        if time.monotonic() - self._reported >= _EVERY_SECONDS and done < total:
            self._reported = time.monotonic()
            print(
                f"sharing: {done} of {counted(total, 'result')}, {sent_bytes / 1e6:.1f} MB",
                file=self._stream,
                flush=True,
            )
