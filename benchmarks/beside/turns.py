"""A process that waits for its turn: it measures once per line that it reads, and answers with one line of JSON.

The interpreters of the compared tools run it, so it needs only the standard library.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping


def serve(measure: Callable[[], Mapping[str, list[float]]]) -> None:
    """Answer each line of standard input with the milliseconds of all calls, by engine.

    What libraries print goes to stderr.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for _ in sys.stdin:
        answers.write(json.dumps(measure()) + "\n")
        answers.flush()
