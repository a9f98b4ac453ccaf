"""Advice on mistakes that only the whole command line shows."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence

from msgspec import structs

from onnxbuild.diagnostics import Diagnostic

_NO_SUCH_MANIFEST = "OB016"


def with_advice(diagnostics: Sequence[Diagnostic], options: argparse.Namespace) -> Sequence[Diagnostic]:
    """The diagnostics of a command that failed, with advice where its arguments are in the wrong order."""
    advice = _in_order(options)
    if advice is None:
        return diagnostics
    return [
        structs.replace(one, notes=(("hint", advice),)) if one.code == _NO_SUCH_MANIFEST else one for one in diagnostics
    ]


def _in_order(options: argparse.Namespace) -> str | None:
    """The command with its manifest first, where the manifest was given as a selector."""
    manifest, selectors = getattr(options, "manifest", None), getattr(options, "selectors", None) or []
    if manifest is None or os.path.isfile(manifest):
        return None
    files = [one for one in selectors if os.path.isfile(one)]
    if not files:
        return None
    command = [options.name, *([options.what] if options.name == "cache" else [])]
    others = [one for one in selectors if one != files[0]]
    line = shlex.join(["onnxbuild", *command, files[0], manifest, *others])
    return f"the manifest comes first: `{line}`"
