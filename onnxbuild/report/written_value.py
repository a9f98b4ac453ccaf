"""What a manifest says of one param of a step, read from the text at the step's place."""

from __future__ import annotations

import re
from itertools import takewhile

from onnxbuild.diagnostics import Span

_SCALAR = r"[ ]+['\"]?([\w.+-]+)"


def written_value(step: Span, param: str) -> str | None:
    """The plain value that the block of a step has for a param; None if it has none. `step`: the place of its key."""
    first, *rest = step.source.text.splitlines()[step.line - 1 :] or [""]
    inline = first[step.column - 1 :].partition(":")[2].strip()
    below = [line for line in takewhile(lambda line: _is_below(line, step), rest) if line.strip()]
    if inline.startswith("{"):
        text, before = _outermost("\n".join([inline, *below])), r"[{,]\s*"
    else:
        text, before = "\n".join(below), f"^{re.match(' *', below[0])[0] if below else ''}"  # type: ignore[index]
    found = re.search(f"{before}{re.escape(param)}:{_SCALAR}", text, re.MULTILINE)
    return found[1] if found else None


def _is_below(line: str, step: Span) -> bool:
    return not line[: step.column].strip()


def _outermost(text: str) -> str:
    """The first mapping in braces, without those inside it."""
    kept, depth = "", 0
    for sign in text:
        depth += (sign in "{[") - (sign in "}]")
        if depth == 0:
            break
        kept += sign if depth == 1 else ""
    return kept
