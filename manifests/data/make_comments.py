# ruff: noqa: INP001 - a script
"""Writes comments.jsonl: generated comments as people write them below a post, with a fixed seed.

`python manifests/data/make_comments.py 10000` writes as many. The walk-through of go_emotions reads them, because the
comments of that set are not ours to deliver. Nobody wrote them, and they have no labels.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from onnxbuild.workers.benchmark.comments import comments

_COMMITTED = 240


def lines(count: int = _COMMITTED) -> str:
    """The file; the same one every time."""
    return "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in comments(count))


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else _COMMITTED
    Path(__file__).with_name("comments.jsonl").write_text(lines(count), encoding="utf-8")
