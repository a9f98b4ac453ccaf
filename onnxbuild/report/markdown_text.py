"""Text from outside in Markdown: it is shown as it is, and neither marks anything up nor leaves its place.

Names and texts of a manifest, of a source and of a library may be somebody else's. CommonMark lets a backslash stand
before every ASCII punctuation character; only those that can begin something are escaped, so that a table stays
readable in the source, too.
"""

from __future__ import annotations

import re

from onnxbuild.report.wording import on_one_line

# `:` only before slashes: GitHub makes links of bare addresses. `$` begins a formula there.
_MARKS = re.compile(r"[\\`*_\[\]<>|~&#$!]|:(?=//)|@(?=\w)|(?<=\bwww)\.")
_AT_START = re.compile(r"^(\s*)([-+](?=\s|$)|-(?=-)|=|\d+(?=[.)](?:\s|$)))")
_BAR = re.compile(r"(?<!\\)\|")
_CODE = re.compile(r"(?<!`)(`[^`]+`)(?!`)")
_TICKS = re.compile(r"`+")


def escaped(text: str) -> str:
    """The text on one line, for a paragraph, a heading or a cell of a table."""
    line = _MARKS.sub(r"\\\g<0>", on_one_line(text).strip())
    return _AT_START.sub(_harmless, line)


def message(text: str) -> str:
    """A message on one line: what it has between backticks is code, and all else is escaped."""
    parts = _CODE.split(on_one_line(text))
    return " ".join("".join(one if number % 2 else _escaped_part(one) for number, one in enumerate(parts)).split())


def _escaped_part(text: str) -> str:
    """The text in the middle of a line."""
    return _MARKS.sub(r"\\\g<0>", text)


def _harmless(begins: re.Match[str]) -> str:
    """The beginning of a line that would begin a list, a heading or a rule."""
    blank, mark = begins.groups()
    return f"{blank}\\{mark}" if not mark.isdecimal() else f"{blank}{mark}\\"


def code(text: str) -> str:
    """The text on one line as code."""
    line = on_one_line(text) or " "
    longest = max(map(len, _TICKS.findall(line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def link(text: str, address: str) -> str:
    """A link. `address` must be one that we made: nothing of somebody else's but what was quoted for an address."""
    return f"[{escaped(text)}](<{address}>)"


def block(language: str, lines: str) -> str:
    """Lines as a block of code, whatever they contain."""
    longest = max(map(len, _TICKS.findall(lines)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{lines.rstrip()}\n{fence}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table of cells that are Markdown already. A bar ends a cell even in code, so each is escaped."""
    lines = [head, ["---"] * len(head), *([_BAR.sub(r"\|", cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
