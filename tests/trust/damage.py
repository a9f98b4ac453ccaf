"""Damaged versions of bytes."""

from __future__ import annotations

import random

_PIECES = (
    b"\0", b"\xff", b"\xe9", b"\n", b"\t", b'"', b"'", b"{", b"}", b"[", b"]", b":", b",", b"- ", b"#", b"&a ", b"*a",
    b"${", b"${vars.n}", b"$${", b"<<: ", b"---\n", b"null", b"true", b"-1", b"1e999", b"NaN", b"0x1f", b"9" * 30,
    b"\\", b"../", b"/", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xe2\x80\xae", b"\x1b[2J", b"+", b"*", b"?", b"[!",
    b"a" * 300,
    b"[" * 200, b'{"a":' * 200, b"\\ud800", b"\\u0000", b"18446744073709551616", b"1.5",
)  # fmt: skip


def damaged(data: bytes, dice: random.Random) -> bytes:
    """A few edits of the kinds that find faults: insertions, deletions, swaps, repetitions, flipped bits, a cut."""
    for _ in range(dice.choice([1, 1, 1, 2, 3, 8])):
        at, what = dice.randrange(len(data) + 1), dice.random()
        end = min(len(data), at + dice.choice([1, 2, 8, 40]))
        if what < 0.3:
            data = data[:at] + dice.choice(_PIECES) + data[at:]
        elif what < 0.5:
            data = data[:at] + data[end:]
        elif what < 0.65:
            data = data[:at] + dice.choice(_PIECES) + data[end:]
        elif what < 0.75:
            words = data.split(b" ")
            words[dice.randrange(len(words))] = dice.choice(words)
            data = b" ".join(words)
        elif what < 0.85 and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << dice.randrange(8))]) + data[at + 1 :]
        elif what < 0.95:
            data = data[:end] + data[at:end] * dice.choice([1, 3, 50]) + data[end:]
        else:
            data = data[:at]
    return data
