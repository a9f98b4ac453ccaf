"""`onnxbuild run`: build what is not up to date. This module stays light: most runs have nothing to do."""

from __future__ import annotations

import os
import sys
import zlib
from collections.abc import Mapping
from typing import Any

from onnxbuild.receipts.receipt import standing


def run(options: Mapping[str, Any]) -> int:
    """Answer from a receipt where nothing has moved, and build otherwise (what has moved, or all); the exit code."""
    question = question_of(options)
    receipt = None
    if not options["dry_run"] and not options["force"]:
        state = os.path.join(os.path.dirname(os.path.abspath(options["manifest"])), ".onnxbuild")
        receipt = standing(state, question)
        if receipt is not None and not receipt.moved:
            sys.stdout.write(receipt.answer)
            return 0
    from onnxbuild.commands.build import build

    return build(options, question, receipt)


def _mark(remote: str | None) -> str | None:
    """What tells one remote store from another, and no password that its address may hold: it goes to the disk."""
    if not remote:
        return None
    return f"{zlib.crc32((remote if '://' in remote else os.path.abspath(remote)).encode()):08x}"


def question_of(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the answer of a run depends on, as far as the command line tells."""
    named = ("selectors", "define", "store", "out", "json", "offline", "remote_readonly")
    asked = {name: options[name] for name in named}
    return {
        **asked,
        "manifest": os.path.realpath(options["manifest"]),
        "spelled": options["manifest"],
        "ONNXBUILD_STORE": os.environ.get("ONNXBUILD_STORE"),
        "remote": _mark(options["remote"] or os.environ.get("ONNXBUILD_REMOTE")),
        "folder": os.getcwd() if not all(map(os.path.isabs, (options["out"] or "/", options["store"] or "/"))) else "",
    }
