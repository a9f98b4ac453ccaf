"""Text from outside, made safe to print: a file name or a library's message must not control the terminal."""

from __future__ import annotations

import re

# Bidirectional marks reorder what a reader sees ("Trojan Source", CVE-2021-42574); they have the category Cf.
_BIDIRECTIONAL = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
# C0 and C1 controls except tab and newline, line and paragraph separators, and lone surrogates (undecodable names).
_UNSAFE = f"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{_BIDIRECTIONAL}]"


def printable(text: str) -> str:
    r"""The text with each control, escape and bidirectional character shown as an escape such as `\x1b`.

    Tabs and newlines stay. The result can be encoded as UTF-8. JSON stays valid and keeps its meaning: a character
    that JSON encoders do not escape gets an escape that JSON also has, such as `\u009b`.
    """
    # The usual case without the pattern, whose compilation would cost a run with nothing to do 2 ms.
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return re.sub(_UNSAFE, _escape, text)


# `os.fsdecode` keeps a byte of a name that is not UTF-8 as one of these.
_BYTES_OF_NAMES = range(0xDC80, 0xDD00)
_RAW_IN_JSON = range(0x7F, 0xA0)


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if ord(character) in _BYTES_OF_NAMES:
        return f"\\x{ord(character) - 0xDC00:02x}"
    if ord(character) in _RAW_IN_JSON:
        return f"\\u{ord(character):04x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
