"""The license that a source states: in the card of its repository, its README.md, its config.json or its LICENSE file.

Nothing is guessed. A text that is not the name of a license, or not exactly a license that is known, states none.
"""

from __future__ import annotations

import re
from typing import Any

from onnxbuild.digest import digest_bytes

LICENSE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,39}")
_BLOCK = re.compile(r"\A(?:\ufeff)?\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
# `license: mit`, also in quotes, with a comment, or as the only item of a list.
_LINE = re.compile(r"^license:\s*(?:-\s*|\[\s*)?(['\"]?)([^'\"\s\]#]+)\1\s*\]?[ \t]*(?:#.*)?$(?!\n\s*-)", re.MULTILINE)
_SPDX = re.compile(r"SPDX-License-Identifier:\s*(\S+)\s*$", re.MULTILINE)
# The part of a license that is the same for every owner, and the digest of its words.
_SAME_FOR_ALL = {
    "Apache-2.0": (
        re.compile(r"TERMS AND CONDITIONS FOR USE, REPRODUCTION.*END OF TERMS AND CONDITIONS", re.DOTALL),
        "00221fa5b67d3cff0cf1d829409628393618e8a9c958d3e5dc4989312b0b1d33",
    ),
    "MIT": (
        re.compile(r"Permission is hereby granted, free of charge.*", re.DOTALL),
        "145d2d3163a27cd860bfb906378848983c2c986bc9858e128f9b788c90c619be",
    ),
}
_TOP = 500  # characters at the beginning of a file, where a name stands for the whole of it
_MOST_BESIDE = 2000  # characters beside that part: names of owners, and the appendix of Apache's


def license_name(value: Any) -> str | None:
    """A value that is the name of a license, also as the only one of a list."""
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    return value if isinstance(value, str) and _NAME.fullmatch(value) else None


def license_of_card(answer: Any) -> str | None:
    """What the Hub knows of the card of a repository, from its answer about a revision."""
    card = answer.get("cardData") if isinstance(answer, dict) else None
    return license_name(card.get("license")) if isinstance(card, dict) else None


def license_of_readme(data: bytes) -> str | None:
    """What the metadata at the beginning of a README.md state. YAML would take too long for the results in some."""
    block = _BLOCK.match(data.decode(errors="replace"))
    found = _LINE.search(block[1]) if block else None
    return license_name(found[2]) if found else None


def license_of_text(data: bytes) -> str | None:
    """The license whose text a LICENSE file has, or that it names by its SPDX identifier."""
    text = data.decode(errors="replace")
    if named := _SPDX.search(text[:_TOP]):
        return license_name(named[1])
    parts = {name: (form.search(text), digest) for name, (form, digest) in _SAME_FOR_ALL.items()}
    found = {name: (part[0], digest) for name, (part, digest) in parts.items() if part}
    if len(found) != 1:  # a file with two licenses says which part has which
        return None
    name, (part, digest) = found.popitem()
    is_all = len(text) - len(part) <= _MOST_BESIDE
    return name if is_all and digest_bytes(" ".join(part.split()).encode()) == digest else None
